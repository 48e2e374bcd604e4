"""ldobserve: LaunchDarkly's own SDK records as ever, and what it would send as well is sent once, by the agent."""

from __future__ import annotations

from .. import config
from ..later import otel
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("ldobserve._otel.configuration",)


def patch(configuration: ModuleType) -> None:
    wrap(configuration._OTELConfiguration, "__init__", made)  # noqa: SLF001 - all that it sends comes from there


def made(call: Call) -> Generator[None, Any, None]:
    yield
    if config.get().project_id is not None:  # else nothing is sent by us
        otel.send_alone(call.instance._tracer_provider)  # noqa: SLF001 - there is no public way
        otel.send_alone(call.instance._logger_provider)  # noqa: SLF001 - the same
