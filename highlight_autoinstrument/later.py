"""The parts that build on OpenTelemetry, for those that are loaded before it: each is imported at its first use."""

from __future__ import annotations

from . import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import context as context  # noqa: PLC0414 - what a type checker sees in place of the parts below
    from . import cors as cors  # noqa: PLC0414
    from . import errors as errors  # noqa: PLC0414
    from . import incoming as incoming  # noqa: PLC0414
    from . import logs as logs  # noqa: PLC0414
    from . import otel as otel  # noqa: PLC0414
    from . import outgoing as outgoing  # noqa: PLC0414
    from . import pipeline as pipeline  # noqa: PLC0414
    from . import recording as recording  # noqa: PLC0414
    from . import spans as spans  # noqa: PLC0414
    from . import tracing as tracing  # noqa: PLC0414
else:

    class Part:
        """Stands for a module of this package; what has been looked up once is an attribute from then on."""

        def __init__(self, name: str) -> None:
            self.__name__ = name

        def __getattr__(self, attribute: str) -> object:
            value = getattr(loading.load(self.__name__), attribute)
            setattr(self, attribute, value)
            return value

    context = Part("context")
    cors = Part("cors")
    errors = Part("errors")
    incoming = Part("incoming")
    logs = Part("logs")
    otel = Part("otel")
    outgoing = Part("outgoing")
    pipeline = Part("pipeline")
    recording = Part("recording")
    spans = Part("spans")
    tracing = Part("tracing")
