"""Our own OTLP encoder against the classes that opentelemetry-proto generates."""

from __future__ import annotations

import enum
import json
import math
import pickle
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

from highlight_autoinstrument import otlp, recording
from highlight_autoinstrument.context import HighlightRequest, Unit
from highlight_autoinstrument.logs import LogRecord
from highlight_autoinstrument.recording import Span
from highlight_autoinstrument.redaction import Rules
from tests.support.records import decode_logs, decode_traces

UNIT = Unit(HighlightRequest("session", "request"), "trace")
STAMP = {"highlight.session_id": "session", "highlight.request_id": "request", "highlight.trace_id": "trace"}


class Word(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


class Number(enum.IntEnum):
    SEVEN = 7


class Opaque:
    def items(self):
        raise AssertionError("nobody asked")


def new_span(attributes=None, unit=UNIT, **more):
    return Span("GET /x", SpanKind.SERVER, unit, dict(attributes or {}), more.pop("parent", None), **more)


def request(*records):
    resource = otlp.resource({"service.name": "shop"})
    return otlp.request(resource, [(otlp.scope("scope", "1.0"), list(records))])


def sent_span(span):
    (decoded,) = decode_traces(request(otlp.span(span)))
    return decoded


def sent_attributes(attributes):
    decoded = sent_span(new_span(attributes)).attributes
    assert {key: decoded.pop(key) for key in STAMP} == STAMP
    return decoded


def sent_log(record):
    (decoded,) = decode_logs(request(otlp.log(record)))
    return decoded


@pytest.mark.parametrize(
    ("given_value", "sent"),
    [
        ("text", "text"),
        ("", ""),
        ("\x00 \u00fc \U0001f600", "\x00 \u00fc \U0001f600"),
        ("a \udcff b", "a \\udcff b"),
        (Word("word"), "word"),
        (True, "true"),
        (False, "false"),
        (0, 0),
        (-1, -1),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, str(2**63)),
        (-(2**70), str(-(2**70))),
        (Number.SEVEN, 7),
        (1.5, 1.5),
        (-math.inf, -math.inf),
        (b"bytes", "bytes"),
        (b"\xff\x00", "\\xff\x00"),
        (bytearray(b"abc"), "abc"),
        ([], []),
        ([1, "two", True, None, 2.5], [1, "two", "true", 2.5]),
        ((1, (2, [3])), [1, [2, [3]]]),
        (frozenset({4}), [4]),
        ({}, {}),
        ({"a": {"b": [1, {"c": "d"}]}, "none": None}, {"a": {"b": [1, {"c": "d"}]}}),
        ({1: "int key"}, {"1": "int key"}),
        (list(range(500)), list(range(100))),
        ("x" * 1_000_000, "x" * 65_536),
        ("\u20ac" * 1_000_000, "\u20ac" * 21_845),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_each_value_becomes(given_value, sent):
    assert sent_attributes({"key": given_value}) == {"key": sent}


def test_not_a_number_stays_one():
    assert math.isnan(sent_attributes({"key": math.nan})["key"])


@pytest.mark.parametrize("value", [None, Opaque(), object(), 1 << 100_000, len], ids=lambda value: type(value).__name__)
def test_what_cannot_be_sent_is_left_out(value):
    assert sent_attributes({"a": 1, "key": value, "b": [value]}) == {"a": 1, "b": []}


def test_a_container_in_itself_ends():
    endless: list[object] = []
    endless += [endless] * 100

    def depth(value):
        return 1 + max(map(depth, value), default=0)

    assert depth(sent_attributes({"key": endless})["key"]) <= otlp.MAX_DEPTH
    assert len(otlp.span(new_span({"key": endless}))) < 10_000


def test_the_keys_of_a_unit_come_once_and_are_the_units():
    assert sent_attributes({"highlight.session_id": "another", "own": 1}) == {"own": 1}


def test_a_span_with_all_it_can_have():
    unit = Unit(HighlightRequest("session", "request"), "trace")
    span = new_span({"own": 1}, unit, parent=(0xABC, 0xDEF, 1), trace_state="vendor=1")
    span.add_event("happened", {"what": "it"}, 1_700_000_000_000_000_123)
    span.add_link(SpanContext(1, 2, True, TraceFlags(1)), {"why": "so"})
    span.set_status(StatusCode.ERROR, "broken")
    span.end()

    decoded = sent_span(span)
    assert (decoded.name, decoded.kind, decoded.scope, decoded.resource) == (
        "GET /x",
        "SERVER",
        "scope",
        {"service.name": "shop"},
    )
    assert (decoded.trace_id, decoded.parent_id) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert decoded.span_id == f"{span.span_id:016x}"
    assert (decoded.start_ns, decoded.end_ns) == (span.start_ns, span.end_ns)
    assert decoded.attributes == {"own": 1, **STAMP}
    assert [(event.name, event.attributes, event.time_ns) for event in decoded.events] == [
        ("happened", {"what": "it"}, 1_700_000_000_000_000_123)
    ]
    assert decoded.links == [{"trace_id": f"{1:032x}", "span_id": f"{2:016x}", "attributes": {"why": "so"}}]
    assert (decoded.status, decoded.status_message, decoded.trace_state) == ("ERROR", "broken", "vendor=1")


def test_the_kinds_and_the_flags():
    message = ExportTraceServiceRequest()
    spans = [Span(kind.name, kind, UNIT, {}, None) for kind in SpanKind]
    message.ParseFromString(request(*map(otlp.span, spans)))
    sent = message.resource_spans[0].scope_spans[0].spans
    assert [WireSpan.SpanKind.Name(span.kind) for span in sent] == [f"SPAN_KIND_{kind.name}" for kind in SpanKind]
    assert {span.flags for span in sent} == {1}


def test_a_log_record_with_all_it_can_have():
    code = ("order", "/srv/shop.py", 12)
    record = LogRecord(50, "broken", {"own": [1]}, time_ns=1_700_000_000_000_000_001, logger="shop", code=code)
    record.place(STAMP, (0xABC, 0xDEF, 1))
    decoded = sent_log(record)
    assert (decoded.body, decoded.severity_text, decoded.severity_number) == ("broken", "FATAL", 21)
    assert (decoded.trace_id, decoded.span_id) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    origin = {"logger.name": "shop", "code.function.name": "order", "code.file.path": "/srv/shop.py"}
    assert decoded.attributes == {"own": [1], **origin, "code.line.number": 12, **STAMP}
    assert (decoded.time_ns, decoded.observed_ns) == (1_700_000_000_000_000_001, record.observed_ns)


def test_a_log_record_outside_a_unit_has_no_ids():
    decoded = sent_log(LogRecord(20, "x", {}, time_ns=0, logger=""))
    assert (decoded.trace_id, decoded.span_id, decoded.attributes) == ("", "", {})


def test_ids_that_a_unit_of_work_gets_late_are_on_all_that_comes_after():
    unit = Unit(None, "its own trace")

    def recorded():
        record = LogRecord(20, "x", {}, time_ns=0)
        record.place(unit.attributes, (1, 2, 1))
        return sent_log(record).attributes, sent_span(new_span(unit=unit)).attributes

    assert recorded() == ({"highlight.trace_id": "its own trace"},) * 2
    unit.take(HighlightRequest("session", "request"), "trace")
    assert recorded() == (STAMP, STAMP)


def test_a_stamp_is_a_plain_dict_where_this_package_is_not():
    sent_span(new_span())
    pickled = pickle.dumps(UNIT.attributes)
    assert b"highlight_autoinstrument" not in pickled
    assert pickle.loads(pickled) == STAMP


def test_what_a_receiver_says_of_records_that_it_rejected():
    partial = ExportTracePartialSuccess(rejected_spans=300, error_message="too old \u00fc")
    assert otlp.answer(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) == (
        "300 rejected: too old \u00fc"
    )
    assert otlp.answer(ExportLogsServiceResponse().SerializeToString()) == ""


@given(st.binary(max_size=200))
def test_any_answer_is_read_without_harm(body):
    assert isinstance(otlp.answer(body), str)


def holds_no_secret(value):
    """What is taken out of texts is not what is asked here."""
    text = expected(value)
    return Rules().text(text) == text and not Rules().is_header(text) and not Rules().is_secret(f"x{text}")


TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=20).filter(holds_no_secret)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=20).filter(holds_no_secret),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def expected(value, depth=0):
    """The documented changes: booleans, bytes and long integers as text, surrogates escaped, nothing for None."""
    if isinstance(value, (bool, type(None))):
        return None if value is None else str(value).lower()
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, dict)) and depth >= otlp.MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [sent for item in value if (sent := expected(item, depth + 1)) is not None]
    if isinstance(value, dict):
        pairs = [(expected(key), expected(item, depth + 1)) for key, item in value.items()]
        return {key: item for key, item in pairs if item is not None}
    return value


def has_one_key_for_each(value):
    """Surrogates that are escaped may become a key that is there already: not what is asked here; nor are secrets."""
    if isinstance(value, dict):
        if any(Rules().is_secret(key) for key in value):
            return False
        return len({expected(key) for key in value}) == len(value) and all(map(has_one_key_for_each, value.values()))
    return all(map(has_one_key_for_each, value)) if isinstance(value, list) else True


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=6).filter(has_one_key_for_each), TEXTS)
def test_any_attributes_come_back_as_documented(attributes, text):
    record = LogRecord(20, text, attributes, time_ns=1, logger="")
    decoded = sent_log(record)
    assert repr(decoded.attributes) == repr(expected(attributes, -1))  # repr: not a number is not itself
    assert decoded.body == expected(record.body)
    span = new_span({f"x{key}": value for key, value in attributes.items()})
    span.update_name(text)
    assert sent_span(span).name == expected(text)


def test_a_clock_set_back_makes_no_negative_duration(monkeypatch):
    wall = iter([2_000_000_000_000_000_000, 1_000_000_000_000_000_000])
    monkeypatch.setattr(recording, "time_ns", lambda: next(wall))
    span = new_span()
    span.add_event("one")
    span.add_event("two")
    span.end()
    times = [span.start_ns, *(time_ns for _, time_ns, _ in span.events), span.end_ns]
    assert times[0] == 2_000_000_000_000_000_000
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[-1] - times[0] < 3600 * 10**9


def test_the_documented_wire_form_is_json_like():
    # What people put into extras most: something that came from JSON.
    document = json.loads('{"order": {"id": 7, "lines": [{"sku": "a", "n": 2}]}, "paid": true}')
    assert sent_attributes(document) == {"order": {"id": 7, "lines": [{"sku": "a", "n": 2}]}, "paid": "true"}


@pytest.fixture
def fresh(monkeypatch):
    """No keys of other tests: there is room for so many only."""
    monkeypatch.setattr(otlp, "_keys", {})
    monkeypatch.setattr(otlp, "_kept", 0)


@pytest.mark.usefixtures("fresh")
def test_what_comes_again_is_sent_as_the_first_time():
    for _ in range(3):
        for value in (1, True, 1.0, "1", "true", Word("1"), Number.SEVEN, 7, "", "x" * 300):
            sent = sent_attributes({"again": value})["again"]
            wanted = "true" if value is True else str.__str__(value) if isinstance(value, str) else value
            assert (sent, type(sent)) == (wanted, type(wanted) if type(wanted) is not Number else int)
        log = LogRecord(20, "body", {"again": "1"}, time_ns=1, logger="")
        assert sent_log(log).attributes["again"] == "1"  # another field of another message


@pytest.mark.usefixtures("fresh")
def test_of_a_key_whose_values_never_come_again_none_is_kept():
    for number in range(200):
        assert sent_attributes({"endless": f"value {number}"}) == {"endless": f"value {number}"}
        assert sent_attributes({"few": number % 5}) == {"few": number % 5}
    assert otlp._keys["endless"].values is None
    assert set(otlp._keys["few"].values) == set(range(5))


@pytest.mark.usefixtures("fresh")
def test_a_secret_is_not_kept():
    for _ in range(2):
        assert "hunter2" not in str(sent_attributes({"password": "hunter2"}))
    assert otlp._keys["password"].values is None
