"""Outgoing calls by every HTTP client: the ids go where they may, and nothing else changes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import calls
from tests.support.services import free_port
from tests.support.target import Target

CALLS = Path(calls.__file__).read_text()
APP = """
import json, logging, os
import calls
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
logging.getLogger("urllib3").disabled = True

@app.post("/call")
def call():
    return json.dumps(calls.call(**json.loads(request.data)))

app.run(port=int(os.environ["PORT"]))
"""
CLIENTS = sorted(calls.CLIENTS)
FOLLOWING = [client for client in CLIENTS if client != "http.client"]
BY_CURL = [client for client in CLIENTS if client.startswith("curl")]  # libcurl follows redirects by itself
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture
def target():
    server = Target()
    yield server
    server.close()


@pytest.fixture
def calling(run_service):
    """Start a service that calls out."""

    def start(**env):
        return run_service("python app.py", files={"app.py": APP, "calls.py": CALLS}, env=env)

    return start


def call(service, client, url, incoming=SESSION, **more):
    body = json.dumps({"client": client, "url": url, **more}).encode()
    response = service.request("POST", "/call", incoming, body)
    assert response.status == 200, service.output
    return json.loads(response.text)


def told(spans):
    return [(span.name, span.kind, span.session, span.status) for span in spans]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_call_is_one_span_and_carries_the_ids(calling, receiver, target, client):
    service = calling()

    for incoming in (SESSION, {"x-highlight-request": "s2/"}, {"x-highlight-request": "/r3"}, {}):
        assert call(service, client, f"{target.url}/fine?secret=1", incoming)[:2] == [200, "fine"]

    receiver.wait(spans=8)
    spans = receiver.spans
    assert told(spans) == [
        line
        for session in ("s1", "s2", None, None)
        for line in (("POST /call", "SERVER", session, "UNSET"), ("GET", "CLIENT", session, "UNSET"))
    ]
    assert [span.parent_id for span in spans[1::2]] == [span.span_id for span in spans[::2]]
    sent = [f"00-{span.trace_id}-{span.span_id}-01" for span in spans[1::2]]
    assert [seen.ids for seen in target.seen] == [
        (["s1/r1"], sent[:1]),
        (["s2/"], sent[1:2]),
        (["/r3"], sent[2:3]),
        ([], sent[3:]),
    ]
    for span in spans[1::2]:
        assert span.attributes["url.full"] == span.attributes["http.url"] == f"{target.url}/fine"
        assert span.attributes["http.response.status_code"] == span.attributes["http.status_code"] == 200
        assert span.attributes["server.port"] == target.port
    assert receiver.logs == []


def test_each_hop_of_a_redirect_is_decided_anew(calling, receiver, target):
    service = calling(HIGHLIGHT_TRACING_ORIGINS="127.0.0.1")
    back = f"{target.url}/fine"
    away = target.at("localhost", f"/to?url={back}")
    url = f"{target.url}/to?url={away.replace('?', '%3F').replace('=', '%3D')}"

    for client in [client for client in FOLLOWING if client not in BY_CURL]:
        target.clear()
        receiver.clear()
        assert call(service, client, url)[:2] == [200, "fine"], client

        receiver.wait(spans=2)
        assert told(receiver.spans) == [("POST /call", "SERVER", "s1", "UNSET"), ("GET", "CLIENT", "s1", "UNSET")]
        hosts = [seen.all("host")[0].partition(":")[0] for seen in target.seen]
        assert hosts == ["127.0.0.1", "localhost", "127.0.0.1"], client
        sent = [f"00-{receiver.spans[1].trace_id}-{receiver.spans[1].span_id}-01"]
        assert [seen.ids for seen in target.seen] == [(["s1/r1"], sent), ([], []), (["s1/r1"], sent)], client


@pytest.mark.parametrize(
    ("origins", "host", "goes"),
    [("", "127.0.0.1", False), ("internal", "127.0.0.1", True), ("/^http:..localhost:/", "localhost", True)],
)
def test_the_setting_says_to_whom(calling, receiver, target, origins, host, goes):
    service = calling(HIGHLIGHT_TRACING_ORIGINS=origins)

    for client in CLIENTS:
        assert call(service, client, target.at(host, "/fine"))[:2] == [200, "fine"], client

    expected = [["s1/r1"] if goes and client not in BY_CURL else [] for client in CLIENTS]
    assert [seen.ids[0] for seen in target.seen] == expected
    assert [len(seen.ids[1]) for seen in target.seen] == [len(ids) for ids in expected]
    receiver.wait(spans=2 * len(CLIENTS))
    assert told(receiver.spans) == [
        ("POST /call", "SERVER", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
    ] * len(CLIENTS)


def test_what_is_there_stays_and_what_is_signed_is_left_alone(calling, target):
    service = calling()
    own = {"X-Highlight-Request": "mine/1", "Traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00"}
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=0"}

    for client in CLIENTS:
        target.clear()
        call(service, client, f"{target.url}/fine", headers=own)
        call(service, client, f"{target.url}/fine", headers=signed)
        call(service, client, f"{target.url}/fine?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0")
        call(service, client, f"{target.url}/fine", headers={"Authorization": "Bearer token"})

        mine = (["mine/1"], [own["Traceparent"]])
        assert [seen.ids for seen in target.seen[:3]] == [mine, ([], []), ([], [])], client
        assert target.seen[3].ids[0] == ["s1/r1"], client


def test_what_the_caller_gets_is_as_bare(calling, receiver, target, run_python):
    service = calling()
    closed = f"http://127.0.0.1:{free_port()}/"
    wanted = [
        [client, url, headers, body]
        for client in CLIENTS
        for url, headers, body in (
            (f"{target.url}/fine", {"Accept": "text/plain", "X-Own": "1"}, None),
            (f"{target.url}/to?url=/fine", {"X-Own": "1"}, None),
            (f"{target.url}/status/404", None, None),
            (f"{target.url}/status/503", None, None),
            (f"{target.url}/hang", None, None),
            (f"{target.url}/drop", None, None),
            (closed, None, None),
            ("http://[::1/", None, None),
        )
    ]

    inside = [call(service, client, url, headers=headers, body=body) for client, url, headers, body in wanted]
    bare = run_python(["calls.py", json.dumps(wanted)], under_agent=False, files={"calls.py": CALLS})

    assert bare.returncode == 0, bare.stderr
    expected = json.loads(bare.stdout)
    if sys.version_info < (3, 11):  # there a frame cannot be taken out of a traceback
        inside, expected = [[without_frames(outcome) for outcome in outcomes] for outcomes in (inside, expected)]
    assert inside == expected
    receiver.settle()
    assert receiver.errors == receiver.logs == []
    assert {span.status for span in receiver.spans if span.kind == "SERVER"} == {"UNSET"}


def without_frames(outcome):
    return [part for part in outcome if not (isinstance(part, list) and part and isinstance(part[0], str))]


def test_a_failed_call_is_a_failed_span_and_no_error(calling, receiver, target):
    service = calling()
    urls = [f"{target.url}/hang", f"http://127.0.0.1:{free_port()}/gone", f"{target.url}/status/503"]

    for client in CLIENTS:
        receiver.clear()
        for url in urls:
            call(service, client, url)

        receiver.wait(spans=6)
        assert told(receiver.spans[1::2]) == [("GET", "CLIENT", "s1", "ERROR")] * 3, client
        assert [span.events for span in receiver.spans] == [[]] * 6
        assert [span.attributes["url.full"] for span in receiver.spans[1::2]] == urls, client
        assert all("error.type" in span.attributes for span in receiver.spans[1::2])
        assert receiver.spans[5].attributes["http.response.status_code"] == 503, client
        assert receiver.errors == receiver.logs == []


def test_outside_a_unit_of_work_every_byte_is_as_bare(receiver, run_python, target):
    wanted = [
        [client, target.url + path, {"X-Own": "1"}, body]
        for client in CLIENTS
        for path, body in (("/fine", None), ("/to?url=/fine", None), ("/status/500", None))
    ]
    sent = []
    for under_agent in (False, True):
        target.clear()
        result = run_python(["calls.py", json.dumps(wanted)], under_agent=under_agent, files={"calls.py": CALLS})
        assert result.returncode == 0, result.stderr
        sent.append(([(seen.head, seen.body) for seen in target.seen], json.loads(result.stdout), result.stderr))

    assert sent[0] == sent[1]
    assert len(sent[0][0]) == 3 * len(CLIENTS) + len(FOLLOWING)
    assert receiver.spans == receiver.logs == receiver.exports == []


def test_debug_tells_of_calls_without_their_passwords(calling, target):
    service = calling(HIGHLIGHT_DEBUG="true")
    service.expect("")
    for client in CLIENTS:
        call(service, client, target.url.replace("://", "://user:tellnobody@") + "/fine")

    told = [line for line in service.agent_lines if line.startswith("highlight: call to ")]
    assert set(told) == {"highlight: call to 127.0.0.1: x-highlight-request, traceparent"}
    assert "tellnobody" not in "".join(service.agent_lines)


def test_debug_tells_of_calls_outside_a_unit_of_work_and_of_no_export(receiver, run_python, target):
    wanted = [[client, target.url.replace("://", "://user:tellnobody@") + "/fine"] for client in CLIENTS]
    code = CALLS + "\nimport logging; logging.getLogger('shop').warning('so that there is an export')\n"
    arguments = ["calls.py", json.dumps(wanted)]
    result = run_python(arguments, files={"calls.py": code}, env={"HIGHLIGHT_DEBUG": "true"})

    receiver.wait(logs=1)
    told = [line for line in result.stderr.splitlines() if line.startswith("highlight: call to ")]
    line = "highlight: call to 127.0.0.1: no ids, it is made outside of any request, task and trace()"
    assert told == [line] * len({*CLIENTS} - {"httplib2"})  # which cannot find a host of that name
    assert "highlight: export of 1 logs: HTTP 200" in result.stderr
    assert "tellnobody" not in "".join(told)


CONCURRENT = """
import asyncio, os
import aiohttp, httpx
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

shared = {}

async def go(request):
    number = request.query_params["n"]
    if not shared:
        shared["httpx"], shared["aiohttp"] = httpx.AsyncClient(trust_env=False), aiohttp.ClientSession()
    async def by_aiohttp(path):
        async with shared["aiohttp"].get(os.environ["TARGET"] + path) as response:
            return await response.text()
    url = f"/fine?n={number}"
    first = await shared["httpx"].get(os.environ["TARGET"] + url)
    both = await asyncio.gather(shared["httpx"].get(os.environ["TARGET"] + url), by_aiohttp(url))
    return PlainTextResponse(first.text + both[0].text + both[1])

app = Starlette(routes=[Route("/go", go)])
"""


def test_requests_that_share_a_client_and_a_loop_have_each_their_own_ids(run_service, receiver, target):
    service = run_service(
        "python -m uvicorn app:app --port {port} --log-level critical",
        files={"app.py": CONCURRENT},
        env={"TARGET": target.url},
    )
    numbers = range(40)

    def go(number):
        incoming = {"x-highlight-request": f"s{number}/r{number}"} if number % 4 else {}
        return service.get(f"/go?n={number}", incoming).text

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(go, numbers)) == {"finefinefine"}

    receiver.wait(spans=160)
    spans = {span.span_id: span for span in receiver.spans}
    assert len(spans) == 160
    carried = Counter()
    for seen in target.seen:
        number = int(seen.path.partition("=")[2])
        assert seen.ids[0] == ([f"s{number}/r{number}"] if number % 4 else [])
        span = spans[seen.ids[1][0].split("-")[2]]
        parent = spans[span.parent_id]
        assert span.session == parent.session == (f"s{number}" if number % 4 else None)
        assert (span.kind, parent.kind) == ("CLIENT", "SERVER")
        carried[number] += 1
    assert carried == dict.fromkeys(numbers, 3)
    assert receiver.errors == []
