"""httpx2: each call is one client span; every request that it takes, redirects and logins too, has the headers."""

from __future__ import annotations

from .. import httpx_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("httpx2",)


def patch(httpx2: ModuleType) -> None:
    httpx_client.patch(httpx2)
