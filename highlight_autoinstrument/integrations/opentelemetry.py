"""OpenTelemetry: a provider that the application sets up itself gets our processor."""

from __future__ import annotations

from ..later import otel
from ..patching import guarded, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("opentelemetry.trace", "opentelemetry.sdk.trace")


def patch(module: ModuleType) -> None:
    if module.__name__ == "opentelemetry.sdk.trace":
        wrap(module.Span, "record_exception", record_exception)
        return
    wrap(module, "set_tracer_provider", set_tracer_provider)
    # Set before us, as under `opentelemetry-instrument`. Asking get_tracer_provider() might create one.
    join(vars(module).get("_TRACER_PROVIDER"))


def set_tracer_provider(call: Call) -> Generator[None, Any, None]:
    yield
    join(call["tracer_provider"])


@guarded
def join(provider: Any) -> None:
    if hasattr(provider, "add_span_processor") and "_highlight" not in vars(provider):
        vars(provider)["_highlight"] = True
        provider.add_span_processor(otel.HighlightSpanProcessor())


def record_exception(call: Call) -> Generator[None, Any, None]:
    otel.record_exception(call.instance, call["exception"])
    yield
