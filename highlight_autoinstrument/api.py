"""What an application may call itself, for protocols that are not patched; safe to call while the agent is off."""

from __future__ import annotations

import functools
import http
import inspect
import json
import sys
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import (
    active,
    bootstrap,
    config,
    errors,
    guard,
    incoming,
    logs,
    messaging,
    metrics,
    pipeline,
    propagation,
    recording,
    spans,
)
from .context import HighlightRequest, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType

    from opentelemetry.trace import Span

Function = TypeVar("Function", bound="Callable[..., Any]")

bootstrap.prepare()


def parse_headers(headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None) -> HighlightRequest:
    """The two ids in a request's or message's headers, whatever their form.

    `headers` is a mapping or a list of pairs, of str or bytes, in any case. What Highlight's `H.parseHeaders` does;
    baggage and cookies are read as well. Both ids are None where there are none. Never raises.
    """
    try:
        found = propagation.extract(_lower(headers).get)
        return found if isinstance(found, HighlightRequest) else HighlightRequest(None, None)
    except Exception as error:  # noqa: BLE001 - the guard
        guard.broken("parse_headers", error)
        return HighlightRequest(None, None)


def _lower(headers: Any) -> dict[str, str]:
    """The headers by their names in lower case; of several by one name the first."""
    found: dict[str, str] = {}
    try:
        for name, value in headers.items() if hasattr(headers, "items") else headers or ():
            found.setdefault(_text(name).lower(), _text(value))
    except Exception as error:  # noqa: BLE001 - no headers at all
        guard.debug(f"these are no headers: {guard.summary(error)}")
    return found


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def consume_error(
    error: BaseException | str,
    session_secure_id: str | None = None,
    request_id: str | None = None,
    **attributes: object,
) -> None:
    """Report an error against a browser session, as Highlight's `H.consumeError` does.

    The ids are those that `parse_headers` gave; without them it is reported against the present unit of work, if any.
    One exception object is reported once. Never raises.
    """
    try:
        if not issubclass(type(error), BaseException):
            error = Exception(logs.text(error))
        unit = active.current()
        ids = propagation.from_ids(session_secure_id, request_id)
        _report(unit if ids is None else _unit_of(ids), error, attributes)  # type: ignore[arg-type] # just seen to
    except Exception as failure:  # noqa: BLE001 - the guard
        guard.broken("consume_error", failure)


def record_exception(error: BaseException | None = None, **attributes: object) -> None:
    """Report an exception that the application has handled, by default the one that is being handled.

    It goes to the present unit of work, without failing it. One exception object is reported once. Never raises.
    """
    try:
        if error is None:
            error = sys.exc_info()[1]
        if error is not None:
            _report(active.current(), error, attributes)
    except Exception as failure:  # noqa: BLE001 - the guard
        guard.broken("record_exception", failure)


def record_http_error(status_code: int, detail: str = "", attributes: Mapping[str, object] | None = None) -> None:
    """Report an HTTP error that the application answers with, without an exception of its own.

    `detail` is the error's message (or JSON with one under `detail`), by default the status' phrase. The stack is that
    of the caller. Never raises.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no public way to the caller's stack
    try:
        error = HTTPException(_message(status_code, detail))
        traceback = None
        while frame is not None:
            traceback = TracebackType(traceback, frame, frame.f_lasti, frame.f_lineno)
            frame = frame.f_back
        described = {"http.status_code": status_code, "http.response.detail": str(error), **(attributes or {})}
        _report(active.current(), error.with_traceback(traceback), described)
    except Exception as failure:  # noqa: BLE001 - the guard
        guard.broken("record_http_error", failure)


def _message(status_code: int, detail: str) -> str:
    try:
        return _detail(detail) or http.HTTPStatus(status_code).phrase
    except ValueError:
        return f"HTTP {status_code}"


class HTTPException(Exception):  # noqa: N818 - its name is what is shown
    """What `record_http_error` reports."""


HTTPException.__module__ = "http"


def _detail(detail: str) -> str:
    try:
        found = json.loads(detail)
        return str(found["detail"]) if isinstance(found, dict) and "detail" in found else detail
    except (ValueError, RecursionError):
        return detail


def log(message: str, level: int | str = "INFO", attributes: Mapping[str, object] | None = None) -> None:
    """Send a log record without a logger. `level` is a number of Python's logging, or a level's name. Never raises."""
    try:
        if not config.get().enabled:
            return
        number = config.LEVELS.get(level.upper(), 20) if isinstance(level, str) else logs.level_of(level)
        caller = sys._getframe(1)  # noqa: SLF001 - as logging does
        code = (caller.f_code.co_name, caller.f_code.co_filename, caller.f_lineno)
        logs.emit(number, logs.text(message), code=code, extra=attributes)
    except Exception as failure:  # noqa: BLE001 - the guard
        guard.broken("log", failure)


def record_metric(name: str, value: float, attributes: Mapping[str, object] | None = None) -> None:
    """Record the present value of something, such as a temperature: a gauge, of which the last value is sent."""
    _measure(metrics.GAUGE, name, value, attributes)


def record_count(name: str, value: int, attributes: Mapping[str, object] | None = None) -> None:
    """Add to a counter, which only goes up."""
    _measure(metrics.COUNTER, name, value, attributes)


def record_incr(name: str, attributes: Mapping[str, object] | None = None) -> None:
    """Add one to a counter."""
    _measure(metrics.COUNTER, name, 1, attributes)


def record_histogram(name: str, value: float, attributes: Mapping[str, object] | None = None) -> None:
    """Record a value of which the distribution is of interest, such as a duration."""
    _measure(metrics.HISTOGRAM, name, value, attributes)


def record_up_down_counter(name: str, value: int, attributes: Mapping[str, object] | None = None) -> None:
    """Add to a counter that goes up and down, such as the length of a queue."""
    _measure(metrics.UP_DOWN_COUNTER, name, value, attributes)


def _measure(kind: str, name: str, value: float, attributes: Mapping[str, object] | None) -> None:
    try:
        if config.get().enabled:
            metrics.record(kind, name, value, attributes)
    except Exception as failure:  # noqa: BLE001 - the guard
        guard.broken("metrics", failure)


def _report(unit: Unit | None, error: BaseException, attributes: Mapping[str, object]) -> None:
    if not config.get().enabled:
        return
    extra: dict[str, Any] = {}
    logs.add_extra(extra, attributes)
    errors.record_in(unit, error, extra)


def _unit_of(ids: HighlightRequest) -> Unit:
    """A unit of work that somebody else did: it has ids and a trace of its own, and a span that is never sent."""
    work = incoming.start("consume_error", spans.INTERNAL, ids, None, {})
    work.unit.span.silent = True
    return work.unit


def flush(timeout_seconds: float = pipeline.EXIT_SECONDS) -> bool:
    """Send what has been recorded until now; False if that was not done within the time. Never raises."""
    try:
        return pipeline.flush(timeout_seconds)
    except Exception as failure:  # noqa: BLE001 - the guard
        guard.broken("flush", failure)
        return False


def set_debug_mode(logger: Any = None) -> None:
    """Tell what the agent does, one line each: to a logger at its DEBUG level, or without one to stderr.

    The lines are not exported.
    """
    if logger is None:
        guard.set_debug(None)
        return

    def sink(line: str) -> None:
        with logs.unsent():
            logger.debug("highlight: " + line)  # noqa: G003 - loguru and structlog format in other ways

    guard.set_debug(sink)


class trace:  # noqa: N801 - reads as a function: `@trace("name")`, `with trace("name"):`
    """A unit of work of the application's own, or inside one a span of it; a decorator and a context manager.

    `name` is the span's (a decorated function's is the default). `session_secure_id` and `request_id`, or the
    `headers` of what came in, say whose work it is. What is left in `attributes` goes on the span. An exception that
    leaves the outermost `trace` is reported; inside a unit it fails the span, and is the unit's to handle.

        with trace("import", headers=message.headers) as span:
            span.set_attribute("rows", 12)
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        session_secure_id: str | None = None,
        request_id: str | None = None,
        headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None,
        **attributes: object,
    ) -> None:
        self._name = name
        self._given = session_secure_id, request_id
        self._headers = headers
        self._attributes = attributes
        self._open: _OpenTrace | None = None

    def __call__(self, function: Function) -> Function:
        """Decorate a function, or a coroutine function: each call is traced."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            msg = "trace cannot decorate a generator: use `with trace(...)` inside it"
            raise TypeError(msg)
        name = self._name or function.__qualname__
        wrapper: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again(name):
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again(name):
                    return function(*args, **kwargs)

        return wrapper  # type: ignore[no-any-return]

    def _again(self, name: str) -> trace:
        again = copy(self)
        again._name = name  # noqa: SLF001 - of the same class
        return again

    def __enter__(self) -> Span:
        self._open = _OpenTrace(self._name or "trace", self._given, self._headers, self._attributes)
        return self._open.span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.close(error)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, tb)


class message_context:  # noqa: N801 - reads as a function
    """The unit of work of one message of a batch, for the loop that works on it.

    `message` is what the library gave (a record of Kafka's, a message of SQS's), or anything with `headers`, or headers
    themselves. An exception that leaves the block is reported with the message's session.

        for record in consumer.poll():
            with message_context(record):
                ...
    """

    def __init__(self, message: Any) -> None:
        self._message = message
        self._processing: messaging.Processing | None = None

    def __enter__(self) -> None:
        try:
            if config.get().enabled:
                self._processing = messaging.message_context(self._message)
                self._processing.__enter__()
        except Exception as error:  # noqa: BLE001 - the guard
            guard.broken("message_context", error)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        processing, self._processing = self._processing, None
        if processing is not None:
            try:
                processing.__exit__(kind, error, tb)
            except Exception as failure:  # noqa: BLE001 - the guard
                guard.broken("message_context", failure)


class _OpenTrace:
    """One `trace` while it is open. A failure of the agent leaves the application's block to run without a span."""

    def __init__(
        self,
        name: str,
        given: tuple[str | None, str | None],
        headers: Any,
        attributes: Mapping[str, object],
    ) -> None:
        self.span: Span = spans.INVALID_SPAN
        self._close: Callable[[BaseException | None], None] | None = None
        try:
            if config.get().enabled:
                self._begin(name, given, headers, attributes)
        except Exception as error:  # noqa: BLE001 - the guard
            guard.broken("trace", error)

    def _begin(
        self,
        name: str,
        given: tuple[str | None, str | None],
        headers: Any,
        attributes: Mapping[str, object],
    ) -> None:
        ids = propagation.from_ids(*given)
        values: dict[str, Any] = {}
        logs.add_extra(values, attributes)
        if active.current() is not None and ids is None and headers is None:
            piece = spans.piece(name, spans.INTERNAL, values)
            entered = piece.__enter__()
            self._close = lambda error: piece.__exit__(type(error) if error is not None else None, error, None)
            if isinstance(entered, recording.Span):
                self.span = entered
            return
        work = _begin_work(name, ids, headers, values)
        token = work.attach()

        def close(error: BaseException | None) -> None:
            try:
                if error is not None:
                    work.fail(error)
            finally:
                try:
                    work.detach(token)
                finally:
                    work.unit.span.end()

        self._close = close
        self.span = work.unit.span

    def close(self, error: BaseException | None) -> None:
        if self._close is not None:
            try:
                self._close(error)
            except Exception as failure:  # noqa: BLE001 - the guard
                guard.broken("trace", failure)


def _begin_work(name: str, ids: HighlightRequest | None, headers: Any, values: dict[str, Any]) -> incoming.Work:
    if headers is None:
        return incoming.start(name, spans.INTERNAL, ids, None, values)
    return incoming.begin(name, spans.INTERNAL, _lower(headers).get, values)
