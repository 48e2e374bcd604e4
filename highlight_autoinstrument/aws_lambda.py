"""An event that a Lambda function is invoked with: the unit of work that it begins, and what is sent before the end."""

from __future__ import annotations

import time

from . import aws, aws_events, messaging
from .later import incoming, pipeline, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .incoming import Work
    from .recording import Span

_MARGIN_SECONDS = 0.1
_MOST_SECONDS, _LEAST_SECONDS = 2.0, 0.25

# Global state: how long an invocation waits for its records to be sent, shorter while the receiver is away.
_patience_seconds = _MOST_SECONDS


def begin(event: Any, invocation: Any) -> Work:
    """Begin the unit of work of an invocation: a request, a message or several, or whatever else there is."""
    name = str(getattr(invocation, "function_name", None) or "function")
    faas = {"faas.name": name, "faas.invocation_id": str(getattr(invocation, "aws_request_id", None) or "")}
    event = _dict(event)
    messages = _messages(event.get("Records"))
    if messages:
        return messaging.begin(messages[0][0], [message[1:] for message in messages], **faas)
    headers = _headers(event)
    request = _request(event, headers)
    if request is None:
        # What a function that calls this one directly has said of its trace; older runtimes do not tell.
        said: Any = getattr(invocation, "w3c", dict)()
        return incoming.begin(name, spans.INTERNAL, {**_dict(said), **headers, **aws_events.carried(event)}.get, faas)
    method, route, attributes = request
    if route:
        attributes["http.route"] = route
    return incoming.begin(f"{method} {route}" if route else method, spans.SERVER, headers.get, {**attributes, **faas})


def note_answer(span: Span, answer: Any) -> None:
    """Note the status that a function answers a request with."""
    if span.kind is not spans.SERVER:
        return
    status = answer.get("statusCode", 200) if isinstance(answer, dict) else 200
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    spans.set_status_code(span, status)
    spans.note_headers(span, _dict(_dict(answer).get("headers")).items())


def note_failure(span: Span) -> None:
    """Note the status that the gateway answers a request with whose function has failed."""
    if span.kind is spans.SERVER:
        spans.set_status_code(span, 502)


def flush(deadline_ms: Any) -> None:
    """Send what has been recorded before the process is frozen, within the time that is left for the invocation."""
    global _patience_seconds  # noqa: PLW0603
    seconds = _patience_seconds
    if isinstance(deadline_ms, (int, float)):
        seconds = max(0.0, min(seconds, deadline_ms / 1000 - time.time() - _MARGIN_SECONDS))
    done = pipeline.flush(seconds)
    _patience_seconds = _MOST_SECONDS if done else max(seconds / 4, _LEAST_SECONDS)


def _messages(records: Any) -> list[tuple[str, str, Any]]:
    """The messages of an event of SQS or SNS; none for another event."""
    found = []
    for record in records if isinstance(records, list) else ():
        message = aws.described(record) if isinstance(record, dict) else None
        if message is None:
            return []
        found.append(message)
    return found


def _headers(event: dict[str, Any]) -> dict[str, str]:
    """The headers of an event by their names in lower case; of several by one name the first."""
    found: dict[str, str] = {}
    for name, value in [*_dict(event.get("headers")).items(), *_dict(event.get("multiValueHeaders")).items()]:
        text = value[0] if isinstance(value, list) and value else value
        if isinstance(name, str) and isinstance(text, str):
            found.setdefault(name.lower(), text)
    cookies = event.get("cookies")
    if isinstance(cookies, list):
        found.setdefault("cookie", "; ".join(cookie for cookie in cookies if isinstance(cookie, str)))
    return found


def _request(event: dict[str, Any], headers: dict[str, str]) -> tuple[str, str, dict[str, Any]] | None:
    """Method, route and attributes of a request by API Gateway, a load balancer or a function's URL."""
    around = _dict(event.get("requestContext"))
    http = _dict(around.get("http"))
    method = http.get("method") or event.get("httpMethod")
    if not isinstance(method, str) or event.get("type") in ("REQUEST", "TOKEN"):  # who may call, and not the call
        return None
    # "GET /orders/{id}", or "$default"; a load balancer has none.
    route = event.get("resource") if "httpMethod" in event else _text(event.get("routeKey")).partition(" ")[2]
    attributes = spans.http_server(
        method,
        headers.get("x-forwarded-proto", "https"),
        headers.get("host") or _text(around.get("domainName")),
        _text(event.get("rawPath") or event.get("path")),
        _query(event),
        _text(http.get("sourceIp") or _dict(around.get("identity")).get("sourceIp")),
        headers.get("user-agent"),
    )
    return method, _text(route), attributes


def _query(event: dict[str, Any]) -> str:
    if "rawQueryString" in event:
        return _text(event["rawQueryString"])
    found = _dict(event.get("multiValueQueryStringParameters") or event.get("queryStringParameters"))
    if "elb" in _dict(event.get("requestContext")):  # a load balancer leaves them encoded
        pairs = [(name, value) for name, values in found.items() for value in _list(values)]
        return "&".join(f"{name}={value}" for name, value in pairs)
    from urllib.parse import urlencode

    return urlencode(found, doseq=True)


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
