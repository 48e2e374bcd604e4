"""wsgiref, and what builds on it, as Django's runserver does: each request is served as a unit of work."""

from __future__ import annotations

from .. import wsgi
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

    from ..patching import Call

MODULES = ("wsgiref.handlers",)


def patch(handlers: ModuleType) -> None:
    wrap(handlers.BaseHandler, "run", run)


def run(call: Call) -> Generator[None, None, None]:
    call["application"] = wsgi.application(call["application"])
    yield
