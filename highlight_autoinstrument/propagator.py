"""HighlightPropagator: the `x-highlight-request` header for OpenTelemetry's own propagation, by `OTEL_PROPAGATORS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter

from . import context as contexts
from . import incoming, propagation, spans

if TYPE_CHECKING:
    from opentelemetry.context import Context


class HighlightPropagator(TextMapPropagator):
    """Reads and writes the ids of the browser's session; goes beside `tracecontext`, which does the trace."""

    @property
    def fields(self) -> set[str]:
        """The headers that `inject` sets."""
        return {propagation.HEADER}

    def extract(self, carrier: Any, context: Context | None = None, getter: Any = default_getter) -> Context:
        """Return a context with the ids of what came in, from the header, else from baggage, else from cookies."""

        def get(name: str) -> str | None:
            found = getter.get(carrier, name)
            value = found if isinstance(found, (str, bytes)) else next(iter(found or ()), None)
            return value.decode("latin-1") if isinstance(value, bytes) else value

        ids, parent = incoming.read(get)
        if ids is None:
            return context if context is not None else contexts.snapshot()
        unit = incoming.start("carried", spans.INTERNAL, ids, parent, {}).unit
        unit.span.silent = True  # the ids alone: the spans are OpenTelemetry's
        return contexts.carrying(unit, context)

    def inject(self, carrier: Any, context: Context | None = None, setter: Any = default_setter) -> None:
        """Put the ids of a context (the current one) into what goes out."""
        present = context if context is not None else contexts.snapshot()
        unit = contexts.unit_of(present) or contexts.carried(present)
        if unit is not None and unit.ids is not None:
            setter.set(carrier, propagation.HEADER, propagation.format(unit.ids))
