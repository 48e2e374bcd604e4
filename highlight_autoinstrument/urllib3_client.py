"""urllib3's pools and those of its fork urllib3-future, which may take its name: a call's span, a request's headers."""

from __future__ import annotations

import sys

from . import active
from .later import outgoing, spans
from .patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from .patching import Call


def patch(module: ModuleType) -> None:
    """Patch one module of either, of its async part as well."""
    _, _, name = module.__name__.rpartition(".")
    prefix = "Async" if "._async." in module.__name__ else ""
    if name == "poolmanager":
        wrap(getattr(module, f"{prefix}PoolManager"), "urlopen", urlopen)
    elif name == "connectionpool":
        wrap(getattr(module, f"{prefix}HTTPConnectionPool"), "urlopen", urlopen)
    else:
        connection = getattr(module, f"{prefix}HTTPConnection")
        http = sys.modules.get("http.client")
        if http is None or not issubclass(connection, http.HTTPConnection):
            # The fork speaks HTTP itself; urllib3 leaves it to http.client, where the headers are added.
            wrap(connection, "request", request)


def urlopen(call: Call) -> Generator[None, Any, None]:
    """Hook for a call, retries and redirects included."""
    if active.current() is None or not spans.calling():
        return
    url = call.get("url")
    pool = call.instance
    host = getattr(pool, "host", None)
    if isinstance(host, str) and isinstance(url, str) and url.startswith("/"):
        url = spans.origin(pool.scheme, host, pool.port) + url
    with spans.http_client(call.get("method"), url) as span:
        response = yield
        spans.set_status_code(span, getattr(response, "status", None))


def request(call: Call) -> Generator[None, Any, None]:
    """Hook for one request on a connection of the fork's."""
    if active.outside(call.instance, lambda: text(call.instance.host)):
        return
    connection = call.instance
    target = call["url"]
    given = call.get("headers") or {}
    has = {text(name).lower(): text(value) for name, value in given.items()}
    scheme = "https" if connection.default_port == 443 else "http"
    host, port = connection.host, connection.port
    if not target.startswith("/") and "://" in target:  # to a proxy
        scheme, host, port, _ = spans.split_url(target)
    elif getattr(connection, "_tunnel_host", None):
        host, port = connection._tunnel_host, connection._tunnel_port  # noqa: SLF001
    added = outgoing.headers(scheme, text(host), port, has.get, target)
    if added:
        headers = given.copy() if hasattr(given, "copy") else dict(given)
        for name, value in added:
            headers[name] = value
        call["headers"] = headers
    yield


def text(value: Any) -> str:
    """Header names, values and hosts may be bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
