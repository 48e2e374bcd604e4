"""Quart: each request or websocket is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

from .. import asgi
from ..later import errors, spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("quart.app",)


def patch(app: ModuleType) -> None:
    # Not by its signals: receivers that are no coroutines are sent to a thread.
    asgi.serve_calls(app.Quart)
    wrap(app.Quart, "preprocess_request", name_span)
    wrap(app.Quart, "preprocess_websocket", name_span)
    wrap(app.Quart, "handle_user_exception", note_raised)
    wrap(app.Quart, "handle_exception", record_error)
    wrap(app.Quart, "handle_websocket_exception", fail)
    wrap(app.Quart, "handle_background_exception", record_error)


def name_span(call: Call) -> Generator[None, Any, None]:
    connection = present()
    if connection is not None and connection.url_rule is not None:  # None: no route matched, a 404 is coming
        spans.set_route(getattr(connection, "method", "GET"), connection.url_rule.rule)
    yield


def note_raised(call: Call) -> Generator[None, Any, None]:
    connection = present()
    request = asgi.served(connection.scope) if connection is not None else None
    if request is not None:
        request.raised = call["error"]  # an error, if the answer is a 5xx
    yield


def record_error(call: Call) -> Generator[None, Any, None]:
    errors.record(call["error"])
    yield


def fail(call: Call) -> Generator[None, Any, None]:
    connection = present()
    request = asgi.served(connection.scope) if connection is not None else None
    if request is not None:
        request.work.fail(call["error"])
    yield


def present() -> Any:
    """The request or the websocket that is being answered here."""
    from quart import has_request_context, has_websocket_context, request, websocket

    if has_request_context():
        return request
    return websocket if has_websocket_context() else None
