"""waitress: each request is served as a unit of work, whatever the application is."""

from __future__ import annotations

import sys

from .. import wsgi
from ..patching import on_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("waitress.server",)


def patch(server: ModuleType) -> None:
    execute = sys.modules["waitress.task"].WSGITask.execute  # the server has imported it
    on_read(server.BaseWSGIServer, "application", execute, wsgi.called)
