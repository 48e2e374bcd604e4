"""structlog: each event that its processors let pass is sent, or handed to logging where that decides about it."""

from __future__ import annotations

import sys

from ..later import logs
from ..patching import guarded, on_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

MODULES = ("structlog._base",)

LEVELS = {
    "debug": 10,
    "info": 20,
    "msg": 20,
    "warning": 30,
    "warn": 30,
    "error": 40,
    "err": 40,
    "exception": 40,
    "failure": 40,
    "critical": 50,
    "fatal": 50,
}

# What a log record says in fields of its own. Under the first names, what the application itself has given stays.
ADDED = frozenset({"exception", "level", "level_number", "logger", "timestamp"})
FIELDS = frozenset({"event", "exc_info", "positional_args"})


def patch(module: ModuleType) -> None:
    bound = module.BoundLoggerBase
    # No wrapped method: processors and loggers look on the stack for the first frame that is not structlog's.
    on_read(bound, "_processors", bound._process_event, with_ours)  # noqa: SLF001 - all loggers come by there


def with_ours(processors: Any, frame: FrameType) -> Any:
    """The processors with ours among them: first, between any two (which of them renders, nobody knows), and last."""
    if not isinstance(processors, (list, tuple)):
        return processors
    event = Event()
    between: list[Any] = [step for processor in processors for step in (processor, event.keep)]
    return [event.begin, *between[:-1], event.end]


class Event:
    """An event on its way through the processors; a `DropEvent` of one of them ends it."""

    __slots__ = ("body", "error", "given", "kept")

    def __init__(self) -> None:
        self.given: dict[str, Any] | None = None  # None: this one is not wanted
        self.kept: dict[str, Any] = {}
        self.body: Any = ""
        self.error: BaseException | None = None

    def begin(self, logger: Any, method: str, event: Any) -> Any:
        """See what the application gave."""
        self._begin(method, event)
        return event

    @guarded
    def _begin(self, method: str, event: Any) -> None:
        logs.handed.event = None
        if LEVELS.get(method, 100) >= logs.minimum_level and isinstance(event, dict):
            self.given = self.kept = event.copy()
            self.body = event.get("event", "")
            # What formats the exception takes it out of the event. True is read here, in the `except` block.
            self.error = logs.error_in(event.get("exc_info", method == "exception"))

    def keep(self, logger: Any, method: str, event: Any) -> Any:
        """See what may be about to be rendered: secrets may have been taken out of it by now."""
        if self.given is not None and isinstance(event, dict):
            self.kept = event.copy()
            self.body = event.get("event", self.body)
        return event

    def end(self, logger: Any, method: str, rendered: Any) -> Any:
        """Send the event, which is now sure to go to its logger."""
        if self.given is not None:
            self._end(self.given, logger, method)
        return rendered

    @guarded
    def _end(self, given: dict[str, Any], logger: Any, method: str) -> None:
        if self.error is None:
            self.error = logs.error_in(self.kept.get("exc_info"))
        find = sys.modules["structlog._frames"]._find_first_app_frame_and_name  # noqa: SLF001 - knows async callers
        frame, module = find(["highlight_autoinstrument"])
        code = (frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno)
        body = logs.text(self.body)
        extra = {
            key: value
            for key, value in self.kept.items()
            if key in given or not (key in ADDED or value is self.body)  # EventRenamer's new name for the body
            if key not in FIELDS
        }
        logging = sys.modules["logging"]
        if isinstance(logger, (logging.Logger, logging.LoggerAdapter)) and logs.sends("logging"):
            if logger.isEnabledFor(LEVELS.get(method, 50)):
                logs.handed.event = logs.Event(body, self.error, code, extra, frozenset(self.kept))
        elif logs.passer("structlog") is None:
            logs.handed.event = logs.SENT
            name = self.kept.get("logger")
            if not isinstance(name, str) and type(logger).__module__ == "structlog._output":
                name = getattr(logger, "name", None)
            if not isinstance(name, str):
                name = module
            logs.emit(LEVELS.get(method, 20), body, logger=name, error=self.error, code=code, extra=extra)
