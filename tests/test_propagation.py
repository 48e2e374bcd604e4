"""What is read from headers, baggage and cookies of strangers, and what is written."""

import json
import sys
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from highlight_autoinstrument import propagation
from highlight_autoinstrument.context import HighlightRequest

S = "7eqzvG8HcKLoxGDvqfyC5yoJ2nXs"
R = "4bf92f3577b34da6a3ce929d0e0e4736"
NOW = 1_700_000_000_000
MINUTE = 60_000


@pytest.mark.parametrize(
    ("value", "session", "request_id"),
    [
        (f"{S}/{R}", S, R),
        (f"{S}/{R}".encode(), S, R),
        ("123456/78910", "123456", "78910"),
        ("S/", "S", None),
        ("/R", None, "R"),
        ("S", "S", None),
        (f"{S}/aB3dE6gH9j, {S}/zY8xW7vU6t", S, "aB3dE6gH9j"),
        ("S/R1,S/R2", "S", "R1"),
        ("a/b/c", "a", "b"),
        ("a//c", "a", None),
        (" S / R ", "S", "R"),
        ("null/R", None, "R"),
        ("undefined/R", None, "R"),
        ("S/null", "S", None),
        ("S/undefined", "S", None),
        ("nullable/nullify", "nullable", "nullify"),
        ("S/" + "r" * 254, "S", "r" * 254),
    ],
)
def test_a_header_with_ids(value, session, request_id):
    assert propagation.parse(value) == HighlightRequest(session, request_id)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", " ", "/", "//", "null", "undefined", "null/null", "undefined/", "null, null", ", S/R"),
        *("S/R\r\nSet-Cookie: a=b", "S\0/R", "\tS/R", "S/R\x7f", "S/R\n", "S/R, S/R2\x1b[0m"),
        *("sé/R", "S/Ⅻ", "S/\udcff", b"S/\xff", "\u017f/R", b""),
        *("S/" + "r" * 255, "S/R, " + "x" * 300, "S" * 100_000),
        *(7, 7.5, True, [], ["S/R"], {}, object(), ("S", "R"), memoryview(b"S/R")),
    ],
)
def test_a_header_that_is_none(value):
    assert propagation.parse(value) is None


@pytest.mark.parametrize(
    ("session", "request_id", "value"), [("S", "R", "S/R"), ("S", None, "S/"), (None, "R", "/R"), (None, None, "/")]
)
def test_the_header_that_is_sent(session, request_id, value):
    assert propagation.format(HighlightRequest(session, request_id)) == value


@pytest.mark.parametrize(
    ("session", "request_id", "expected"),
    [
        ("S", "R", ("S", "R")),
        ("S", None, ("S", None)),
        (None, "R", (None, "R")),
        (" S ", "null", ("S", None)),
        (None, None, None),
        ("", "undefined", None),
        ("S/R", "R", None),
        ("S", "R,R", None),
        ("S\r\n", "R", None),
        ("é", "R", None),
        ("S" * 300, "R", None),
        (12, "R", (None, "R")),
        (b"S", None, None),
    ],
)
def test_ids_given_by_hand(session, request_id, expected):
    assert propagation.from_ids(session, request_id) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x-highlight-request=S%2FR", ("S", "R")),
        ("X-Highlight-Request=S%2FR", ("S", "R")),
        ("x-highlight-request=S/R", ("S", "R")),
        ("x-highlight-request=S%2f", ("S", None)),
        ("a=1, x-highlight-request=S%2FR;ttl=5;x, b=2", ("S", "R")),
        ("a=1\t,\t x-highlight-request \t=\t S%2FR \t; p=1", ("S", "R")),
        ("highlight.session_id=S,highlight.trace_id=R", ("S", "R")),
        ("highlight.trace_id=R , highlight.session_id=S", ("S", "R")),
        ("highlight.session_id=S", ("S", None)),
        ("highlight.trace_id=R", (None, "R")),
        ("launchdarkly.session_id=S,launchdarkly.request_id=R", ("S", "R")),
        ("launchdarkly.session_id=L,highlight.session_id=S,launchdarkly.request_id=R", ("S", None)),
        ("highlight.session_id=H,highlight.trace_id=T,x-highlight-request=S%2FR", ("S", "R")),
        ("x-highlight-request=null,highlight.session_id=S", ("S", None)),
        ("x-highlight-request=S%00%2FR,highlight.session_id=S", ("S", None)),
        ("x-highlight-request=null,x-highlight-request=S%2FR", ("S", "R")),
        ("highlight.session_id=%0A,highlight.session_id=S", ("S", None)),
        ("highlight.session_id=S,highlight.session_id=T", ("S", None)),
        ("highlight.session_id=null,highlight.trace_id=undefined", None),
        ("highlight.session_id=a%2Fb", None),
        ("x-highlight-request=" + "S%2FR" * 100, None),
        ("x-highlight-request=%C3%A9/R", None),
        ("x-highlight-request=%FF%FE/R", None),
        ("x-highlight-request=S%0D%0A/R", None),
        ("x-highlight-request=%zz", ("%zz", None)),
        ("not-x-highlight-request=S/R", None),
        ("a=x-highlight-request=S/R", None),
        ("a=1;x-highlight-request=S/R", None),
        ("x-highlight-request", None),
        ("x-highlight-request;S/R", None),
        ("Highlight.Session_Id=S", None),
        ("", None),
        (",;=,=;,", None),
        (None, None),
        (b"x-highlight-request=S/R", None),
    ],
)
def test_baggage(value, expected):
    assert propagation.parse_baggage(value) == expected


@pytest.mark.parametrize(
    "filler",
    ["k=v", "", " ", "x-highlight-request=null", "highlight.session_id=%00", "x-highlight-request", "=", ";;;", "%"],
)
def test_baggage_is_read_behind_thousands_of_entries_and_not_at_all_when_it_is_absurd(filler):
    many = ",".join([filler] * (60_000 // (len(filler) + 1))) + ",x-highlight-request=S%2FR"

    assert propagation.parse_baggage(many) == ("S", "R")
    assert propagation.parse_baggage("k=v," * 20_000 + "x-highlight-request=S%2FR") is None


def data(session=S, pushed=NOW - MINUTE, *, encoded=True, **more):
    text = json.dumps({"sessionSecureID": session, "lastPushTime": pushed, **more})
    return quote(text) if encoded else text


@pytest.mark.parametrize(
    ("value", "session"),
    [
        (f"sessionSecureID={S}", S),
        (f"a=b; sessionSecureID={S}; c=d", S),
        (f'sessionSecureID="{S}"', S),
        (f"sessionID={S}", S),
        ("sessionID=S; sessionSecureID=T", "T"),
        (f"sessionID=; sessionData_{S}={data()}", S),
        (f"sessionID=null; sessionData_{S}={data()}", S),
        (f"sessionSecureID=; sessionID={S}", S),
        (f"sessionSecureID=; sessionSecureID={S}", S),
        (f"sessionSecureID=%00; sessionID={S}", S),
        (f"sessionData_{S}={data()}", S),
        (f"sessionData_{S}={data(encoded=False)}", S),
        (f"sessionData_{S}=" + quote(f'{{"lastPushTime":{NOW}}}'), S),
        (f"sessionData_new={data('new', NOW)}; sessionData_old={data('old', NOW - MINUTE)}", "new"),
        (f"sessionData_old={data('old', NOW - MINUTE)}; sessionData_new={data('new', NOW)}", "new"),
        (f"sessionData_x={data('x', NOW - 15 * MINUTE)}", "x"),
        (f"sessionData_x={data('x', NOW + MINUTE)}", "x"),
        (f"sessionData_x={data('x', NOW - 15 * MINUTE - 1)}", None),
        (f"sessionData_x={data('x', str(NOW))}", None),
        (f"sessionData_x={data('x', None)}", None),
        (f"sessionData_x={data('x', True)}", None),
        (f"sessionData_x={data('x', float('nan'))}", None),
        (f"sessionData_x={data(7)}", None),
        (f"sessionData_x={data('null')}", None),
        (f"sessionData_x={data('a/b')}", None),
        ("sessionData_x={}", None),
        ("sessionData_x=[1]", None),
        ("sessionData_x=" + "[" * 30_000, None),
        ("sessionData_x=" + "9" * 30_000, None),
        ("sessionData_x={", None),
        ("sessionData_x=", None),
        ("sessionID=", None),
        ("sessionID", None),
        ("sessionid=S", None),
        ("mysessionID=S", None),
        # another application's login, which must not be sent on to anyone
        ("sessionID=0d1f9a0f3b7c4f0e8a5d1e2c3b4a5968", None),
        ("sessionID=s%3Aabc.def", None),
        ("sessionID=eyJhbGciOiJIUzI1NiJ9.e30.x", None),
        ("sessionID=2f1b-11", None),
        ("", None),
        (";;;=;", None),
        (f"sessionID={S}; " + "a=b; " * 20_000, None),
        (None, None),
        (b"sessionID=S", None),
    ],
)
def test_cookies(value, session):
    assert propagation.parse_cookies(value, NOW) == ((session, None) if session else None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-highlight-request": "S/R", "baggage": "highlight.session_id=B", "cookie": "sessionID=C"}, ("S", "R")),
        ({"baggage": "highlight.session_id=B", "cookie": "sessionID=C"}, ("B", None)),
        ({"cookie": "sessionID=C"}, ("C", None)),
        ({"x-highlight-request": "null", "cookie": "sessionID=C"}, ("C", None)),
        ({"x-highlight-request": "a\0b", "baggage": "highlight.session_id=B"}, ("B", None)),
        ({"x-highlight-request": "/R", "baggage": "highlight.session_id=B", "cookie": "sessionID=C"}, (None, "R")),
        ({"baggage": "highlight.trace_id=R", "cookie": "sessionID=C"}, (None, "R")),
        ({"baggage": "a=b", "cookie": "sessionID=C"}, ("C", None)),
        ({"cookie": f"sessionData_x={data('x', 0)}"}, None),
    ],
)
def test_the_first_carrier_that_says_anything_is_the_only_one(headers, expected):
    assert propagation.extract(headers.get, lambda: NOW) == expected


def test_session_data_is_compared_with_the_present():
    from time import time

    assert propagation.extract({"cookie": f"sessionData_x={data('x', time() * 1000)}"}.get) == ("x", None)


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        (f" 00-{TRACE}-{SPAN}-01\t", 1),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-03-what-the-future-will-be-like", 3),
        (f"cc-{TRACE}-{SPAN}-03-", 3),
    ],
)
def test_a_traceparent(value, flags):
    assert propagation.parse_traceparent(value) == (int(TRACE, 16), int(SPAN, 16), flags)


@pytest.mark.parametrize(
    "value",
    [
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0G",
        f"00-{TRACE}-{SPAN}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"CC-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[:-1]}\uff11-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01.x",
        f"cc-{TRACE}-{SPAN}-01-x\r\n",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 100_000,
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        "",
        "-" * 55,
        None,
        f"00-{TRACE}-{SPAN}-01".encode(),
        1,
    ],
)
def test_a_traceparent_that_is_none(value):
    assert propagation.parse_traceparent(value) is None


def test_the_traceparent_that_is_sent_has_only_the_flags_that_are_defined():
    assert propagation.format_traceparent(0xABC, 0xDEF, 1) == f"00-{'abc':0>32}-{'def':0>16}-01"
    assert propagation.format_traceparent(int(TRACE, 16), int(SPAN, 16), 0xFF) == f"00-{TRACE}-{SPAN}-03"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("foo=1", "foo=1"),
        ("foo=1 , \t bar=2", "foo=1,bar=2"),
        ("foo=1,,bar=2,", "foo=1,bar=2"),
        ("a-_*/0=x y", "a-_*/0=x y"),
        ("0tenant@vendor=1", "0tenant@vendor=1"),
        (f"foo={'v' * 256}", f"foo={'v' * 256}"),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
        (",".join(f"k{n}=1" for n in range(33)), None),
        (f"a={'1' * 250},b={'2' * 250},c={'3' * 250}", f"a={'1' * 250},b={'2' * 250}"),
        (f"a={'1' * 256},b={'2' * 252}", f"a={'1' * 256}"),
        (f"a={'1' * 256},b={'2' * 251}", f"a={'1' * 256},b={'2' * 251}"),
        (f"foo={'v' * 257}", None),
        ("foo=1,foo=2", None),
        ("foo=1,bar", None),
        ("foo=1,bar=", None),
        ("Foo=1", None),
        ("foo =1", None),
        ("foo=a=b", None),
        ("foo=é", None),
        ("foo=1\r\nX: y", None),
        ("foo=1\0", None),
        ("9a=1", None),
        ("a@b@c=1", None),
        ("", None),
        (" , ", None),
        (None, None),
        (b"foo=1", None),
        ("a" * 300_000, None),
    ],
)
def test_a_tracestate(value, expected):
    assert propagation.parse_tracestate(value) == expected


anything = st.one_of(
    st.text(),
    st.text(alphabet='SR/,;= %0fx\t\r\n\0é"{}[]:-'),
    st.lists(
        st.sampled_from(
            [
                *(
                    "x-highlight-request",
                    "highlight.session_id",
                    "sessionSecureID",
                    "sessionID",
                    "sessionData_",
                    "null",
                ),
                *("=", ",", ";", "/", "%2F", "%", '"', "{", "}", ":", "lastPushTime", "1", "é", "\0", "S", " "),
            ]
        )
    ).map("".join),
    st.binary(),
    st.none(),
    st.integers(),
    st.lists(st.text()),
)


def is_clean(request):
    """What was read can be sent and is read by the next service as the same."""
    value = propagation.format(request)
    return value.isascii() and value.isprintable() and len(value) <= 257 and propagation.parse(value) == request


@given(anything)
@example("S" * sys.getrecursionlimit())
def test_nothing_that_comes_in_raises_or_is_sent_on_unchecked(value):
    propagation.parse_traceparent(value)
    propagation.parse_tracestate(value)
    for request in (
        propagation.parse(value),
        propagation.parse_baggage(value),
        propagation.parse_cookies(value, NOW),
        propagation.extract(lambda _: value, lambda: NOW),
        propagation.from_ids(value, value),
    ):
        assert request is None or is_clean(request)
