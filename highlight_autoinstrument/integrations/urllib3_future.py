"""urllib3-future: each call is one client span, retries and redirects included; each of its requests has the ids."""

from __future__ import annotations

from .. import urllib3_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = (
    "urllib3_future.connection",
    "urllib3_future.connectionpool",
    "urllib3_future.poolmanager",
    "urllib3_future._async.connection",
    "urllib3_future._async.connectionpool",
    "urllib3_future._async.poolmanager",
)


def patch(module: ModuleType) -> None:
    urllib3_client.patch(module)
