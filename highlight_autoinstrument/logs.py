"""Sending one log record, whoever wrote it, with the unit of work that it was written in."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from time import time_ns as now_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from . import active, config, context, errors, guard, messaging, pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .context import Unit

# Highlight reads these words and never the number; whatever else the level is called, the nearest of them is sent.
_SEVERITIES = (
    (5, "TRACE", 1),
    (10, "DEBUG", 5),
    (20, "INFO", 9),
    (30, "WARN", 13),
    (40, "ERROR", 17),
    (50, "FATAL", 21),
)
_known_severities: dict[float, tuple[str, int]] = {}
_ERROR_LEVEL = 40

MAX_CHARACTERS = 65_536  # Highlight cuts what is longer; until then it would only fill the queue

# Keys that Highlight takes for fields of its own: a user's extras of the same name go under another.
_RESERVED = frozenset({"level", "severity", "message", "environment", "URL", "Source", "service.name"})
_RESERVED_PREFIXES = ("exception.", "highlight.", "code.", "logger.", "log.record.")

minimum_level = config.get().log_level

_unsent: ContextVar[bool] = ContextVar("highlight-unsent", default=False)


@contextmanager
def unsent() -> Iterator[None]:
    """Leave out what is logged meanwhile: it has been sent already, or is the agent's own."""
    token = _unsent.set(True)
    try:
        yield
    finally:
        _unsent.reset(token)


class Event(NamedTuple):
    """What one logging library knows of a record that it hands to another, which decides whether it is sent."""

    body: str
    error: BaseException | None
    code: tuple[str, str, int | None]
    extra: dict[str, Any]
    known: frozenset[Any]  # names of extras that the other is not to add


SENT = Event("", None, ("", "", 0), {}, frozenset())


class _Handed(threading.local):
    """The event that this thread's latest call of structlog has left for the library below it, or SENT."""

    event: Event | None = None


handed = _Handed()

# The functions by which a logging library calls a handler or another library. Below `_process_event` run processors,
# which may write records of their own.
_PASSERS = {
    "_proxy_to_logger": ("structlog._base", "structlog"),
    "_process_event": ("structlog._base", "", "structlog"),
    "emit": ("loguru._handler", "loguru"),
    "_queued_writer": ("loguru._handler", "loguru"),
    "call_handlers": ("logbook.base", "logbook"),
    "handle": ("logging", "logging"),
}
_FRAMES = 16  # between such a function and the next library's hook, the libraries' own included


def sends(library: str) -> bool:
    """Whether records of a logging library are sent where it makes them."""
    return library not in config.get().disabled_integrations


def passer(library: str) -> str | None:
    """The other logging library that passes its record on to this one just now, in a handler, sink or logger.

    Read from the stack: it knows what belongs together also in a listener's thread, and there is nothing to undo.
    """
    loaded = sys.modules
    if library == "logging" and not (
        "structlog._base" in loaded or "loguru._handler" in loaded or "logbook.base" in loaded
    ):
        return None
    frame = sys._getframe(1)  # noqa: SLF001
    for _ in range(_FRAMES):
        found = _PASSERS.get(frame.f_code.co_name)
        if found is not None and frame.f_globals.get("__name__") == found[0] and library not in found[1:]:
            return found[1] if found[1] and sends(found[1]) else None
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


class LogRecord:
    """A log record on its way out."""

    __slots__ = (
        "attributes",
        "body",
        "code",
        "flags",
        "is_error",
        "logger",
        "observed_ns",
        "severity_number",
        "severity_text",
        "span_id",
        "stamp",
        "time_ns",
        "trace_id",
    )
    is_log = True

    def __init__(
        self,
        level: float,
        body: str,
        attributes: Mapping[str, Any],
        *,
        time_ns: int,
        logger: str = "",
        code: tuple[str, str, int | None] | None = None,
    ) -> None:
        self.severity_text, self.severity_number = _known_severities.get(level) or severity(level)
        if len(body) > MAX_CHARACTERS:
            body = body[:MAX_CHARACTERS]
        self.body = safe_body(body) if " <" in body else body
        self.attributes = attributes
        self.observed_ns = now_ns()
        self.time_ns = time_ns or self.observed_ns
        self.logger = logger
        self.code = code
        self.is_error = False
        self.trace_id = self.span_id = self.flags = 0
        self.stamp: context.Stamp | None = None

    def place(self, stamp: Mapping[str, str], ids: tuple[int, int, int]) -> None:
        """Attribute the record to a unit of work and to a span of it: trace id, span id, flags."""
        self.stamp = stamp if isinstance(stamp, context.Stamp) else context.Stamp(stamp)
        self.trace_id, self.span_id, self.flags = ids


def severity(level: float) -> tuple[str, int]:
    """OpenTelemetry's severity text and number nearest to one of Python's levels, the lower one half-way."""
    known = _known_severities.get(level)
    if known is None:
        _, name, number = min(_SEVERITIES, key=lambda known: abs(known[0] - level))
        known = name, number
        if len(_known_severities) < 100:
            _known_severities[level] = known
    return known


def safe_body(body: str) -> str:
    """Keep Highlight from losing what stands before ` <`: a no-break space reads the same."""
    return body if body.startswith("<") else body.replace(" <", "\u00a0<")


def emit(
    level: float,
    body: str,
    *,
    logger: str = "",
    time_ns: int = 0,
    error: BaseException | None = None,
    code: tuple[str, str, int | None] | None = None,
    stack: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Send one log record.

    `level` is a number of Python's logging, `time_ns` nanoseconds since 1970 (0: now), `code` the function, file and
    line that wrote it, `stack` the text of how it came there. An `error` at ERROR or above is reported with it, unless
    it has been reported already.
    """
    if level < minimum_level or _unsent.get():
        return
    unit = active.current()
    attributes: dict[str, Any] = {}
    # A server logs what left a request when the request is over: the exception knows where it came from.
    mark = errors.mark_of(error) or errors.home_of(error) if error is not None and unit is None else None
    if stack:
        attributes["code.stacktrace"] = text(stack)[:MAX_CHARACTERS]
    if extra:
        add_extra(attributes, extra)
    is_error = False
    if error is not None and (unit is None or logger not in messaging.echoes):
        is_error = _add_error(attributes, level, error, unit)
    record = LogRecord(level, body, attributes, time_ns=time_ns, logger=logger, code=code)
    record.is_error = is_error
    if unit is not None:
        record.stamp = unit.attributes
        record.trace_id, record.span_id, record.flags = context.ids_in(unit)
    elif mark is not None:
        record.place(mark.attributes, mark[:3])
    pipeline.add_log(record)


def _add_error(attributes: dict[str, Any], level: float, error: BaseException, unit: Unit | None) -> bool:
    if not errors.is_error(error):
        return False
    if level < _ERROR_LEVEL:
        # No error, by the application's own word; what it knows of it is shown all the same.
        attributes["traceback"] = errors.described(error)["exception.stacktrace"]
        return False
    if errors.claim(error, unit):
        attributes.update(errors.reported(error))
        return True
    return False


def emit_error(home: errors.Mark | None, attributes: Mapping[str, Any]) -> None:
    """Send an exception that no open span can hold, whatever the lowest level is."""
    pipeline.add_log(_error_record(home, attributes))


def keep_error(home: errors.Mark | None, attributes: Mapping[str, Any]) -> None:
    """Keep an exception on disk, as it would be sent if no span could hold it."""
    pipeline.keep(_error_record(home, attributes))


def _error_record(home: errors.Mark | None, attributes: Mapping[str, Any]) -> LogRecord:
    last_line = f"{attributes['exception.type']}: {attributes['exception.message']}"
    record = LogRecord(_ERROR_LEVEL, last_line, attributes, time_ns=0)
    record.is_error = True
    if home is not None:
        record.place(home.attributes, home[:3])
    return record


def add_extra(attributes: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Add what the application gave with a record, under names that mean nothing else to Highlight."""
    for key, value in extra.items():
        name = key if type(key) is str else text(key)
        if name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
            name = f"extra.{name}"
        attributes[name] = simple(value)


def level_of(level: Any) -> float:  # a number, if the application did not put anything else there
    """A record's level; INFO for what is none."""
    kind = type(level)
    if kind is int:
        return int(level)
    number = int.__int__(level) if issubclass(kind, int) else float.__float__(level) if issubclass(kind, float) else 20
    return number if number == number else 20  # noqa: PLR0124 - a NaN


def nanoseconds(seconds: Any) -> int:  # a number, if the application did not put anything else there
    """A time in seconds since 1970 as nanoseconds; 0 for what is none."""
    number = float.__float__(seconds) if issubclass(type(seconds), float) else 0.0
    return int(number * 1e9) if 0 < number < 1e10 else 0  # nor a NaN


def code(function: Any, file: Any, line: Any) -> tuple[str, str, int | None]:
    """The place that a library names, whatever the application has put there; a line that is no number is none."""
    return text(function or ""), text(file or ""), line if type(line) is int else None


def error_in(exc_info: Any) -> BaseException | None:  # three forms, and whatever else was given
    """The exception in an `exc_info`: an exception, a tuple with one, or anything true for the one being handled."""
    if issubclass(type(exc_info), tuple):
        exc_info = exc_info[1] if len(exc_info) == 3 else None
    elif exc_info is True or (type(exc_info) is int and exc_info):
        exc_info = sys.exc_info()[1]
    return exc_info if issubclass(type(exc_info), BaseException) else None


def text(value: Any) -> str:
    """A string for anything, without calling code of the application's."""
    return value if type(value) is str else str(simple(value))


def simple(value: Any, depth: int = 0) -> Any:
    """A value that can wait for its export: copied, bounded, and without calling code of the application's.

    The `repr` of a stranger may take seconds: an object that is not known is named by its type.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if issubclass(kind, str):  # isinstance() would ask the object itself
        return str.__str__(value)[:MAX_CHARACTERS]
    if issubclass(kind, (bytes, bytearray)):
        return bytes(value[:MAX_CHARACTERS])
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    if depth < _MAX_DEPTH:
        if issubclass(kind, dict):
            return {text(key): simple(item, depth + 1) for key, item in list(islice(dict.items(value), _MAX_ITEMS))}
        for container in _CONTAINERS:
            if issubclass(kind, container):
                return [simple(item, depth + 1) for item in list(islice(container.__iter__(value), _MAX_ITEMS))]
    return _named(value, kind)


def _named(value: Any, kind: type) -> str:
    """The text of what has a short one; the type's name of anything else."""
    module, name = _get_module(kind), _get_qualname(kind)
    if issubclass(kind, BaseException) or (type(module) is str and module in _PLAIN_MODULES):
        try:
            return str.__str__(str(value))[:MAX_CHARACTERS]
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # the application's __str__
            if guard.is_of_a_signal(failure):
                raise
            return f"<{name}>"
    return f"<{module}.{name}>" if type(module) is str else f"<{name}>"


# A metaclass may answer these itself.
_get_module = type.__dict__["__module__"].__get__
_get_qualname = type.__dict__["__qualname__"].__get__


_MAX_DEPTH = 3
_MAX_ITEMS = 50
_SCALARS = frozenset({int, float, bool, type(None)})
_CONTAINERS: tuple[Any, ...] = (list, tuple, set, frozenset)
# Types whose text is short and worth reading; an exception's is as well.
_PLAIN_MODULES = frozenset(
    {"datetime", "decimal", "uuid", "fractions", "ipaddress", "pathlib", "pathlib._local", "enum"}
)
