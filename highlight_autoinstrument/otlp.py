"""Spans and log records as OTLP's protobuf messages, written straight from ours.

Field numbers are those of opentelemetry-proto 1.x. Writing the few messages that are needed by hand costs a fraction of
building protobuf objects first, and frees the application from a protobuf version of our choosing.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Any

from . import config
from .redaction import Rules, hide

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .context import Stamp
    from .logs import LogRecord
    from .metrics import Series
    from .recording import Span
    from .redaction import Clean

MAX_TEXT = 65_536  # bytes; Highlight cuts longer strings at the tail
MAX_ITEMS = 100  # of one container
MAX_NESTED = 1000  # of a container with all that it holds
MAX_DEPTH = 4
_MOST_READ = MAX_TEXT + 1000  # characters in which secrets are looked for: what is longer is cut all the same

_fixed64 = Struct("<Q").pack
_fixed32 = Struct("<I").pack
_double = Struct("<d").pack
# Fields of fixed size, with their tags: the times of a log record, and where it belongs.
_log_head = Struct("<BQBQ").pack
_log_place = Struct("<BI2s16s2s8s").pack
_small = tuple(bytes((number,)) for number in range(128))
_rules, _default = Rules(config.get().redact), Rules()


class _Key:
    """A key of attributes: encoded, with what the texts under it go through, and the values that come again."""

    __slots__ = ("clean", "encoded", "values")

    def __init__(self, encoded: bytes, clean: Clean | None) -> None:
        self.encoded = encoded
        self.clean = clean
        # Whole attributes without their tag, by short values; None for a key whose values are too many to come again.
        self.values: dict[str | int, bytes] | None = {}


_keys: dict[str, _Key] = {}
_MOST_KEYS = 1000  # the application's own may be endless
_MOST_VALUES = 64  # of one key
_MOST_KEPT = 2000  # of all keys
_LONGEST_KEPT = 200  # characters
_kept = 0
_severities: dict[str, bytes] = {}
_origins: dict[tuple[str, tuple[str, str, int | None] | None], bytes] = {}
_MOST_ORIGINS = 1000  # an application may make loggers without end
_LONGEST_ORIGIN = 500  # bytes


def varint(number: int) -> bytes:
    """A non-negative integer in protobuf's variable length."""
    if number < 128:
        return _small[number]
    if number < 16_384:  # most lengths
        return bytes((number & 127 | 128, number >> 7))
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _clean(value: str) -> str:
    """A text of no key's without the secrets in it."""
    if type(value) is not str:
        value = str.__str__(value)
    return _rules.text(value if len(value) < _MOST_READ else value[:_MOST_READ])


def text(value: str) -> bytes:
    """UTF-8 whatever the string holds (lone surrogates are escaped), at most MAX_TEXT bytes."""
    if len(value) < _LONGEST_KEPT and value.isascii():
        return value.encode()
    if len(value) > MAX_TEXT:
        value = value[:MAX_TEXT]
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = value.encode("utf-8", "backslashreplace")
    if len(encoded) > MAX_TEXT:
        encoded = encoded[:MAX_TEXT].decode("utf-8", "ignore").encode()
    return encoded


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def _any_value(value: Any, clean: Clean | None, depth: int = 0, budget: list[int] | None = None) -> bytes | None:
    """An AnyValue, or None for what cannot be sent. Highlight drops booleans and bytes, so they go as text."""
    kind = type(value)
    if kind is str:
        encoded = text(value if clean is None else clean(value if len(value) < _MOST_READ else value[:_MOST_READ]))
        return b"\x0a" + varint(len(encoded)) + encoded
    if kind is int:
        if -(1 << 63) <= value < 1 << 63:
            if _rules.reads_numbers and clean is not None and clean(str(value)) != str(value):
                return _any_value(str(value), clean)
            return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
        return _any_value(str(value), clean) if value.bit_length() < 10_000 else None  # longer ones take time
    if kind is bool:
        return b"\x0a\x04true" if value else b"\x0a\x05false"
    if kind is float:
        return b"\x21" + _double(value)
    if value is None:
        return None
    # Subclasses say what they like of themselves: the methods are those of the built-in types.
    if issubclass(kind, str):
        return _any_value(str.__str__(value), clean)
    if issubclass(kind, int):
        return _any_value(int.__int__(value), clean)
    if issubclass(kind, float):
        return _any_value(float.__float__(value), clean)
    if issubclass(kind, (bytes, bytearray)):
        return _any_value(bytes(value[:MAX_TEXT]).decode("utf-8", "backslashreplace"), clean)
    return _container(value, clean, depth, [MAX_NESTED] if budget is None else budget)


def _container(value: Any, clean: Clean | None, depth: int, budget: list[int]) -> bytes | None:
    """A list or a mapping; what is too deep, or too much, is left out."""
    kind = type(value)  # isinstance() would ask the object itself
    is_mapping = issubclass(kind, Mapping)
    if depth >= MAX_DEPTH or not (is_mapping or issubclass(kind, (list, tuple, set, frozenset))):
        return None
    if not is_mapping and len(value) == 2 and isinstance(value, (list, tuple)) and _rules.is_header(value[0]):
        value = (value[0], hide(value[1]))
    parts = []
    for item in islice(value.items() if is_mapping else value, MAX_ITEMS):
        budget[0] -= 1
        if budget[0] < 0:
            break
        if is_mapping:
            parts.append(attribute(b"\x0a", item[0], item[1], depth + 1, budget))
        else:
            inner = _any_value(item, clean, depth + 1, budget)
            if inner is not None:
                parts.append(_field(b"\x0a", inner))
    return _field(b"\x32" if is_mapping else b"\x2a", b"".join(parts))


def attribute(tag: bytes, key: str, value: Any, depth: int = 0, budget: list[int] | None = None) -> bytes:
    """A KeyValue as the field `tag`; nothing for a value that cannot be sent."""
    if type(key) is not str:
        key = str(key)
    known = _keys.get(key) or _known(key)
    kind = type(value)
    again = known.values if (kind is str and len(value) < _LONGEST_KEPT) or kind is int else None
    if again is not None:
        found = again.get(value)
        if found is not None:
            return tag + found
    clean = known.clean
    inner: bytes | None
    if kind is str and len(value) < _LONGEST_KEPT:  # as _any_value has it, with fewer calls
        encoded = text(value if clean is None else clean(value))
        size = len(encoded)
        inner = b"\x0a" + (_small[size] if size < 128 else varint(size)) + encoded
    else:
        inner = _any_value(value if clean is not hide else hide(value), clean, depth, budget)
        if inner is None:
            return b""
    content = known.encoded + varint(len(inner)) + inner
    size = len(content)
    content = (_small[size] if size < 128 else varint(size)) + content
    if again is not None:
        _keep(known, again, value, content)
    return tag + content


def _keep(known: _Key, again: dict[str | int, bytes], value: str | int, content: bytes) -> None:
    """Keep an attribute for when it comes again: most say one of a few things, and this saves most of the encoding."""
    global _kept  # noqa: PLW0603
    if len(again) < _MOST_VALUES:
        if _kept < _MOST_KEPT:  # about that many: threads may count at once
            _kept += 1
            again[value] = content
    else:
        known.values = None
        _kept -= len(again)


def _known(key: str) -> _Key:
    clean = _rules.of_key(key)
    encoded = text(key if clean is None else _default.text(key))
    known = _Key(b"\x0a" + varint(len(encoded)) + encoded + b"\x12", clean)
    if len(key) < 100 and len(_keys) < _MOST_KEYS:
        _keys[key] = known
    if clean is hide or key not in _keys:
        known.values = None
    return known


def attributes(tag: bytes, values: Mapping[str, Any]) -> bytes:
    """All attributes of a mapping as repeated fields `tag`."""
    parts = []
    for key, value in values.items():
        # As in attribute(), without a call for each of those that come again.
        kind = type(value)
        known = None
        if type(key) is str and ((kind is str and len(value) < _LONGEST_KEPT) or kind is int):
            known = _keys.get(key)
        again = known.values if known is not None else None
        found = again.get(value) if again is not None else None
        parts.append(attribute(tag, key, value) if found is None else tag + found)
    return b"".join(parts)


def _without(stamp: Mapping[str, str], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Attributes without those that a unit of work stamps its records with, which win: no key comes twice."""
    if not values or not stamp or stamp.keys().isdisjoint(values):
        return values
    return {key: value for key, value in values.items() if key not in stamp}


def _stamp_on_log(stamp: Stamp) -> bytes:
    """What a unit of work stamps its records with, as attributes of a log record: written once for all of them."""
    written = stamp.on_logs
    if written is None or written[0] != len(stamp):
        written = stamp.on_logs = len(stamp), attributes(b"\x32", stamp)
    return written[1]


def _stamp_on_span(stamp: Stamp) -> bytes:
    """The same as attributes of a span."""
    written = stamp.on_spans
    if written is None or written[0] != len(stamp):
        written = stamp.on_spans = len(stamp), attributes(b"\x4a", stamp)
    return written[1]


def _origin(logger: str, code: tuple[str, str, int | None] | None) -> bytes:
    """The attributes that say which logger has written a record, and where in the code."""
    found = _origins.get((logger, code))
    if found is None:
        values: dict[str, Any] = {"logger.name": logger} if logger else {}
        if code is not None:
            values["code.function.name"], values["code.file.path"], values["code.line.number"] = code
        found = attributes(b"\x32", values)
        if len(_origins) < _MOST_ORIGINS and len(found) < _LONGEST_ORIGIN:
            _origins[logger, code] = found
    return found


def resource(values: Mapping[str, Any]) -> bytes:
    """A Resource as field 1 of ResourceSpans and ResourceLogs."""
    return _field(b"\x0a", attributes(b"\x0a", values))


def scope(name: str, version: str) -> bytes:
    """An InstrumentationScope as field 1 of ScopeSpans and ScopeLogs."""
    return _field(b"\x0a", _field(b"\x0a", text(name)) + _field(b"\x12", text(version)))


def request(resource: bytes, scoped: Iterable[tuple[bytes, list[bytes]]]) -> bytes:
    """An Export{Trace,Logs,Metrics}ServiceRequest: the three have the same shape."""
    groups = b"".join([_field(b"\x12", scope + b"".join(records)) for scope, records in scoped])
    return _field(b"\x0a", resource + groups)


def span(span: Span) -> bytes:
    """A Span as field 2 of ScopeSpans."""
    stamp = span.unit.attributes
    parts = [
        b"\x0a\x10",
        span.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        span.span_id.to_bytes(8, "big"),
    ]
    if span.trace_state:
        parts.append(_field(b"\x1a", text(span.trace_state)))
    if span.parent_id:
        parts += (b"\x22\x08", span.parent_id.to_bytes(8, "big"))
    parts += (
        _field(b"\x2a", text(_clean(span.name))),
        b"\x30",
        _small[span.kind.value + 1],  # OpenTelemetry's Python counts from 0, the protocol from 1
        b"\x39",
        _fixed64(span.start_ns),
        b"\x41",
        _fixed64(max(span.end_ns, span.start_ns)),
        _stamp_on_span(stamp),
        attributes(b"\x4a", _without(stamp, span.attributes)),
    )
    for name, time_ns, values in span.events:
        event = b"\x09" + _fixed64(time_ns) + _field(b"\x12", text(_clean(name))) + attributes(b"\x1a", values)
        parts.append(_field(b"\x5a", event))
    for context, values in span.links:
        link = (
            b"\x0a\x10"
            + context.trace_id.to_bytes(16, "big")
            + b"\x12\x08"
            + context.span_id.to_bytes(8, "big")
            + attributes(b"\x22", values)
        )
        parts.append(_field(b"\x6a", link))
    if span.status:
        status = (_field(b"\x12", text(_clean(span.status_message))) if span.status_message else b"") + (
            b"\x18" + _small[span.status]
        )
        parts.append(_field(b"\x7a", status))
    parts += (b"\x85\x01", _fixed32(1 if span.sampled else 0))
    return _field(b"\x12", b"".join(parts))


def _severity(record: LogRecord) -> bytes:
    """The two fields of a record's severity; each text has one number."""
    name = record.severity_text
    found = _severities[name] = b"\x10" + _small[record.severity_number] + _field(b"\x1a", name.encode())
    return found


def log(record: LogRecord) -> bytes:
    """A LogRecord as field 2 of ScopeLogs."""
    said = record.body
    body = text(_rules.text(said) if type(said) is str and len(said) < _MOST_READ else _clean(said))
    size = len(body)
    if size < 126:
        head = b"\x2a" + _small[size + 2] + b"\x0a" + _small[size]
    else:
        length = varint(size)
        head = b"\x2a" + varint(1 + len(length) + size) + b"\x0a" + length
    content = (
        _log_head(0x09, record.time_ns, 0x59, record.observed_ns)
        + (_severities.get(record.severity_text) or _severity(record))
        + head
        + body
        + _origin(record.logger, record.code)
    )
    stamp = record.stamp
    if stamp is not None:
        content += _stamp_on_log(stamp)
    if record.attributes:
        content += attributes(b"\x32", record.attributes if stamp is None else _without(stamp, record.attributes))
    if record.trace_id:
        trace_id, span_id = record.trace_id.to_bytes(16, "big"), record.span_id.to_bytes(8, "big")
        content += _log_place(0x45, record.flags, b"\x4a\x10", trace_id, b"\x52\x08", span_id)
    return _field(b"\x12", content)


def metric(series: Series, bounds: tuple[float, ...], now_ns: int) -> bytes:
    """A Metric with its one data point as field 2 of ScopeMetrics."""
    times = b"\x11" + _fixed64(series.start_ns) + b"\x19" + _fixed64(max(now_ns, series.start_ns))
    if series.kind == "histogram":
        point = (
            times
            + b"\x21"
            + _fixed64(series.count)
            + b"\x29"
            + _double(series.value)
            + _field(b"\x32", b"".join(map(_fixed64, series.buckets)))
            + _field(b"\x3a", b"".join(map(_double, bounds)))
            + attributes(b"\x4a", series.attributes)
        )
        data = _field(b"\x4a", _field(b"\x0a", point) + b"\x10\x01")
    else:
        point = times + b"\x21" + _double(series.value) + attributes(b"\x3a", series.attributes)
        if series.kind == "gauge":
            data = _field(b"\x2a", _field(b"\x0a", point))
        elif series.kind == "counter":  # what was added since the last time, and only upwards
            data = _field(b"\x3a", _field(b"\x0a", point) + b"\x10\x01\x18\x01")
        else:  # the sum since the start
            data = _field(b"\x3a", _field(b"\x0a", point) + b"\x10\x02")
    return _field(b"\x12", _field(b"\x0a", text(_clean(series.name))) + data)


def answer(body: bytes) -> str:
    """What a receiver says in an Export*ServiceResponse about records that it rejected; empty if it took all."""
    try:
        partial = _fields(body).get(1)
        if not isinstance(partial, bytes):
            return ""
        fields = _fields(partial)
    except (IndexError, ValueError):
        return ""
    rejected, message = fields.get(1, 0), fields.get(2, b"")
    words = message.decode("utf-8", "replace") if isinstance(message, bytes) else ""
    return f"{rejected!r} rejected: {words}" if rejected or words else ""


def _fields(message: bytes) -> dict[int, int | bytes]:
    """The varint and length-delimited fields of a small message."""
    found: dict[int, int | bytes] = {}
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        value, position = _read_varint(message, position)
        if tag & 7 == 2:
            found[tag >> 3] = message[position : position + value]
            position += value
        elif tag & 7 == 0:
            found[tag >> 3] = value
        else:
            raise ValueError(tag)
    return found


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7
