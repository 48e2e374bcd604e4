"""werkzeug's development server: each request is served as a unit of work, whatever the application is."""

from __future__ import annotations

from .. import wsgi
from ..patching import on_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("werkzeug.serving",)


def patch(serving: ModuleType) -> None:
    on_read(serving.BaseWSGIServer, "app", serving.WSGIRequestHandler.run_wsgi, wsgi.called)
