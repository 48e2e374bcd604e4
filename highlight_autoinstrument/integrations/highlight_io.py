"""highlight_io: Highlight's own SDK records as ever, and what it would send as well is sent once, by the agent."""

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

MODULES = ("highlight_io.sdk",)

# Its integrations for what ours cover: a second span for each request, call or task.
COVERED = ("boto", "boto3sqs", "celery", "django", "flask", "requests")


def patch(sdk: ModuleType) -> None:
    wrap(sdk.H, "__init__", made)


def made(call: Call) -> Generator[None, Any, None]:
    if config.get().project_id is None:  # nothing is sent by us
        return
    given = call.get("integrations") or ()
    call["integrations"] = [one for one in given if key(one) not in COVERED]
    if call.takes("disabled_integrations"):  # older ones enable only what they are given
        call["disabled_integrations"] = [*(call.get("disabled_integrations") or ()), *COVERED]
    yield
    # Its own processor leaves the session of one request to the next.
    otel.send_alone(call.instance._trace_provider)  # noqa: SLF001 - there is no public way
    otel.send_alone(call.instance._log_provider)  # noqa: SLF001 - the same


def key(integration: Any) -> str:
    """What an integration is known by: in older versions it has its module only."""
    return str(getattr(integration, "INTEGRATION_KEY", type(integration).__module__.rpartition(".")[2]))
