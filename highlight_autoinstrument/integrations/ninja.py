"""django-ninja: an exception that a handler turns into a 5xx is reported; the rest is Django's."""

from __future__ import annotations

from ..later import errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("ninja.main",)


def patch(main: ModuleType) -> None:
    wrap(main.NinjaAPI, "on_exception", answered_by_handler)


def answered_by_handler(call: Call) -> Generator[None, Any, None]:
    response = yield
    if response.status_code >= 500:
        errors.record(call["exc"])
