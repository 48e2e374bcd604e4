"""Ariadne: an error that it logs is not another error; what a resolver raised has been reported by graphql-core's."""

from __future__ import annotations

from .. import active
from ..later import errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

    from ..patching import Call

MODULES = ("ariadne.logger",)


def patch(logger: ModuleType) -> None:
    wrap(logger, "log_error", claim)


def claim(call: Call) -> Generator[None, None, None]:
    unit = active.current()
    if unit is not None:
        errors.claim(call["error"], unit)
    yield
