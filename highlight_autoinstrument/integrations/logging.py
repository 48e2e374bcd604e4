"""The standard library's logging: each record that a logger lets pass is sent, before its handlers see it."""

from __future__ import annotations

import sys
from contextvars import ContextVar

from .. import config
from ..later import logs, recording
from ..patching import guarded, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

MODULES = ("logging",)

# True while a message is put together here. What its arguments log meanwhile (a `__str__` that logs) is left for when
# the handlers put it together, and for a `__str__` that logs itself this is where it ends.
_formatting: ContextVar[bool] = ContextVar("highlight-formatting", default=False)


def patch(logging: ModuleType) -> None:
    # The last thing that Logger.handle does before it calls the handlers. It has returned when they run, so none of
    # them finds a frame of ours on its stack; and no dictConfig removes it, as it would a handler.
    replace(logging.Logger, "filter", forwarding_filter)


def forwarding_filter(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    minimum_level = config.get().log_level
    record_class = sys.modules["logging"].LogRecord

    def filter(self: logging.Logger, record: logging.LogRecord) -> Any:  # noqa: A001
        passed = function(self, record)
        if passed:
            # From Python 3.12 a filter may put another record in place of this one.
            passing = passed if issubclass(type(passed), record_class) else record
            level = passing.levelno
            if type(level) is not int or level >= minimum_level:
                forward(passing)
        return passed

    return filter


@guarded
def forward(record: logging.LogRecord) -> None:
    """Send a record of logging's, unless it has been sent by whoever passes it on."""
    if _formatting.get() or is_replayed(record):
        return
    passer = logs.passer("logging")
    handed = None
    if passer == "structlog":
        handed, logs.handed.event = logs.handed.event, None
    elif passer is not None:
        return
    if handed is logs.SENT:
        return
    fields = record.__dict__
    extra = {} if fields.keys() <= STANDARD else {key: value for key, value in fields.items() if key not in STANDARD}
    body = message(record)
    function, file, line = record.funcName, record.pathname, record.lineno
    code: tuple[str, str, int | None] = (function, file, line)
    if type(function) is not str or type(file) is not str or type(line) is not int:
        code = logs.code(function, file, line)
    level, created, name = record.levelno, record.created, record.name
    error = logs.error_in(record.exc_info) if record.exc_info is not None else None
    if handed is not None:
        body = body if record.args else handed.body
        code = handed.code
        error = error if handed.error is None else handed.error
        extra = {key: value for key, value in extra.items() if key not in handed.known and key not in STRUCTLOG}
        extra.update(handed.extra)
    logs.emit(
        level if type(level) is int else logs.level_of(level),
        body,
        logger=name if type(name) is str else logs.text(name or ""),
        time_ns=int(created * 1e9) if type(created) is float and 0 < created < 1e10 else logs.nanoseconds(created),
        error=error,
        code=code,
        stack=record.stack_info,
        extra=extra,
    )


def is_replayed(record: logging.LogRecord) -> bool:
    """Whether the record was made, and so sent, in another thread or process, and a listener hands it to a logger."""
    # Logging's own `threading`, which has told the record's thread; another agent may have unloaded it for the rest.
    threading = sys.modules["logging"].threading
    thread = record.thread
    if thread is not None and thread != threading.get_ident():
        return True
    return record.process is not None and recording.is_elsewhere(record.process)


def message(record: logging.LogRecord) -> str:
    """The record's text; for arguments that do not fit its format, which the handlers will complain of, the format."""
    if type(record.msg) is str and not record.args:
        return record.msg
    token = _formatting.set(True)
    try:
        return logs.text(record.getMessage())
    except Exception:  # noqa: BLE001 - the application's
        return logs.text(record.msg)
    finally:
        _formatting.reset(token)


# What structlog's ProcessorFormatter adds.
STRUCTLOG = frozenset({"_logger", "_name"})

# What every record has; the rest is the application's `extra=`.
STANDARD = frozenset(
    [
        "name",
        "msg",
        "args",
        "levelname",
        "levelno",
        "pathname",
        "filename",
        "module",
        "exc_info",
        "exc_text",
        "stack_info",
        "lineno",
        "funcName",
        "created",
        "msecs",
        "relativeCreated",
        "thread",
        "threadName",
        "processName",
        "process",
        "taskName",
        "message",
        "asctime",
    ]
)
