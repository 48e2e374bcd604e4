"""Spans and log records as rows, whether they came as protobuf or as JSON."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import TYPE_CHECKING, Any

from . import places
from .bodies import clean, to_json
from .rows import Batch, Error, Log, Resource, Span, level_of, session_id

if TYPE_CHECKING:
    from collections.abc import Iterable

LATEST = (1 << 63) - 1  # ns; what SQLite holds
# The browser client packs a log record into a span of such a name; Highlight shows no trace of it.
_LOG_SPANS = ("highlight.log", "launchdarkly.js.log")
_EXCEPTION_IDS = ("launchdarkly.exception.id", "highlight.exception.id")
_HEX = frozenset("0123456789abcdef")

Event = tuple[int, str, dict[str, Any]]  # its time, name and attributes


class Sender:
    """A resource, and the batch into which what it sent is put."""

    def __init__(self, batch: Batch, attributes: dict[str, Any]) -> None:
        self.batch = batch
        self.service = text(attributes.get("service.name")) or "unknown"
        told = clean(to_json(attributes))
        # The same in every process that writes, so that nobody has to ask which number a resource has.
        self.id = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), "big") >> 1
        batch.resources[self.id] = Resource(self.id, self.service, told)

    def span(
        self,
        ids: tuple[str, str, str],
        name: str,
        kind: int,
        times: tuple[int, int],
        attributes: dict[str, Any],
        events: list[Event],
        links: list[dict[str, Any]],
        status: tuple[int, str],
    ) -> bool:
        """Take a span, with the errors and log records that are events of it; False if its ids are no ids."""
        trace_id, span_id, parent_id = ids
        if not (_is_id(trace_id, 32) and _is_id(span_id, 16)):
            return False
        start = _time(times[0]) or time.time_ns()
        end = max(_time(times[1]), start)
        session, request = _linked(attributes, trace_id)
        if session:
            self.batch.seen(session, start, end)
        is_log = name in _LOG_SPANS
        told = []
        for number, (at, event, values) in enumerate(events):
            where = trace_id, span_id, request
            if event == "exception" and not is_log:
                self._error(f"{trace_id}/{span_id}/{number}", at or end, "span", attributes, values, session, where)
            elif event == "log" and "log.message" in values:
                uid = f"{trace_id}/{span_id}/{number}"
                severity = text(values.get("log.severity"))
                self._log(uid, at or start, (severity, 0), values.pop("log.message"), values, session, where)
                continue
            told.append({"time": at, "name": clean(event), "attributes": values})
        if not is_log:
            self.batch.spans.append(
                Span(
                    trace_id,
                    span_id,
                    parent_id if _is_id(parent_id, 16) else None,
                    clean(name),
                    kind if 0 <= kind <= 5 else 0,
                    start,
                    end,
                    status[0] if 0 <= status[0] <= 2 else 0,
                    clean(status[1]),
                    self.service,
                    session,
                    request,
                    to_json(attributes),
                    to_json(told) if told else "[]",
                    to_json(links) if links else "[]",
                    self.id,
                )
            )
        return True

    def log(
        self,
        ids: tuple[str, str],
        times: tuple[int, int],
        severity: tuple[str, int],
        body: Any,
        attributes: dict[str, Any],
    ) -> bool:
        """Take a log record, and the error that it tells of."""
        trace_id = ids[0] if _is_id(ids[0], 32) else None
        span_id = ids[1] if trace_id and _is_id(ids[1], 16) else None
        session, request = _linked(attributes, trace_id)
        if trace_id is None and request is not None and _is_id(request, 32):
            trace_id = request
        at = _time(times[0]) or _time(times[1]) or time.time_ns()
        if session:
            self.batch.seen(session, at, at)
        uid = text(attributes.get("log.record.uid")) or None
        where = trace_id, span_id, request
        if "exception.type" in attributes or "exception.message" in attributes:
            message = text(attributes.get("exception.message"))
            key = uid or _digest(trace_id, span_id, at, attributes.get("exception.type"), message)
            self._error(key, at, "log", attributes, attributes, session, where)
        self._log(uid, at, severity, body, attributes, session, where)
        return True

    def _log(
        self,
        uid: str | None,
        at: int,
        severity: tuple[str, int],
        body: Any,
        attributes: dict[str, Any],
        session: str | None,
        where: tuple[str | None, str | None, str | None],
    ) -> None:
        level, name = level_of(*severity)
        logger = text(attributes.get("logger.name"))
        row = Log(uid, at, level, name, self.service, logger, text(body), session, *where, to_json(attributes), self.id)
        self.batch.logs.append(row)

    def _error(
        self,
        key: str,
        at: int,
        source: str,
        attributes: dict[str, Any],
        values: dict[str, Any],
        session: str | None,
        where: tuple[str | None, str | None, str | None],
    ) -> None:
        message = text(values.get("exception.message"))
        type_ = text(values.get("exception.type")) or "Error"
        stack = text(values.get("exception.stacktrace"))
        key = next((text(values[name]) for name in _EXCEPTION_IDS if values.get(name)), key)
        url = text(attributes.get("url.full") or attributes.get("http.url") or attributes.get("url"))
        self.batch.errors.append(
            error(
                key,
                _time(at),
                (type_, message, stack),
                source,
                self.service,
                session or session_id(values.get("highlight.session_id")),
                where,
                url,
                {name: value for name, value in values.items() if not name.startswith("exception.")},
                self.id,
            )
        )


def error(
    key: str,
    at: int,
    what: tuple[str, str, str],
    source: str,
    service: str,
    session: str | None,
    where: tuple[str | None, str | None, str | None],
    url: str,
    attributes: dict[str, Any],
    resource_id: int,
) -> Error:
    """An error as a row, with its place and its group."""
    type_, message, stack = what
    place = places.innermost(stack)
    file, line, function = (place.file, place.line, place.function) if place else ("", 0, "")
    if place is None and isinstance(attributes.get("code.file.path"), str):
        file, function = attributes["code.file.path"], text(attributes.get("code.function.name"))
        number = attributes.get("code.line.number")
        line = number if isinstance(number, int) and 0 < number < 1 << 31 else 0
        place = places.Frame(file, line, function, "", own=True)
    group = places.group(type_, message, place)
    return Error(key, at, group, type_, message, stack, clean(file), line, clean(function), source, service, session,
                 *where, url, to_json(attributes), resource_id)  # fmt: skip


def text(value: Any) -> str:
    """A value of an attribute as a text."""
    if isinstance(value, str):
        return clean(value)
    return "" if value is None else to_json(value)


def bytes_as_value(value: bytes) -> str:
    """Bytes in an attribute, as OTLP's JSON has them."""
    return base64.b64encode(value).decode()


def merged(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Attributes as a dict; the first of a repeated key counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _linked(attributes: dict[str, Any], trace_id: str | None) -> tuple[str | None, str | None]:
    """The session and the browser's request; that is named only where it is not the trace itself."""
    request = session_id(attributes.get("highlight.request_id")) or session_id(attributes.get("highlight.trace_id"))
    return session_id(attributes.get("highlight.session_id")), None if request == trace_id else request


def _is_id(value: str, length: int) -> bool:
    return len(value) == length and _HEX.issuperset(value) and value.strip("0") != ""


def _time(ns: int) -> int:
    return ns if 0 <= ns <= LATEST else 0


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()
