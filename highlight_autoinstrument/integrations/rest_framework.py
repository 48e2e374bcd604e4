"""Django REST Framework: an exception that a view's handler turns into a 5xx is reported; the rest is Django's."""

from __future__ import annotations

from ..later import errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("rest_framework.views", "rest_framework.viewsets")


def patch(module: ModuleType) -> None:
    owner = module.APIView if module.__name__ == "rest_framework.views" else module.ViewSetMixin
    wrap(owner, "as_view", watch_handler)


def watch_handler(call: Call) -> Generator[None, Any, None]:
    """Watch the handler that a view has, in the class that it has it from: no subclass finds another than before."""
    for owner in call["cls"].__mro__:
        if "handle_exception" in vars(owner):
            wrap(owner, "handle_exception", answered_by_handler)
            break
    yield


def answered_by_handler(call: Call) -> Generator[None, Any, None]:
    error = call["exc"]
    response = yield
    if getattr(response, "status_code", 0) >= 500:
        errors.record(error)
