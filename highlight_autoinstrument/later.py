"""The parts that build on OpenTelemetry, for those that are loaded before it: each is imported at its first use."""

from __future__ import annotations

import sys

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
    from . import propagation as propagation  # noqa: PLC0414
    from . import recording as recording  # noqa: PLC0414
    from . import spans as spans  # noqa: PLC0414
    from . import tracing as tracing  # noqa: PLC0414
    from . import unread as unread  # noqa: PLC0414
else:

    class Part:
        """Stands for a module of this package until something of it is asked for; then the module takes its place."""

        def __init__(self, name: str) -> None:
            self.__name__ = name

        def __getattr__(self, attribute: str) -> object:
            module = loading.load(self.__name__)
            value = getattr(module, attribute)
            for name, user in list(sys.modules.items()):
                if name.startswith(_PACKAGE) and vars(user).get(self.__name__) is self:
                    setattr(user, self.__name__, module)
            return value

    _PACKAGE = f"{__package__}."

    context = Part("context")
    cors = Part("cors")
    errors = Part("errors")
    incoming = Part("incoming")
    logs = Part("logs")
    otel = Part("otel")
    outgoing = Part("outgoing")
    pipeline = Part("pipeline")
    propagation = Part("propagation")
    recording = Part("recording")
    spans = Part("spans")
    tracing = Part("tracing")
    unread = Part("unread")
