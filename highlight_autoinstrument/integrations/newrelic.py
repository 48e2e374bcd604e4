"""New Relic: what connects to it and sends its reports is no part of the request that starts it."""

from __future__ import annotations

from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("newrelic.core.application", "newrelic.core.agent")


def patch(module: ModuleType) -> None:
    # The first request starts both threads.
    if module.__name__ == "newrelic.core.application":
        wrap(module.Application, "activate_session", outside)
    else:
        wrap(module.Agent, "activate_agent", outside)
