"""What comes by OTLP/HTTP is there afterwards, once; what is no OTLP leaves nothing behind."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import secrets
import struct
import time

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from tests.support.local import PROTOBUF, Local, logs, traceback, traces

MIB = 1024 * 1024


def trace() -> str:
    return secrets.token_hex(16)


def span() -> str:
    return secrets.token_hex(8)


def counts(local: Local) -> dict[str, int]:
    state = local.api("state")
    return {name: state[name] for name in ("spans", "logs", "errors", "sessions")}


def test_a_span_is_stored_with_all_that_it_says(local):
    t, s, p = trace(), span(), span()
    session = "Session" + secrets.token_hex(4)
    values = {"highlight.session_id": session, "highlight.request_id": "Request1", "n": 7, "d": 1.5, "on": True}
    values |= {"raw": b"\x00\xff", "list": ["a", "b"], "nan": float("nan"), "nul": "a\0b"}
    given = {"trace": t, "span": s, "parent": p, "name": "GET /cart", "start": 1_700_000_000_123_456_789}
    given |= {"end": 1_700_000_001_123_456_789, "status": 2, "attributes": values, "events": [("retry", {"n": 2})]}

    answer = local.post("/v1/traces", traces(given))

    assert (answer.status, answer.header("content-type"), answer.body) == (200, PROTOBUF, b"")
    found = local.api(f"traces/{t}")
    (item,) = found.pop("items")
    resource = item.pop("resource_id")
    assert item == {
        "trace_id": t,
        "span_id": s,
        "parent_id": p,
        "name": "GET /cart",
        "kind": "server",
        "status": "error",
        "status_message": "",
        "service": "api",
        "session_id": session,
        "request_id": "Request1",
        "start": 1_700_000_000_123.457,
        "duration": 1000.0,
        "attributes": {
            "highlight.session_id": session,
            "highlight.request_id": "Request1",
            "n": 7,
            "d": 1.5,
            "on": True,
            "raw": "AP8=",
            "list": ["a", "b"],
            "nan": "nan",
            "nul": "a\0b",
        },
        "events": [{"name": "retry", "time": 1_700_000_000_123.458, "attributes": {"n": 2}}],
        "links": [],
    }
    assert found == {
        "trace_id": t,
        "name": "GET /cart",
        "service": "api",
        "session_id": session,
        "spans": 1,
        "failed": 1,
        "start": 1_700_000_000_123.457,
        "duration": 1000.0,
        "more_spans": False,
        "resources": {resource: {"service.name": "api"}},
        "errors": [],
        "logs": [],
        "more_logs": False,
        "requests": [],
    }
    known = local.api(f"sessions/{session}")
    assert (known["first"], known["last"]) == (1_700_000_000_123.457, 1_700_000_001_123.457)


def test_a_log_record_is_stored_with_all_that_it_says(local):
    t, s = trace(), span()
    given = {"body": "paid \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "severity": "CRITICAL"}
    given |= {"trace": t, "span": s, "time": 1_700_000_000_000_000_000}
    given |= {"attributes": {"logger.name": "shop", "highlight.session_id": "null", "amount": 3}}

    assert local.post("/v1/logs", logs(given, service="bank")).status == 200

    (item,) = local.api(f"logs?trace={t}")["items"]
    del item["id"]
    assert item == {
        "level": 21,
        "severity": "FATAL",
        "service": "bank",
        "logger": "shop",
        "body": "paid 😀",
        "session_id": None,
        "trace_id": t,
        "span_id": s,
        "request_id": None,
        "time": 1_700_000_000_000.0,
        "attributes": {"logger.name": "shop", "highlight.session_id": "null", "amount": 3},
    }


def test_exceptions_of_spans_and_of_log_records_are_errors(local):
    t, session = trace(), "Session" + secrets.token_hex(4)
    values = {"highlight.session_id": session}
    event = ("exception", traceback("shop.Broke", "no 17"))
    local.post("/v1/traces", traces({"trace": t, "span": span(), "attributes": values, "events": [event]}))
    record = {"body": "failed", "severity": "ERROR", "trace": t, "span": span()}
    local.post("/v1/logs", logs({**record, "attributes": {**values, **traceback("shop.Broke", "no 18")}}))
    local.post("/v1/logs", logs({**record, "attributes": traceback("shop.Broke", "no 19", function="refund")}))

    found = local.api(f"errors?session={session}")["items"]

    assert [(g["type"], g["file"], g["line"], g["function"], g["count"], g["sessions"]) for g in found] == [
        ("shop.Broke", "/srv/shop/views.py", 12, "checkout", 2, 1)
    ]
    occurrences = local.api(f"errors/{found[0]['id']}/occurrences")["items"]
    assert sorted((o["message"], o["source"]) for o in occurrences) == [("no 17", "span"), ("no 18", "log")]
    assert len(local.api(f"traces/{t}")["errors"]) == 3
    assert [log["body"] for log in local.api(f"logs?trace={t}")["items"]] == ["failed", "failed"]


def test_what_comes_again_is_not_stored_again(local):
    t, s, uid = trace(), span(), secrets.token_hex(8)
    event = ("exception", traceback("Twice", "told"))
    body = traces({"trace": t, "span": s, "events": [event], "status": 2})
    record = logs({"body": "told", "trace": t, "attributes": {"log.record.uid": uid, **traceback("Other", "told")}})
    before = counts(local)

    for _ in range(3):
        assert local.post("/v1/traces", body).status == 200
        assert local.post("/v1/logs", record).status == 200
    # In one request, twice.
    local.post("/v1/traces", body + body)

    after = counts(local)
    assert {name: after[name] - before[name] for name in after} == {"spans": 1, "logs": 1, "errors": 2, "sessions": 0}
    found = local.api(f"traces/{t}")
    assert (found["spans"], found["failed"], len(found["items"]), len(found["logs"])) == (1, 1, 1, 1)
    assert {group["type"]: group["count"] for group in local.api("errors?text=told")["items"]} == {
        "Twice": 1,
        "Other": 1,
    }


def test_json_is_read_as_otlp_has_it(local):
    t, s = trace(), span()
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "browser"}}]},
                "scopeSpans": [
                    {
                        "scope": {"name": "js"},
                        "spans": [
                            {
                                "traceId": t.upper(),
                                "spanId": s,
                                "parentSpanId": "",
                                "name": "click \ud800",
                                "kind": 3,
                                "startTimeUnixNano": "1700000000000000000",
                                "endTimeUnixNano": 1700000000500000000,
                                "attributes": [
                                    {"key": "int", "value": {"intValue": "9007199254740993"}},
                                    {"key": "number", "value": {"intValue": 3}},
                                    {"key": "inf", "value": {"doubleValue": "Infinity"}},
                                    {"key": "raw", "value": {"bytesValue": "AP8="}},
                                    {
                                        "key": "map",
                                        "value": {
                                            "kvlistValue": {"values": [{"key": "a", "value": {"boolValue": False}}]}
                                        },
                                    },
                                    {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {}]}}},
                                    {"key": "none", "value": None},
                                    {"key": "half", "value": {"stringValue": "\ud800"}},
                                ],
                                "events": [{"name": "e", "timeUnixNano": "1700000000100000000", "attributes": []}],
                                "links": [{"traceId": trace(), "spanId": span()}],
                                "status": {"code": 1},
                                "flags": 1,
                                "unknown": {},
                            }
                        ],
                    }
                ],
            }
        ]
    }

    answer = local.post("/v1/traces", json.dumps(body).encode(), "application/json; charset=utf-8")

    assert (answer.status, answer.header("content-type"), answer.body) == (200, "application/json", b"{}")
    (item,) = local.api(f"traces/{t}")["items"]
    assert (item["span_id"], item["name"], item["kind"], item["status"]) == (s, "click ?", "client", "ok")
    assert (item["start"], item["duration"]) == (1_700_000_000_000.0, 500.0)
    assert item["attributes"] == {
        "int": 9007199254740993,
        "number": 3,
        "inf": "inf",
        "raw": "AP8=",
        "map": {"a": False},
        "list": ["x", None],
        "none": None,
        "half": "\ud800",
        "otel.scope.name": "js",
    }
    assert (len(item["events"]), len(item["links"])) == (1, 1)


def test_a_log_of_the_browser_client_is_a_log_and_no_trace(local):
    t, session = trace(), "Session" + secrets.token_hex(4)
    event = ("log", {"log.severity": "warn", "log.message": "slow", "more": "x"})
    values = {"highlight.session_id": session}
    sent = traces({"trace": t, "span": span(), "name": "launchdarkly.js.log", "attributes": values, "events": [event]})

    for _ in range(2):
        local.post("/v1/traces", sent, service="browser")

    (item,) = local.api(f"logs?session={session}")["items"]
    assert (item["severity"], item["body"], item["attributes"]) == (
        "WARN",
        "slow",
        {"log.severity": "warn", "more": "x"},
    )
    assert local.request("GET", f"/api/traces/{t}").status == 404


def test_gzip_is_unpacked_and_metrics_are_taken(local):
    t = trace()
    body = gzip.compress(traces({"trace": t, "span": span()}))

    assert local.post("/v1/traces", body, Content_Encoding="gzip").status == 200
    assert local.api(f"traces/{t}")["spans"] == 1

    metrics = ExportMetricsServiceRequest()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="x").gauge.data_points.add(as_int=1)
    assert local.post("/v1/metrics", metrics.SerializeToString()).status == 200
    assert local.post("/v1/metrics", b"{}", "application/json").body == b"{}"


def test_a_span_that_is_none_is_rejected_alone(local):
    t = trace()
    good = {"trace": t, "span": span()}
    bad = [{"trace": "00" * 16, "span": span()}, {"trace": t, "span": "00" * 8}, {"trace": "ab", "span": span()}]
    huge = {"trace": trace(), "span": span(), "attributes": {"x": "y" * 5 * MIB}}

    answer = ExportTraceServiceResponse.FromString(local.post("/v1/traces", traces(*bad, good, huge)).body)

    assert answer.partial_success.rejected_spans == 4
    assert answer.partial_success.error_message == "a span whose ids are not 16 and 8 bytes, or zero"
    assert local.api(f"traces/{t}")["spans"] == 1

    body = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz", "spanId": "1"}]}]}]}
    answer = json.loads(local.post("/v1/traces", json.dumps(body).encode(), "application/json").body)
    assert answer["partialSuccess"]["rejectedSpans"] == "1"


def field(tag: int, content: bytes) -> bytes:
    """A message in a message, as the protocol's encoder would refuse to nest it."""
    length, size = b"", len(content)
    while size > 127:
        length += bytes((size & 127 | 128,))
        size >>= 7
    return bytes((tag,)) + length + bytes((size,)) + content


def nested(depth: int) -> bytes:
    value = field(0x0A, b"x")
    for _ in range(depth):
        value = field(0x2A, field(0x0A, value))
    one = field(0x0A, b"a" * 16) + field(0x12, b"b" * 8) + field(0x4A, field(0x0A, b"deep") + field(0x12, value))
    return field(0x0A, field(0x12, field(0x12, one)))


def json_spans(**fields: object) -> bytes:
    one = {"traceId": trace(), "spanId": span(), **fields}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}).encode()


JSON = "application/json"
BAD = {
    "garbage": ("/v1/traces", b"\xff\xfe garbage", PROTOBUF, {}, 400),
    "a text": ("/v1/logs", b"hello", PROTOBUF, {}, 400),
    "truncated": ("/v1/logs", logs({"body": "x" * 100})[:-20], PROTOBUF, {}, 400),
    "a varint without an end": ("/v1/traces", b"\x0a" + b"\xff" * 20, PROTOBUF, {}, 400),
    "not UTF-8": ("/v1/logs", logs({"body": "abcd"}).replace(b"abcd", b"\xff\xff\xff\xff"), PROTOBUF, {}, 400),
    "deep": ("/v1/traces", nested(200), PROTOBUF, {}, 400),
    "no JSON": ("/v1/traces", b"{", JSON, {}, 400),
    "JSON's NaN": ("/v1/traces", b'{"resourceSpans": NaN}', JSON, {}, 400),
    "an infinite number": ("/v1/traces", b'{"resourceSpans": [], "x": 1e999}', JSON, {}, 400),
    "a list": ("/v1/traces", b"[]", JSON, {}, 400),
    "deep JSON": ("/v1/traces", b"[" * 100_000 + b"]" * 100_000, JSON, {}, 400),
    "deep objects": ("/v1/traces", b'{"a":' * 500 + b"1" + b"}" * 500, JSON, {}, 400),
    "spans that are none": ("/v1/traces", b'{"resourceSpans": [{"scopeSpans": [{"spans": [1]}]}]}', JSON, {}, 400),
    "a name that is none": ("/v1/traces", json_spans(name=[1]), JSON, {}, 400),
    "a time that is none": ("/v1/traces", json_spans(startTimeUnixNano="yesterday"), JSON, {}, 400),
    "a long number": ("/v1/traces", json_spans(kind="9" * 10_000), JSON, {}, 400),
    "a large float": ("/v1/traces", json_spans(kind=1e300), JSON, {}, 400),
    "no bytes": (
        "/v1/traces",
        json_spans(attributes=[{"key": "a", "value": {"bytesValue": "%"}}]),
        JSON,
        {},
        400,
    ),
    "no gzip": ("/v1/traces", b"hello", PROTOBUF, {"Content_Encoding": "gzip"}, 400),
    "half of gzip": ("/v1/traces", gzip.compress(b"x" * 1000)[:-8], PROTOBUF, {"Content_Encoding": "gzip"}, 400),
    "gzip in pieces": ("/v1/traces", gzip.compress(b"") * 1000, PROTOBUF, {"Content_Encoding": "gzip"}, 400),
    "another encoding": ("/v1/traces", b"", PROTOBUF, {"Content_Encoding": "br"}, 415),
    "another type": ("/v1/traces", b"{}", "text/plain", {}, 415),
    "a bomb": ("/v1/traces", gzip.compress(b"\0" * 65 * MIB), PROTOBUF, {"Content_Encoding": "gzip"}, 413),
    "too much": ("/v1/logs", b"\0" * (64 * MIB + 1), PROTOBUF, {}, 413),
    "too many records": ("/v1/traces", field(0x0A, field(0x12, b"\x12\x00" * 100_001)), PROTOBUF, {}, 413),
    "too many events": (
        "/v1/traces",
        field(0x0A, field(0x12, field(0x12, b"\x5a\x00" * 1_000_001))),
        PROTOBUF,
        {},
        413,
    ),
    "too many attributes": (
        "/v1/logs",
        field(0x0A, field(0x12, field(0x12, b"\x32\x00" * 500_001) * 2)),
        PROTOBUF,
        {},
        413,
    ),
    "too many items": (
        "/v1/logs",
        field(0x0A, field(0x12, field(0x12, field(0x2A, field(0x2A, b"\x0a\x00" * 1_000_001))))),
        PROTOBUF,
        {},
        413,
    ),
    "too many resources": ("/v1/traces", b"\x0a\x00" * 100_001, PROTOBUF, {}, 413),
    "too many fields": ("/v1/traces", field(0x0A, b"\x20\x00" * 1_000_001), PROTOBUF, {}, 413),
    "too many scopes": ("/v1/traces", field(0x0A, b"\x12\x00" * 100_001), PROTOBUF, {}, 413),
    "too many values": ("/v1/traces", b"[" + b"[]," * 2_000_000 + b"1]", JSON, {}, 413),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_otlp_is_refused_in_one_line_and_leaves_nothing(local, name):
    path, body, content_type, headers, status = BAD[name]
    before = counts(local)

    answer = local.post(path, body, content_type, **headers)

    assert answer.status == status
    if status == 415:
        line = answer.text.rstrip("\n")
    elif content_type == JSON:
        line = json.loads(answer.body)["message"]
    else:
        assert answer.body[:1] == b"\x12"
        line = answer.body[2:].decode()
    assert line
    assert "\n" not in line
    assert len(line) < 100
    assert counts(local) == before


def test_a_good_request_beside_bad_ones_is_stored(local):
    t = trace()
    body = traces({"trace": t, "span": span()})
    bad = struct.pack("<Q", 2**63)

    for _ in range(20):
        assert local.post("/v1/traces", bad).status == 400
    assert local.post("/v1/traces", body).status == 200

    assert local.api(f"traces/{t}")["spans"] == 1


def test_times_that_no_clock_shows_are_made_plausible(local):
    t = trace()
    before = time.time() * 1000
    local.post("/v1/traces", traces({"trace": t, "span": span(), "start": 2**64 - 1, "end": 0}))
    local.post("/v1/logs", logs({"body": "when", "trace": t, "time": 0}))

    found = local.api(f"traces/{t}")

    assert before - 1 <= found["start"] <= time.time() * 1000
    assert found["duration"] == 0
    assert before - 1 <= found["logs"][0]["time"] <= time.time() * 1000


def damaged(body: bytes, chance: random.Random) -> bytes:
    """A body with a byte changed, a piece left out, or one put in twice, once or a few times."""
    found = bytearray(body)
    for _ in range(chance.choice((1, 1, 3))):
        start = chance.randrange(len(found))
        piece = found[start : start + chance.randrange(1, 20)]
        how = chance.randrange(3)
        if how == 0:
            found[start] = chance.randrange(256)
        elif how == 1:
            del found[start : start + len(piece)]
        else:
            found[start:start] = piece
    return bytes(found) or b"x"


def test_damaged_requests_are_taken_or_refused_and_break_nothing(local):
    chance = random.Random(7)
    event = ("exception", traceback("Broke", "x"))
    values = {"highlight.session_id": "DamagedSession", "a": ["b"], "c": 1.5}
    one = {"trace": "ab" * 16, "span": "cd" * 8, "attributes": values, "events": [event]}
    told = {"traceId": "ef" * 16, "spanId": "01" * 8, "startTimeUnixNano": "17", "kind": 2, "status": {"code": 2}}
    told["attributes"] = [{"key": "x", "value": {"arrayValue": {"values": [{"intValue": "3"}]}}}]
    push = {"session_secure_id": "Damaged", "payload_id": "1", "events": {"events": [{"type": 2, "timestamp": 5.5}]}}
    push |= {"messages": '{"messages":[{"value":["x"]}]}', "resources": '{"resources":[{"startTimeAbs":7}]}'}
    push |= {"errors": [{"event": "x", "timestamp": "2026-01-01T00:00:00Z", "stackTrace": [{"fileName": "a"}]}]}
    asked = json.dumps({"operationName": "PushPayload", "variables": push}).encode()
    cases = [
        ("/v1/traces", traces(one), PROTOBUF),
        ("/v1/logs", logs({"body": "x", "trace": "ab" * 16, "attributes": values}), PROTOBUF),
        ("/v1/traces", json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [told]}]}]}).encode(), JSON),
        ("/public", asked, JSON),
    ]
    connection = http.client.HTTPConnection(local.host, local.port, timeout=60)
    statuses = set()
    for number in range(800):
        path, body, content_type = cases[number % 4]
        wrong = damaged(body, chance)
        connection.request("POST", path, wrong, {"Content-Type": content_type})
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 400), (answer.status, wrong, local.output)
        statuses.add(answer.status)
    connection.close()

    assert statuses == {200, 400}
    for path in ("errors", "sessions", "traces", "logs", "services", f"traces/{'ab' * 16}", "sessions/Damaged"):
        local.api(path)


def test_an_empty_export_is_taken(local):
    assert local.post("/v1/traces", b"").status == 200
    assert ExportLogsServiceResponse.FromString(local.post("/v1/logs", b"").body) == ExportLogsServiceResponse()
