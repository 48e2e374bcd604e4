"""websockets: opening a connection is one client span and carries the headers; serving one is a unit of work."""

from __future__ import annotations

from .. import active
from ..later import errors, incoming, outgoing, spans
from ..outside import outside
from ..patching import hide_frame, hooked, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = (
    "websockets.client",
    "websockets.asyncio.client",
    "websockets.asyncio.connection",
    "websockets.asyncio.server",
    "websockets.sync.client",
    "websockets.sync.connection",
    "websockets.sync.server",
)

_URI = "_highlight_uri"  # an attribute of a connection that is being opened


def patch(module: ModuleType) -> None:
    if module.__name__ == "websockets.client":
        wrap(module.ClientProtocol, "send_request", send_request)
    elif module.__name__ == "websockets.asyncio.client":
        wrap(module.connect, "connect", opening)
        wrap(module.connect, "__await_impl__", opening)  # what it was called before
        if not hasattr(module.connect, "create_connection"):  # 13.0 does not keep the address
            wrap(module.connect, "__init__", remember)
        wrap(module.connect, "open_tcp_connection", outside)
        wrap(module.connect, "create_connection", outside)
    elif module.__name__ == "websockets.sync.client":
        wrap(getattr(module, "reconnect", module), "connect", opening)
    elif module.__name__.endswith("connection"):
        # A connection outlives what has opened it, and so do its tasks and threads.
        wrap(module.Connection, "start_keepalive", outside)
        if module.__name__ == "websockets.sync.connection":
            wrap(module.Connection, "__init__", outside)
    else:
        wrap(module.ServerConnection, "handshake", handshake)
        if module.__name__ == "websockets.sync.server":
            wrap(module, "serve", serve_blocking)
        elif isinstance(module.serve, type):
            wrap(module.serve, "__init__", serve)
        else:
            wrap(module, "serve", serve)


def remember(call: Call) -> Generator[None, Any, None]:
    vars(call.instance)[_URI] = call.get("uri")
    yield


def opening(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    url = call.get("uri") or getattr(call.instance, "uri", None) or getattr(call.instance, _URI, "")
    with spans.http_client("GET", url) as span:
        try:
            connection = yield
        except BaseException as error:
            spans.set_status_code(span, getattr(getattr(error, "response", None), "status_code", None))
            raise
        spans.set_status_code(span, getattr(connection.response, "status_code", None))


def send_request(call: Call) -> Generator[None, Any, None]:
    uri = getattr(call.instance, "uri", None) or call.instance.wsuri
    if active.outside(call.instance, lambda: uri.host):
        return
    headers = call["request"].headers
    scheme = "wss" if uri.secure else "ws"
    added = outgoing.headers(scheme, uri.host, uri.port, getter(headers), uri.resource_name)
    for name, value in added:
        headers[name] = value
    try:
        yield
    finally:
        for name, _ in added:  # the connection shows what the application sent
            headers.pop(name, None)


def getter(headers: Any) -> Callable[[str], str | None]:
    def get(name: str) -> str | None:
        return next(iter(headers.get_all(name)), None)

    return get


def handshake(call: Call) -> Generator[None, Any, None]:
    try:
        yield
    except BaseException as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int) and 400 <= status < 500:
            errors.claim(error, None)  # 13.1 logs what it has refused as an error
        raise


def serve(call: Call) -> Generator[None, Any, None]:
    handler = call["handler"]

    async def handle(connection: Any) -> Any:
        try:
            return await handler(connection)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    call["handler"] = hooked(handle, serve_connection, "websockets")
    yield


def serve_blocking(call: Call) -> Generator[None, Any, None]:
    handler = call["handler"]

    def handle(connection: Any) -> Any:
        try:
            return handler(connection)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    call["handler"] = hooked(handle, serve_connection, "websockets")
    yield


def serve_connection(call: Call) -> Generator[None, Any, None]:
    from opentelemetry.trace import SpanKind

    connection = call["connection"]
    request = connection.request
    get = getter(request.headers)
    address = connection.remote_address
    path, _, query = request.path.partition("?")
    attributes = spans.http_server(
        "GET",
        "ws",
        get("host") or "",
        path,
        query,
        str(address[0]) if isinstance(address, tuple) else None,
        get("user-agent"),
    )
    work = incoming.begin("GET", SpanKind.SERVER, get, attributes)
    token = work.attach()
    try:
        yield
    except BaseException as error:
        work.fail(error)
        raise
    finally:
        try:
            work.detach(token)
        finally:
            work.unit.span.end()
