"""OpenTelemetry: a provider of the application's gets our processor; without one, the API's spans are ours."""

from __future__ import annotations

from .. import active, ecosystem
from ..later import context, otel, tracing
from ..patching import guarded, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = (
    "opentelemetry.trace",
    "opentelemetry._logs",
    "opentelemetry.propagate",
    "opentelemetry.sdk.trace",
    "opentelemetry.instrumentation.instrumentor",
)


def patch(module: ModuleType) -> None:
    if module.__name__ == "opentelemetry.sdk.trace":
        wrap(module.Span, "record_exception", record_exception)
        wrap(module.Tracer, "start_span", start_span)
    elif module.__name__ == "opentelemetry._logs":
        wrap(module, "set_logger_provider", set_logger_provider)
    elif module.__name__ == "opentelemetry.propagate":
        wrap(module, "extract", extract)
    elif module.__name__ == "opentelemetry.instrumentation.instrumentor":
        wrap(module.BaseInstrumentor, "instrument", make_way)
    else:
        patch_trace(module)


def patch_trace(module: ModuleType) -> None:
    wrap(module.ProxyTracer, "__init__", made)
    wrap(module, "set_tracer_provider", set_tracer_provider)
    # Set before us, as under `opentelemetry-instrument`. Asking get_tracer_provider() might create one.
    join(vars(module).get("_TRACER_PROVIDER"))


def made(call: Call) -> Generator[None, Any, None]:
    yield
    # What stands in until the application sets a provider, if it ever does.
    vars(call.instance)["_noop_tracer"] = tracing


def set_tracer_provider(call: Call) -> Generator[None, Any, None]:
    yield
    join(call["tracer_provider"])


@guarded
def join(provider: Any) -> None:
    if hasattr(provider, "add_span_processor") and "_highlight" not in vars(provider):
        vars(provider)["_highlight"] = True
        provider.add_span_processor(otel.HighlightSpanProcessor())


def extract(call: Call) -> Generator[None, Any, Any]:
    if call.get("context") is not None or active.current() is None:
        return None
    token = context.attach(context.reading())
    try:
        extracted = yield
    finally:
        context.detach(token)
    return context.continuing(extracted)


def record_exception(call: Call) -> Generator[None, Any, None]:
    otel.record_exception(call.instance, call["exception"])
    yield


def start_span(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    otel.started((yield))


def set_logger_provider(call: Call) -> Generator[None, Any, None]:
    yield
    (provider,) = (*call.args, *call.kwargs.values())  # which older ones call `meter_provider`
    if hasattr(provider, "add_log_record_processor") and "_highlight" not in vars(provider):
        vars(provider)["_highlight"] = True
        provider.add_log_record_processor(otel.HighlightLogRecordProcessor())


def make_way(call: Call) -> Generator[None, Any, None]:
    # The application activates it itself, with settings of its own.
    ours = ecosystem.activated.pop(type(call.instance).__name__, None)
    if ours is not None:
        ours.uninstrument()
    yield
