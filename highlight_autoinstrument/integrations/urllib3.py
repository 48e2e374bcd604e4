"""urllib3: each call is one client span, retries and redirects included; the headers go out below, in http.client."""

from __future__ import annotations

from .. import urllib3_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    # Where urllib3-future has taken its place.
    "urllib3._async.connection",
    "urllib3._async.connectionpool",
    "urllib3._async.poolmanager",
)


def patch(module: ModuleType) -> None:
    urllib3_client.patch(module)
