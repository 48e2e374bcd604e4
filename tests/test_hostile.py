"""Requests of strangers, as bytes on a socket: the application gets them as it would, and nothing of them goes on."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.target import Target

FLASK = """
import logging, os
import flask, requests

logging.getLogger("werkzeug").disabled = True
app = flask.Flask(__name__)

@app.route("/<path:rest>")
def serve(rest):
    requests.get(os.environ["TARGET"])
    return {"ids": [flask.request.headers.get(name, "") for name in ("X-Highlight-Request", "Baggage", "Cookie")]}

app.run(port=int(os.environ["PORT"]), threaded=True)
"""

FASTAPI = """
import os
import fastapi, httpx, uvicorn

app = fastapi.FastAPI()

@app.get("/{rest:path}")
async def serve(rest: str, request: fastapi.Request):
    async with httpx.AsyncClient() as client:
        await client.get(os.environ["TARGET"])
    return {"ids": [request.headers.get(name, "") for name in ("x-highlight-request", "baggage", "cookie")]}

uvicorn.run(app, port=int(os.environ["PORT"]), log_level="critical", access_log=False, http="h11",
            h11_max_incomplete_event_size=4_000_000)
"""

S = b"7eqzvG8HcKLoxGDvqfyC5yoJ2nXs"
CLEAN = re.compile(r"[!-~ ]{0,200}/[!-~ ]{0,200}")

# The header lines, and the session that they say (...: what is left of it is the server's affair).
CASES = {
    "none": (b"", None),
    "valid": (b"x-highlight-request: " + S + b"/r1\r\n", S),
    "a line of its own": (b"x-highlight-request: " + S + b"\rSet-Cookie: a=b/r1\r\n", ...),
    "a line folded": (b"x-highlight-request: " + S + b"\r\n\tx/r1\r\n", ...),
    "a NUL": (b"x-highlight-request: " + S + b"\x00/r1\r\n", None),
    "an escape": (b"x-highlight-request: " + S + b"\x1b[31m/r1\r\n", None),
    "another script": ("x-highlight-request: 7\u0435qzvG8HcKLoxGDvqfyC5yoJ2nXs/r1\r\n".encode(), None),  # a Cyrillic e
    "latin-1": (b"x-highlight-request: caf\xe9/r1\r\n", None),
    "too long": (b"x-highlight-request: " + S * 20 + b"/r1\r\n", None),
    "60 kB": (b"x-highlight-request: " + b"s" * 60_000 + b"/r1\r\n", None),
    "not even a slash": (b"x-highlight-request: null\r\n", None),
    "another's in capitals is another": (b"x-highlight-request: " + S.upper() + b"/r1\r\n", S.upper()),
    "the first counts, not both": (b"x-highlight-request: aaa/r1, bbb/r2\r\n", b"aaa"),
    "percent is no escape here": (b"x-highlight-request: a%0d%0ab/r1\r\n", b"a%0d%0ab"),
    "thousands of entries": (b"baggage: " + b",".join(b"k%d=v" % n for n in range(5000)) + b"\r\n", None),
    "behind thousands": (
        b"baggage: " + b"k=v," * 5000 + b"x-highlight-request=" + S + b"%2Fr1\r\n",
        S,
    ),
    "an escaped line": (b"baggage: x-highlight-request=a%0D%0ASet-Cookie:x%2Fr1\r\n", None),
    "a cookie": (b"cookie: sessionID=" + S + b"\r\n", S),
    "somebody's login": (b"cookie: sessionID=s%3Aabcdef0123456789.signature\r\n", None),
    "nested data": (b"cookie: sessionData_x=" + b"[" * 20_000 + b"\r\n", None),
    "a traceparent that is none": (
        b"traceparent: 00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01\r\ntracestate: \x01\r\n",
        None,
    ),
}


@pytest.fixture
def target():
    server = Target()
    yield server
    server.close()


def request(lines, path=b"/x"):
    return b"GET " + path + b" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n" + lines + b"\r\n"


@pytest.mark.parametrize("program", [FLASK, FASTAPI], ids=["flask", "fastapi"])
def test_ids_that_are_none_go_nowhere_and_the_application_sees_what_came(run_service, receiver, target, program):
    service = run_service("python app.py", files={"app.py": program}, env={"TARGET": target.url})
    bare = run_service("python app.py", files={"app.py": program}, env={"TARGET": target.url}, bare=True)
    expected = []
    for name, (lines, session) in CASES.items():
        target.seen.clear()
        answer = service.raw(request(lines, b"/" + name.replace(" ", "-").encode()))
        ours, called = answer.partition(b"\r\n\r\n"), [seen.ids[0] for seen in target.seen]
        theirs = bare.raw(request(lines, b"/" + name.replace(" ", "-").encode())).partition(b"\r\n\r\n")
        assert (ours[0].split(b" ")[1], ours[2]) == (theirs[0].split(b" ")[1], theirs[2]), name
        if ours[0].split(b" ")[1] != b"200":  # the server refuses it, as it did
            continue
        value = called[0][0] if called[0] else None
        found = value.partition("/")[0] if value else None
        assert session is ... or found == (session.decode() if session else None), name
        assert value is None or CLEAN.fullmatch(value), name
        expected.append(found)

    receiver.wait(spans=2 * len(expected))
    served = [span for span in receiver.spans if span.kind == "SERVER" and span.service == service_name(service)]
    assert [span.session for span in served] == expected
    assert len(expected) > 14
    assert all(b"Set-Cookie" not in body for body in receiver.bodies)


def service_name(service):
    return service.stdout_path.stem


def test_any_bytes_are_answered_and_only_valid_ids_go_out(run_service, receiver, target):
    service = run_service("python app.py", files={"app.py": FLASK}, env={"TARGET": target.url})
    value = st.binary(max_size=300).map(lambda text: re.sub(rb"[\r\n]", b"", text))
    name = st.sampled_from([b"x-highlight-request", b"baggage", b"cookie", b"traceparent", b"tracestate"])
    prefix = st.sampled_from(
        [b"", b"x-highlight-request=", b"sessionID=", b"sessionData_x={", b"highlight.session_id=", b"a/b"]
    )

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(name, prefix, value), max_size=4))
    def check(lines):
        target.seen.clear()
        answer = service.raw(
            request(b"".join(name + b": " + prefix + value + b"\r\n" for name, prefix, value in lines))
        )
        if answer.split(b" ", 2)[1:2] == [b"200"]:
            json.loads(answer.partition(b"\r\n\r\n")[2])
            (seen,) = target.seen
            assert all(CLEAN.fullmatch(text) for text in seen.ids[0])
            assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", text) for text in seen.ids[1])
            assert len(seen.ids[0]) <= 1
        else:
            assert answer.split(b" ", 2)[1:2] in ([b"400"], [b"431"])

    check()
    assert service.get("/last", {"x-highlight-request": "session1/r1"}).status == 200
    receiver.settle()
    last = [span for span in receiver.spans if span.attributes.get("url.path") == "/last"]
    assert [span.session for span in last] == ["session1"]
