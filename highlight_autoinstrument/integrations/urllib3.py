"""urllib3: each call is one client span, retries and redirects included; the headers go out below, in http.client."""

from __future__ import annotations

from .. import active
from ..later import spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("urllib3.connectionpool", "urllib3.poolmanager")


def patch(module: ModuleType) -> None:
    if module.__name__ == "urllib3.poolmanager":
        wrap(module.PoolManager, "urlopen", urlopen)
    else:
        wrap(module.HTTPConnectionPool, "urlopen", urlopen)


def urlopen(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    url = call.get("url")
    pool = call.instance
    host = getattr(pool, "host", None)
    if isinstance(host, str) and isinstance(url, str) and url.startswith("/"):
        url = spans.origin(pool.scheme, host, pool.port) + url
    with spans.http_client(call.get("method"), url) as span:
        response = yield
        spans.set_status_code(span, getattr(response, "status", None))
