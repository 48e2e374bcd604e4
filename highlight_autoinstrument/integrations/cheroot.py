"""cheroot: each request is served as a unit of work, whatever the application is."""

from __future__ import annotations

from .. import wsgi
from ..patching import on_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("cheroot.wsgi",)


def patch(module: ModuleType) -> None:
    on_read(module.Server, "wsgi_app", module.Gateway.respond, wsgi.called)
