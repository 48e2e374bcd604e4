"""The agents' protocols, as far as it takes to content an agent and to count what it tells."""

from __future__ import annotations

import gzip
import json
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DATADOG_ENDPOINTS = (
    "/v0.4/traces",
    "/v0.5/traces",
    "/debugger/v1/input",
    "/debugger/v2/input",
    "/debugger/v1/diagnostics",
)
DATADOG_INFO = json.dumps({"version": "7.70.0", "endpoints": DATADOG_ENDPOINTS}).encode()
JSON_ANSWERS = ("/api/", "/v0.4/", "/v0.5/", "/debugger/", "/newrelic/")


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
    """How many requests, calls, messages, logs and errors an export tells of."""
    body = gzip.decompress(export.body) if export.encoding == "gzip" else export.body
    if export.path == "/v1/traces":
        return otlp_spans(body)
    if export.path == "/v1/logs":
        return otlp_logs(body)
    if export.path.startswith("/v0."):
        return datadog_packed(body) if export.path.startswith("/v0.5") else datadog(body)
    if export.path.startswith("/newrelic/"):
        return newrelic(export.path.rpartition("/")[2], body)
    return sentry(body) if export.path.endswith("/envelope/") else Counter()


SPAN_KINDS = {2: "requests", 3: "calls", 4: "messages", 5: "messages"}


def otlp_spans(body: bytes) -> Counter[str]:
    found: Counter[str] = Counter()
    for span in otlp(body):
        kind = next(fields(span, 6), 0)
        name = next(fields(span, 5), b"")
        if kind in SPAN_KINDS:
            found[SPAN_KINDS[kind]] += 1
        elif name.startswith(b"GET ") and b" http " not in name:  # highlight-io's requests are of no kind
            found["requests"] += 1
        found["errors"] += span.count(b"exception.stacktrace")
    return found


def otlp_logs(body: bytes) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in otlp(body):
        found["logs"] += 1
        found["errors"] += record.count(b"exception.stacktrace")
    return found


def otlp(body: bytes) -> Iterator[bytes]:
    """Resource, then scope, then record, in fields 1, 2 and 2."""
    return (record for one in fields(body, 1) for scoped in fields(one, 2) for record in fields(scoped, 2))


def fields(message: bytes, wanted: int) -> Iterator[Any]:
    """The values of a field of a Protocol Buffers message: bytes, or numbers."""
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        form = tag & 7
        value: bytes | int
        if form == 0:
            value, position = varint(message, position)
        else:
            length, position = varint(message, position) if form == 2 else ({1: 8, 5: 4}[form], position)
            value, position = message[position : position + length], position + length
        if tag >> 3 == wanted:
            yield value


def varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7


def datadog(body: bytes) -> Counter[str]:
    found: Counter[str] = Counter()
    for span in (span for trace in unpack(body, 0)[0] for span in trace):
        found.update(datadog_span(span[b"name"], span.get(b"type", b""), span.get(b"error", 0)))
    return found


def datadog_packed(body: bytes) -> Counter[str]:
    """A table of texts, then spans as lists: the second item is the name, the ninth the error, the last the type."""
    found: Counter[str] = Counter()
    texts, traces = unpack(body, 0)[0]
    for span in (span for trace in traces for span in trace):
        found.update(datadog_span(texts[span[1]], texts[span[11]], span[8]))
    return found


def datadog_span(name: bytes, kind: bytes, error: int) -> Counter[str]:
    """A failing request has many spans with the error, and is one."""
    if kind == b"web" and name.endswith(b".request"):
        return Counter(requests=1, errors=error)
    if name in (b"requests.request", b"http.request"):
        return Counter(calls=1)
    return Counter(messages=1) if name.startswith(b"kafka.") else Counter()


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
            operations = Counter(span["op"] for span in json.loads(payload)["spans"])
            found.update(requests=1, calls=operations["http.client"], messages=operations["queue.publish"])
        elif header["type"] == "log":
            found["logs"] += header["item_count"]
        elif header["type"] == "event":
            found["errors"] += 1
    return found


def newrelic(method: str, body: bytes) -> Counter[str]:
    """Each method has its place for the events; a transaction is a request, or the reading of a message."""
    sent = json.loads(body) if body else []
    if method == "analytic_event_data":
        web = sum(event[0]["name"].startswith("WebTransaction/") for event in sent[2])
        return Counter(requests=web, messages=len(sent[2]) - web)
    if method == "span_event_data":
        calls = sum(event[0]["category"] == "http" for event in sent[2])
        return Counter(calls=calls, messages=sum("/Produce/" in event[0]["name"] for event in sent[2]))
    if method == "error_event_data":
        return Counter(errors=len(sent[2]))
    if method == "log_event_data":
        logs = sent[0]["logs"]
        return Counter(logs=len(logs), errors=sum("error.class" in one.get("attributes", {}) for one in logs))
    return Counter()
