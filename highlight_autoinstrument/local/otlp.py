"""OTLP/HTTP: an export as protobuf or JSON into rows, and the answer to it.

A record that cannot be one (ids that are no ids, more than MOST_BYTES_OF_ONE) is rejected alone, which the answer
says; a request that is not valid is refused whole.
"""

from __future__ import annotations

import base64
import binascii
import string
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from . import wire
from .bodies import from_json, to_json
from .records import Sender, bytes_as_value, merged
from .refusal import Refusal
from .rows import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
SIGNALS = {"traces": "Spans", "logs": "LogRecords", "metrics": "DataPoints"}

MOST_RECORDS = 100_000  # of one request, and as many resources and scopes
MOST_PARTS = 1_000_000  # attributes, events, links and items of lists in one request: a part may be two bytes
MOST_BYTES_OF_ONE = 4 * 1024 * 1024  # of one record: what is built of it takes many times as much


class Decoded(NamedTuple):
    """What a request brought."""

    batch: Batch
    rejected: int  # records
    reason: str  # why


def decode(signal: str, content_type: str, body: bytes) -> Decoded:
    """The rows of an export; of metrics none, as nothing shows them."""
    batch = Batch(size=len(body))
    count = _Count()
    if content_type == PROTOBUF:
        _from_protobuf(signal, body, batch, count)
    else:
        _from_json(signal, from_json(body), batch, count)
    return Decoded(batch, count.rejected, count.reason)


def answer(signal: str, content_type: str, rejected: int = 0, reason: str = "") -> bytes:
    """An Export*ServiceResponse."""
    if content_type == JSON:
        if not rejected:
            return b"{}"
        told = {f"rejected{SIGNALS[signal]}": str(rejected), "errorMessage": reason}
        return to_json({"partialSuccess": told}).encode()
    if not rejected:
        return b""
    partial = b"\x08" + _varint(rejected) + _field(b"\x12", reason.encode())
    return _field(b"\x0a", partial)


def refusal(content_type: str, line: str) -> bytes:
    """A google.rpc.Status."""
    return to_json({"message": line}).encode() if content_type == JSON else _field(b"\x12", line.encode())


class _Count:
    """The records of a request, and how many of them were rejected."""

    def __init__(self) -> None:
        self.records = self.groups = self.parts = self.rejected = 0
        self.reason = ""

    def one(self) -> None:
        self.records += 1
        if self.records > MOST_RECORDS:
            raise Refusal(413, f"more than {MOST_RECORDS} records in one request")

    def group(self) -> None:
        self.groups += 1
        if self.groups > MOST_RECORDS:
            raise Refusal(413, f"more than {MOST_RECORDS} resources and scopes in one request")

    def some(self, parts: int) -> None:
        self.parts += parts
        if self.parts > MOST_PARTS:
            raise Refusal(413, f"more than {MOST_PARTS} attributes and events in one request")

    def reject(self, reason: str) -> None:
        self.rejected += 1
        self.reason = self.reason or reason


# Protobuf. The three requests have one shape: 1 resource {1 resource, 2 scope {1 scope, 2 record}}.


def _from_protobuf(signal: str, body: bytes, batch: Batch, count: _Count) -> None:
    take: Callable[[Sender, bytes, dict[str, Any], _Count], bool] = _PROTOBUF[signal]
    try:
        for start, end in wire.messages(body, 1):
            count.group()
            resource = Resource()
            for a, b in wire.messages(body, 1, start, end):
                resource.MergeFromString(_small(body, a, b))
            sender = Sender(batch, _attributes(resource.attributes, count))
            for a, b in wire.messages(body, 2, start, end):
                count.group()
                scope = InstrumentationScope()
                for c, d in wire.messages(body, 1, a, b):
                    scope.MergeFromString(_small(body, c, d))
                named = {"otel.scope.name": scope.name} if scope.name else {}
                for c, d in wire.messages(body, 2, a, b):
                    count.one()
                    if d - c > MOST_BYTES_OF_ONE:
                        count.reject(f"a record of more than {MOST_BYTES_OF_ONE // 1024 // 1024} MiB")
                    elif not take(sender, body[c:d], named, count):
                        count.reject("a span whose ids are not 16 and 8 bytes, or zero")
    except (DecodeError, RecursionError):
        raise Refusal(400, "not valid protobuf") from None


def _small(body: bytes, start: int, end: int) -> bytes:
    if end - start > MOST_BYTES_OF_ONE:
        raise Refusal(413, f"a resource of more than {MOST_BYTES_OF_ONE // 1024 // 1024} MiB")
    return body[start:end]


def _span(sender: Sender, data: bytes, scope: dict[str, Any], count: _Count) -> bool:
    span = Span.FromString(data)
    count.some(len(span.events) + len(span.links))
    return sender.span(
        (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()),
        span.name,
        span.kind,
        (span.start_time_unix_nano, span.end_time_unix_nano),
        {**_attributes(span.attributes, count), **scope},
        [(event.time_unix_nano, event.name, _attributes(event.attributes, count)) for event in span.events],
        [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": _attributes(link.attributes, count),
            }
            for link in span.links
        ],
        (span.status.code, span.status.message) if span.HasField("status") else (0, ""),
    )


def _log(sender: Sender, data: bytes, scope: dict[str, Any], count: _Count) -> bool:
    log = LogRecord.FromString(data)
    return sender.log(
        (log.trace_id.hex(), log.span_id.hex()),
        (log.time_unix_nano, log.observed_time_unix_nano),
        (log.severity_text, log.severity_number),
        _value(log.body, count),
        {**_attributes(log.attributes, count), **scope},
    )


def _metric(_: Sender, data: bytes, __: dict[str, Any], ___: _Count) -> bool:
    Metric.FromString(data)
    return True


_PROTOBUF = {"traces": _span, "logs": _log, "metrics": _metric}


def _attributes(pairs: Collection[KeyValue], count: _Count) -> dict[str, Any]:
    count.some(len(pairs))
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        kind = value.WhichOneof("value")
        found.setdefault(pair.key, value.string_value if kind == "string_value" else _value(value, count))
    return found


def _value(value: AnyValue, count: _Count) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        count.some(len(found.values))
        return [_value(item, count) for item in found.values]
    if kind == "kvlist_value":
        return _attributes(found.values, count)
    if kind == "bytes_value":
        return bytes_as_value(found)
    return _finite(found) if kind == "double_value" else found


def _finite(number: float) -> float | str:
    """JSON has no word for the others."""
    return number if number - number == 0 else str(number)


# JSON: the same with names; ids are hex, enums numbers, and 64-bit numbers texts as well as numbers.

_NAMES = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
}


def _from_json(signal: str, body: Any, batch: Batch, count: _Count) -> None:
    groups, scopes, found = _NAMES[signal]
    take: Callable[[Sender, dict[str, Any], dict[str, Any]], bool] = _JSON[signal]
    for group in _objects(_object(body), groups):
        sender = Sender(batch, _json_attributes(_object(group.get("resource"))))
        for scoped in _objects(group, scopes):
            name = _string(_object(scoped.get("scope")), "name")
            for record in _objects(scoped, found):
                count.one()
                if not take(sender, record, {"otel.scope.name": name} if name else {}):
                    count.reject("a span whose ids are not 16 and 8 bytes in hex, or zero")


def _json_span(sender: Sender, span: dict[str, Any], scope: dict[str, Any]) -> bool:
    status = _object(span.get("status"))
    return sender.span(
        (_id(span, "traceId"), _id(span, "spanId"), _id(span, "parentSpanId")),
        _string(span, "name"),
        _integer(span.get("kind")),
        (_integer(span.get("startTimeUnixNano")), _integer(span.get("endTimeUnixNano"))),
        {**_json_attributes(span), **scope},
        [
            (_integer(event.get("timeUnixNano")), _string(event, "name"), _json_attributes(event))
            for event in _objects(span, "events")
        ],
        [
            {"trace_id": _id(link, "traceId"), "span_id": _id(link, "spanId"), "attributes": _json_attributes(link)}
            for link in _objects(span, "links")
        ],
        (_integer(status.get("code")), _string(status, "message")),
    )


def _json_log(sender: Sender, log: dict[str, Any], scope: dict[str, Any]) -> bool:
    return sender.log(
        (_id(log, "traceId"), _id(log, "spanId")),
        (_integer(log.get("timeUnixNano")), _integer(log.get("observedTimeUnixNano"))),
        (_string(log, "severityText"), _integer(log.get("severityNumber"))),
        _json_value(_object(log.get("body"))),
        {**_json_attributes(log), **scope},
    )


def _json_metric(_: Sender, metric: dict[str, Any], __: dict[str, Any]) -> bool:
    _string(metric, "name")
    return True


_JSON = {"traces": _json_span, "logs": _json_log, "metrics": _json_metric}


def _json_attributes(holder: dict[str, Any], name: str = "attributes") -> dict[str, Any]:
    return merged((_string(pair, "key"), _json_value(_object(pair.get("value")))) for pair in _objects(holder, name))


def _json_value(value: dict[str, Any]) -> Any:
    for kind, found in value.items():
        if found is None:
            continue
        if kind == "stringValue":
            return _string(value, kind)
        if kind == "intValue":
            return _integer(found)
        if kind == "doubleValue":
            return _double(found)
        if kind == "boolValue":
            return _checked(isinstance(found, bool), found)
        if kind == "bytesValue":
            return _base64(_string(value, kind))
        if kind == "arrayValue":
            return [_json_value(_object(item)) for item in _list(_object(found), "values")]
        if kind == "kvlistValue":
            return _json_attributes(_object(found), "values")
    return None


def _double(found: Any) -> float | str:
    if isinstance(found, str):
        _checked(len(found) < 64, found)
        try:
            found = float(found)
        except ValueError:
            raise _wrong() from None
    _checked(isinstance(found, (int, float)) and not isinstance(found, bool), found)
    try:
        return _finite(float(found))
    except OverflowError:
        raise _wrong() from None


def _base64(found: str) -> str:
    try:
        return bytes_as_value(base64.b64decode(found, validate=True))
    except (binascii.Error, ValueError):
        raise _wrong() from None


def _integer(found: Any) -> int:
    if found is None:
        return 0
    if isinstance(found, str):
        digits = found.removeprefix("-")
        _checked(0 < len(digits) <= 20 and not set(digits) - set(string.digits), found)
        return int(found)
    if isinstance(found, float):  # 1e18, as JavaScript may write it
        _checked(found.is_integer() and abs(found) < 1 << 64, found)
        return int(found)
    _checked(isinstance(found, int) and not isinstance(found, bool) and abs(found) < 1 << 64, found)
    return int(found)


def _id(holder: dict[str, Any], name: str) -> str:
    return _string(holder, name).lower()


def _string(holder: dict[str, Any], name: str) -> str:
    found = holder.get(name)
    return "" if found is None else str(_checked(isinstance(found, str), found))


def _object(found: Any) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _wrong()
    return found


def _list(holder: dict[str, Any], name: str) -> list[Any]:
    found = holder.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _wrong()
    return found


def _objects(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [_object(item) for item in _list(holder, name)]


def _checked(holds: bool, found: Any) -> Any:
    if not holds:
        raise _wrong()
    return found


def _wrong() -> Refusal:
    return Refusal(400, "JSON that is no OTLP request")


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
