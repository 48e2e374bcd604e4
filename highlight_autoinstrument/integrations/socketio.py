"""python-socketio: each event that has a handler is a unit of work, under the ids of its connection's handshake."""

from __future__ import annotations

from .. import messaging
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("socketio.server", "socketio.async_server", "socketio.asyncio_server")  # the last one in older versions

# The headers that say whose work it is, as the environ of a handshake has them.
_HEADERS = ("x-highlight-request", "baggage", "cookie", "traceparent", "tracestate")


def patch(module: ModuleType) -> None:
    server = module.Server if module.__name__ == "socketio.server" else module.AsyncServer
    # Methods of its own: a handler is the application's, and whoever registers one has it back as it is.
    wrap(server, "_handle_connect", connect)
    wrap(server, "_handle_ack", acknowledge)
    wrap(server, "_trigger_event", work)


def connect(call: Call) -> Generator[None, Any, None]:
    server, namespace = call.instance, call["namespace"] or "/"
    environ = server.environ.get(call["eio_sid"])
    if environ is None or handled(server, "connect", namespace) is None:
        return
    with process("connect", namespace, environ):
        yield  # a refusal does not leave it, nor does the first of two ways to call a handler


def acknowledge(call: Call) -> Generator[None, Any, None]:
    environ = call.instance.environ.get(call["eio_sid"])
    if environ is None:
        return
    with process("ack", call["namespace"] or "/", environ):
        yield


def work(call: Call) -> Generator[None, Any, None]:
    server, event, namespace = call.instance, call["event"], call["namespace"]
    if event == "connect":
        return
    name = handled(server, event, namespace)
    environ = environ_of(server, call.args[3], namespace) if name is not None else None
    if name is None or environ is None:
        return
    with process(name, namespace, environ):
        yield


def environ_of(server: Any, sid: str, namespace: str) -> Any:
    try:
        return server.get_environ(sid, namespace)
    except KeyError:  # gone meanwhile
        return None


def process(name: str, namespace: str, environ: Any) -> messaging.Processing:
    headers = {}
    for header in _HEADERS if isinstance(environ, dict) else ():  # a transport of one's own may give anything
        value = environ.get("HTTP_" + header.upper().replace("-", "_"))
        if value is not None:
            headers[header] = value
    return messaging.process("socketio", namespace, headers, name)


def handled(server: Any, event: Any, namespace: str) -> str | None:
    """The name of an event that has a handler, a star for one that takes whatever a client says; None without one."""
    if not isinstance(event, str):  # a client may say anything
        return None
    for key in (namespace, "*"):
        handlers = server.handlers.get(key, {})
        if event in handlers:
            return event
        if "*" in handlers and event not in server.reserved_events:
            return "*"
    for key in (namespace, "*"):
        if key in server.namespace_handlers:
            return event if hasattr(server.namespace_handlers[key], f"on_{event}") else None
    return None
