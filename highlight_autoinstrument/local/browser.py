"""The browser client's GraphQL operations (`highlight.run` 9 and 10, and LaunchDarkly's), into rows.

There is no GraphQL here: the client sends a handful of fixed operations, whose names and variables say everything, and
reads a handful of fixed answers. Whatever else is asked gets a GraphQL error.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from . import records
from .bodies import clean, from_json, gunzip, to_json
from .refusal import Refusal
from .rows import Batch, Chunk, Log, Network, Page, Session, level_of, session_id

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"\s*(?:mutation|query)\s+(\w+)")
_LATEST_MS = records.LATEST // 1_000_000
_LISTENERS = ("", "window.onerror", "custom")  # what an error came by, where that says nothing of the error
_META, _FULL_SNAPSHOT, _CUSTOM = 4, 2, 5  # types of rrweb's events


class Handled(NamedTuple):
    """The answer to an operation, and what it brought."""

    answer: dict[str, Any]
    batch: Batch


class Call(NamedTuple):
    """An operation on its way into rows."""

    variables: dict[str, Any]
    batch: Batch
    now: int  # ns
    user_agent: str | None

    def session(self, first: int = 0, last: int = 0) -> tuple[str, Session]:
        """The session that it is about, which was there at these times, or now."""
        found = session_id(self.variables.get("session_secure_id"))
        if found is None:
            raise Refusal(400, "session_secure_id is no session's id")
        session = self.batch.seen(found, first or self.now, last or self.now)
        session.user_agent = session.user_agent or self.user_agent
        return found, session

    def string(self, name: str) -> str | None:
        """A variable that is a text, if it is there."""
        value = self.variables.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise _wrong(name)
        return clean(value)


def handle(body: bytes, user_agent: str | None, now: int) -> Handled:
    """Work on one operation."""
    asked = from_json(body)
    if not isinstance(asked, dict):
        raise Refusal(400, "not one GraphQL operation")
    name, query = asked.get("operationName"), asked.get("query")
    if not isinstance(name, str):
        match = _NAME.match(query[:1000]) if isinstance(query, str) else None
        name = match[1] if match else ""
    variables = asked.get("variables")
    if not isinstance(variables, (dict, type(None))):
        raise Refusal(400, "variables must be an object")
    operation = _OPERATIONS.get(name)
    batch = Batch(size=len(body))
    if operation is None:
        shown = name[:100] if name.isascii() else "?"
        return Handled({"errors": [{"message": f"no such operation: {shown or 'none named'}"}]}, batch)
    field, work = operation
    answer = work(Call(variables or {}, batch, now, clean(user_agent[:1000]) if user_agent else None))
    return Handled({"data": {field: answer}}, batch)


def _initialize(call: Call) -> Any:
    found, session = call.session()
    session.service = call.string("serviceName") or None
    session.environment = call.string("environment") or None
    session.version = call.string("appVersion") or None
    session.client_id = call.string("client_id") or None
    return {"secure_id": found, "project_id": "1", "sampling": {"spans": [], "logs": []}}


def _identify(call: Call) -> Any:
    found, session = call.session()
    session.user_identifier = call.string("user_identifier")
    session.user = _properties(call.variables.get("user_object"), "user_object")
    return found


def _add_properties(call: Call) -> Any:
    found, session = call.session()
    session.properties = _properties(call.variables.get("properties_object"), "properties_object")
    url = session.properties.get("visited-url")
    if isinstance(url, str):
        call.batch.pages.append(Page(found, call.now, clean(url)))
    return found


def _add_feedback(call: Call) -> Any:
    found, session = call.session()
    verbatim = call.string("verbatim")
    if verbatim:
        session.properties = {"feedback": verbatim}
    return found


def _push_metrics(call: Call) -> Any:
    """They are taken and not stored: nothing shows them."""
    metrics = call.variables.get("metrics")
    if not isinstance(metrics, list):
        raise _wrong("metrics")
    return len(metrics)


def _sampling(_: Call) -> Any:
    return {"spans": [], "logs": []}


def _push_compressed(call: Call) -> Any:
    data = call.variables.get("data")
    if not isinstance(data, str):
        raise _wrong("data")
    try:
        packed = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "data is not base64") from None
    content = gunzip(packed)
    payload = from_json(content)
    if not isinstance(payload, dict):
        raise _wrong("data")
    call.batch.size += len(content)
    _take_payload(call, payload)
    return None


def _push(call: Call) -> Any:
    _take_payload(call, call.variables)
    return 0


_OPERATIONS: dict[str, tuple[str, Callable[[Call], Any]]] = {
    "initializeSession": ("initializeSession", _initialize),
    "identifySession": ("identifySession", _identify),
    "addSessionProperties": ("addSessionProperties", _add_properties),
    "addSessionFeedback": ("addSessionFeedback", _add_feedback),
    "pushMetrics": ("pushMetrics", _push_metrics),
    "GetSamplingConfig": ("sampling", _sampling),
    "PushPayload": ("pushPayload", _push),
    "PushPayloadCompressed": ("pushPayloadCompressed", _push_compressed),
    "PushSessionEvents": ("pushSessionEvents", _push_compressed),
}


def _take_payload(call: Call, payload: dict[str, Any]) -> None:
    """What the browser recorded in two seconds. One that comes again has the same payload_id: the same keys."""
    events = payload.get("events")
    if isinstance(events, dict):
        events = events.get("events")
    found = [_checked_event(event) for event in _list(events, "events") if event is not None]
    times = [_ns(event["timestamp"]) for event in found]
    session, _ = call.session(min(times, default=0), max(times, default=0))
    call.batch.of_session = session
    payload_id = call.variables.get("payload_id")
    if not isinstance(payload_id, (str, int)) or len(str(payload_id)) > 100:
        raise _wrong("payload_id")
    key = clean(str(payload_id))
    if found:
        data = zlib.compress(to_json(found).encode(), 6)
        snapshots = sum(event["type"] == _FULL_SNAPSHOT for event in found)
        call.batch.chunks.append(Chunk(session, key, min(times), max(times), len(found), snapshots, data))
        call.batch.pages += [Page(session, _ns(e["timestamp"]), url) for e in found for url in _url(e)]
    for number, message in enumerate(_inner(payload, "messages", "messages")):
        call.batch.logs.append(_console(message, session, f"{session}/{key}/{number}", call.now))
    for number, resource in enumerate(_inner(payload, "resources", "resources")):
        call.batch.network.append(_network(resource, session, f"{key}/{number}", call.now))
    for number, event in enumerate(_inner(payload, "web_socket_events", "webSocketEvents")):
        call.batch.network.append(_socket(event, session, f"{key}/s{number}", call.now))
    for number, error in enumerate(_list(payload.get("errors"), "errors")):
        if error is not None:
            call.batch.errors.append(_error(_dict(error, "errors"), session, f"{key}/{number}", call.now))


def _checked_event(event: Any) -> dict[str, Any]:
    if not isinstance(event, dict) or not isinstance(event.get("type"), int) or not _is_ms(event.get("timestamp")):
        raise Refusal(400, "events that are not rrweb's")
    return event


def _url(event: dict[str, Any]) -> list[str]:
    """The page that an event says the browser has come to."""
    data = event.get("data")
    if not isinstance(data, dict):
        return []
    url = data.get("href") if event["type"] == _META else None
    if event["type"] == _CUSTOM and data.get("tag") in ("Navigate", "Reload"):
        url = data.get("payload")
    return [clean(url[:4000])] if isinstance(url, str) and url else []


def _console(message: dict[str, Any], session: str, uid: str, now: int) -> Log:
    value = message.get("value")
    parts = value if isinstance(value, list) else [value]
    attributes = message.get("attributes") if message.get("attributes") not in ("", "{}") else None
    body = " ".join([_shown(part) for part in parts if part is not None])
    kind = records.text(message.get("type"))
    told = {"console.type": kind}
    if message.get("trace"):
        told["console.trace"] = message["trace"]
    if attributes is not None:
        told["console.attributes"] = attributes
        body = body or records.text(attributes)  # the client puts objects there and only there
    level, name = level_of(kind)
    at = _ns(message["time"]) if _is_ms(message.get("time")) else now
    return Log(uid, at, level, name, "", "console", body, session, None, None, None, to_json(told), 0)


def _network(resource: dict[str, Any], session: str, key: str, now: int) -> Network:
    pair = _dict(resource.get("requestResponsePairs"), "resources")
    request, response = _dict(pair.get("request"), "resources"), _dict(pair.get("response"), "resources")
    status = response.get("status")
    start = _ns(resource["startTimeAbs"]) if _is_ms(resource.get("startTimeAbs")) else now
    end = _ns(resource["responseEndAbs"]) if _is_ms(resource.get("responseEndAbs")) else start
    request_id = session_id(request.get("id"))
    return Network(
        session,
        key,
        records.text(resource.get("initiatorType"))[:100],
        records.text(request.get("verb"))[:100],
        records.text(request.get("url") or resource.get("name")),
        status if isinstance(status, int) and 0 <= status < 1000 else None,
        start,
        max(end, start),
        request_id,
        _trace_id(request.get("headers")) or _as_trace_id(request_id),
        to_json(resource),
    )


def _socket(event: dict[str, Any], session: str, key: str, now: int) -> Network:
    at = _ns(event["timeStamp"]) if _is_ms(event.get("timeStamp")) else now
    url = records.text(event.get("name"))
    return Network(session, key, "websocket message", "", url, None, at, at, None, None, to_json(event))


def _error(error: dict[str, Any], session: str, key: str, now: int) -> Any:
    message = _shown(error.get("event"))
    type_, colon, rest = message.partition(": ")
    if not (colon and re.fullmatch(r"(?:Uncaught )?[A-Z]\w*(?:Error|Exception)", type_)):
        type_, rest = records.text(error.get("type")), message
        if type_ in _LISTENERS:
            type_ = "Error"
    lines = [f"{type_}: {rest}"]
    for frame in _list(error.get("stackTrace"), "errors")[:200]:
        if isinstance(frame, dict):
            function, file, line, column = (
                records.text(frame.get(name)) for name in ("functionName", "fileName", "lineNumber", "columnNumber")
            )
            at = f"{file}:{line or 0}:{column or 0}"
            lines.append(f"    at {function} ({at})" if function else f"    at {at}")
    told = {name: error[name] for name in ("payload", "source", "type") if error.get(name)}
    return records.error(
        records.text(error.get("id")) or f"{session}/{key}",
        _iso_or_ms(error.get("timestamp")) or now,
        (type_.removeprefix("Uncaught "), rest, "\n".join(lines)),
        "browser",
        "",
        session,
        (None, None, None),
        records.text(error.get("url")),
        told,
        0,
    )


def _inner(payload: dict[str, Any], name: str, inside: str) -> list[dict[str, Any]]:
    """A list inside a JSON text inside the payload."""
    text = payload.get(name)
    if text is None or text == "":
        return []
    if not isinstance(text, str):
        raise _wrong(name)
    return [_dict(item, name) for item in _list(_dict(from_json(text), name).get(inside), name) if item is not None]


def _shown(value: Any) -> str:
    """A text of the console as it was, where the client has made JSON of it."""
    if isinstance(value, str) and value[:1] in ('"', "["):
        try:
            inner = from_json(value)
        except Refusal:
            return clean(value)
        if isinstance(inner, list):
            return " ".join([_shown(item) for item in inner])
        return records.text(inner)
    return records.text(value)


def _trace_id(headers: Any) -> str | None:
    """The trace id of the `traceparent` that the browser sent."""
    if not isinstance(headers, dict):
        return None
    for name, value in headers.items():
        if name.lower() == "traceparent" and isinstance(value, str):
            parts = value.split("-")
            return _as_trace_id(parts[1]) if len(parts) >= 4 else None
    return None


def _as_trace_id(value: str | None) -> str | None:
    return value if value and re.fullmatch("[0-9a-f]{32}", value) else None


def _iso_or_ms(value: Any) -> int:
    from datetime import datetime, timezone

    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value[:40].replace("Z", "+00:00"))
            return max(int(at.replace(tzinfo=at.tzinfo or timezone.utc).timestamp() * 1000), 0) * 1_000_000
        except (ValueError, OverflowError):
            return 0
    return _ns(value) if _is_ms(value) else 0


def _is_ms(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _LATEST_MS


def _ns(ms: float) -> int:
    return int(ms * 1000) * 1000


def _properties(value: Any, name: str) -> dict[str, object]:
    return {clean(key): found for key, found in _dict(value, name).items() if found is not None}


def _dict(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(name)
    return value


def _list(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(name)
    return value


def _wrong(name: str) -> Refusal:
    return Refusal(400, f"{name} is not what the client sends")
