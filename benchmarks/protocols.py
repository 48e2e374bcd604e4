"""The agents' protocols, as far as it takes to content an agent and to count its spans, logs and errors."""

from __future__ import annotations

import gzip
import json
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DATADOG_INFO = json.dumps({"version": "7.70.0", "endpoints": ["/v0.4/traces", "/v0.5/traces"]}).encode()
JSON_ANSWERS = ("/api/", "/v0.4/", "/v0.5/", "/newrelic/")


class Export(NamedTuple):
    """What an agent sent at once."""

    path: str
    encoding: str
    body: bytes


def answer(path: str) -> bytes:
    """What the service answers to an agent; what another answers to a call of the program."""
    if path == "/info":
        return DATADOG_INFO
    if path.startswith("/v1/"):
        return b""
    return b"{}" if path.startswith(JSON_ANSWERS) else b"ok"


def records(export: Export) -> Counter[str]:
    """How many spans, logs and errors are in an export."""
    body = gzip.decompress(export.body) if export.encoding == "gzip" else export.body
    if export.path.startswith("/v1/"):
        return otlp(
            "spans" if export.path == "/v1/traces" else "logs" if export.path == "/v1/logs" else "metrics", body
        )
    if export.path.startswith("/v0."):
        return datadog(body, packed=export.path.startswith("/v0.5"))
    if export.path.startswith("/newrelic/"):
        return newrelic(export.path.rpartition("/")[2], body)
    return sentry(body) if export.path.endswith("/envelope/") else Counter()


def otlp(kind: str, body: bytes) -> Counter[str]:
    """Resource, then scope, then record, in fields 1, 2 and 2; an error is an event of a span, or a log record."""
    found: Counter[str] = Counter()
    for record in (record for one in fields(body, 1) for scoped in fields(one, 2) for record in fields(scoped, 2)):
        found[kind] += 1
        found["errors"] += record.count(b"exception.stacktrace")
    return found


def fields(message: bytes, wanted: int) -> Iterator[bytes]:
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        if tag & 7 != 2:
            raise ValueError(tag)
        length, position = varint(message, position)
        if tag >> 3 == wanted:
            yield message[position : position + length]
        position += length


def varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7


def datadog(body: bytes, *, packed: bool) -> Counter[str]:
    """Lists of spans; packed, a span is a list whose ninth item says whether it failed, after a table of its texts."""
    found: Counter[str] = Counter()
    decoded = unpack(body, 0)[0]
    for trace in decoded[1] if packed else decoded:
        for span in trace:
            found["spans"] += 1
            found["errors"] += span[8] if packed else span.get(b"error", 0)
    return found


def unpack(data: bytes, at: int) -> tuple[Any, int]:
    """One MessagePack value, and where the next one begins."""
    first, at = data[at], at + 1
    if first < 0x80:
        return first, at
    if first < 0x90:
        return pairs(data, at, first & 15)
    if first < 0xA0:
        return items(data, at, first & 15)
    if first < 0xC0:
        return text(data, at, first & 31)
    if first >= 0xE0:
        return first - 256, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first in NUMBERS:
        form = NUMBERS[first]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    size = SIZES[first]
    length, at = int.from_bytes(data[at : at + size], "big"), at + size
    if first in (0xDC, 0xDD):
        return items(data, at, length)
    if first in (0xDE, 0xDF):
        return pairs(data, at, length)
    return text(data, at, length)


NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def items(data: bytes, at: int, length: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(length):
        item, at = unpack(data, at)
        found.append(item)
    return found, at


def pairs(data: bytes, at: int, length: int) -> tuple[dict[Any, Any], int]:
    flat, at = items(data, at, 2 * length)
    return dict(zip(flat[::2], flat[1::2], strict=True)), at


def text(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    return data[at : at + length], at + length


def sentry(body: bytes) -> Counter[str]:
    """Lines of JSON: the envelope's, then for each item its header and its payload."""
    found: Counter[str] = Counter()
    at = body.find(b"\n") + 1
    while at < len(body):
        end = body.find(b"\n", at)
        header = json.loads(body[at:end])
        length = header.get("length", len(body[end + 1 :].partition(b"\n")[0]))
        payload, at = body[end + 1 : end + 1 + length], end + 1 + length + 1
        if header["type"] == "transaction":
            found["spans"] += 1 + len(json.loads(payload).get("spans", ()))
        elif header["type"] == "log":
            found["logs"] += header["item_count"]
        elif header["type"] == "event":
            found["errors"] += 1
    return found


def newrelic(method: str, body: bytes) -> Counter[str]:
    """Each method has its place for the events; those of transactions are counted where spans are sampled away."""
    sent = json.loads(body) if body else []
    if method in ("span_event_data", "analytic_event_data"):
        return Counter(spans=len(sent[2]))
    if method == "error_event_data":
        return Counter(errors=len(sent[2]))
    if method == "log_event_data":
        logs = sent[0]["logs"]
        return Counter(logs=len(logs), errors=sum("error.class" in one.get("attributes", {}) for one in logs))
    return Counter()
