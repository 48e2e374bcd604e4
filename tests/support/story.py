"""What a shop's browser and two of its services send when a customer cannot pay."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from .local import logs, traceback, traces

if TYPE_CHECKING:
    from .local import Local

SESSION = "ACustomerOfTheShopSession"
REQUEST = "Request123"
TRACE = "0a" * 16
SERVER, CALL, STOCK, QUERY = ("01" * 8, "02" * 8, "03" * 8, "04" * 8)
LOGS = ["the cart holds 3 things", "the stock is asked for them", "no row for shelf 7", "the payment failed"]
MS = 1_000_000
# What a stranger's data may try; it must be seen as it is, and nothing of it may run.
HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
# The lines around one of the calls, as the agent sends them.
LINES = [
    {
        "fileName": "/srv/shop/views.py",
        "lineNumber": 12,
        "functionName": "checkout",
        "linesBefore": "def checkout():\n    cart = load()",
        "lineContent": "    pay()",
        "linesAfter": "    return 'paid'",
    }
]
_FRAME = {"highlight.session_id": SESSION, "highlight.request_id": REQUEST}


def tell(local: Local, now: int | None = None) -> int:
    """Send all of it; returns the moment of the request, in nanoseconds."""
    at = now or time.time_ns() - 60 * 1000 * MS
    _browse(local, at)
    failure = traceback("shop.PaymentRefused", f"no money for order 17 {HOSTILE}")
    failure["exception.structured_stacktrace"] = json.dumps(LINES)
    for service, spans in (
        (
            "shop",
            [
                _span(at, SERVER, "", "POST /checkout", 2, 0, 320, status=2, events=[("exception", failure, 300 * MS)]),
                _span(at, CALL, SERVER, "GET /stock/{item}", 3, 40, 210),
            ],
        ),
        (
            "stock",
            [
                _span(at, STOCK, CALL, "GET /stock/{item}", 2, 60, 180),
                _span(at, QUERY, STOCK, f"SELECT {HOSTILE}", 3, 80, 90),
            ],
        ),
    ):
        assert local.post("/v1/traces", traces(*spans, service=service)).status == 200
    for service, records in (
        (
            "shop",
            [_log(at, LOGS[0], SERVER, 5), _log(at, LOGS[1], SERVER, 35), _log(at, LOGS[3], SERVER, 310, "ERROR")],
        ),
        ("stock", [_log(at, LOGS[2], QUERY, 120, "WARN")]),
    ):
        assert local.post("/v1/logs", logs(*records, service=service)).status == 200
    return at


def _span(
    at: int, name: str, parent: str, title: str, kind: int, start: int, length: int, **more: Any
) -> dict[str, Any]:
    values: dict[str, Any] = dict(_FRAME)
    if kind == 2:
        values |= {
            "http.request.method": title.split()[0],
            "http.route": title.split()[1],
            "url.full": f"http://localhost:8000{title.split()[1]}?card=visa",
            "http.response.status_code": 500 if more else 200,
        }
    return {
        "trace": TRACE,
        "span": name,
        "parent": parent,
        "name": title,
        "kind": kind,
        "start": at + start * MS,
        "end": at + (start + length) * MS,
        "attributes": values,
        **more,
    }


def _log(at: int, body: str, span: str, after: int, severity: str = "INFO") -> dict[str, Any]:
    return {
        "body": body,
        "severity": severity,
        "time": at + after * MS,
        "trace": TRACE,
        "span": span,
        "attributes": {**_FRAME, "order": 17},
    }


def _browse(local: Local, at: int) -> None:
    variables = {"session_secure_id": SESSION, "environment": "development", "appVersion": "1", "serviceName": "web"}
    assert local.graphql("initializeSession", variables, User_Agent="Firefox").status == 200
    ms = at // MS
    heading = _element(4, "h1", {"style": "color: teal"}, _text(5, "The shop"))
    button = _element(6, "button", {"id": "pay"}, _text(7, "Pay"))
    body = _element(3, "body", {}, heading, button)
    html = _element(2, "html", {}, _element(8, "head", {}), body)
    document = {"type": 0, "id": 1, "childNodes": [html]}
    said = {"parentId": 3, "nextId": None, "node": _text(9, "Your order could not be paid.")}
    events = [
        (ms - 5000, 4, {"href": "http://localhost:3000/cart", "width": 800, "height": 500}),
        (ms - 4990, 2, {"node": document, "initialOffset": {"left": 0, "top": 0}}),
        (ms - 5, 3, {"source": 2, "type": 2, "id": 6, "x": 30, "y": 100}),
        (ms + 400, 3, {"source": 0, "texts": [], "attributes": [], "removes": [], "adds": [said]}),
        (ms + 5000, 3, {"source": 1, "positions": [{"x": 5, "y": 5, "id": 3, "timeOffset": 0}]}),
    ]
    fetched = {
        "initiatorType": "fetch",
        "name": "http://localhost:8000/checkout",
        "startTimeAbs": ms - 2,
        "responseEndAbs": ms + 330,
        "requestResponsePairs": {
            "request": {"id": REQUEST, "url": "http://localhost:8000/checkout", "verb": "POST", "headers": {}},
            "response": {"status": 500, "headers": {}},
        },
    }
    payload = {
        "events": {"events": [{"timestamp": when, "type": kind, "data": data} for when, kind, data in events]},
        "messages": json.dumps({"messages": []}),
        "resources": json.dumps({"resources": [fetched]}),
        "web_socket_events": json.dumps({"webSocketEvents": []}),
        "errors": [],
    }
    assert local.push(SESSION, 1, payload).status == 200


def _element(number: int, tag: str, attributes: dict[str, str], *children: dict[str, Any]) -> dict[str, Any]:
    return {"type": 2, "id": number, "tagName": tag, "attributes": attributes, "childNodes": list(children)}


def _text(number: int, content: str) -> dict[str, Any]:
    return {"type": 3, "id": number, "textContent": content}
