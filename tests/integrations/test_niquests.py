"""niquests and urllib3-future, beside urllib3 and in its place, which is where it installs itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.support import target as target_module
from tests.support.services import free_port

CALLS = """
import asyncio, json, sys
import niquests, urllib3
try:
    import urllib3_future as fork
except ImportError:
    fork = urllib3

TIMEOUT_SECONDS = 2

def sync(url, headers, method):
    with niquests.Session() as session:
        session.trust_env = False
        response = session.request(method, url, headers=headers, timeout=TIMEOUT_SECONDS)
        hops = [*response.history, response]
        return response.status_code, response.content, [sorted(hop.request.headers.items()) for hop in hops]

async def asynchronous(url, headers, method):
    async with niquests.AsyncSession() as session:
        session.trust_env = False
        response = await session.request(method, url, headers=headers, timeout=TIMEOUT_SECONDS)
        hops = [*response.history, response]
        return response.status_code, response.content, [sorted(hop.request.headers.items()) for hop in hops]

def pool(url, headers, method):
    with fork.PoolManager(retries=fork.Retry(5, connect=0, read=0, other=0), timeout=TIMEOUT_SECONDS) as pool:
        response = pool.request(method, url, headers=headers)
        return response.status, response.data, sorted(headers)

async def async_pool(url, headers, method):
    retries = fork.Retry(5, connect=0, read=0, other=0)
    async with fork.AsyncPoolManager(retries=retries, timeout=TIMEOUT_SECONDS) as pool:
        response = await pool.request(method, url, headers=headers)
        return response.status, await response.data, sorted(headers)

def by_requests(url, headers, method):
    import requests
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(method, url, headers=headers, timeout=TIMEOUT_SECONDS)
        return response.status_code, response.content, sorted(response.request.headers)

CLIENTS = {"sync": sync, "async": asynchronous, "pool": pool, "async pool": async_pool, "requests": by_requests}

def call(client, url, headers=None, method="GET"):
    headers = dict(headers or {})
    given = dict(headers)
    try:
        result = CLIENTS[client](url, headers, method)
        if asyncio.iscoroutine(result):
            result = asyncio.run(result)
        status, content, told = result
        outcome = [status, content.decode(), told]
    except Exception as error:
        outcome = [repr(type(error))]
    assert headers == given
    return outcome

if __name__ == "__main__":
    print(json.dumps([call(*arguments) for arguments in json.loads(sys.argv[1])]))
"""
APP = """
import json, logging, os
import calls
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
for name in ("urllib3", "urllib3_future", "urllib3.future"):
    logging.getLogger(name).disabled = True

@app.post("/call")
def call():
    return json.dumps(calls.call(**json.loads(request.data)))

app.run(port=int(os.environ["PORT"]))
"""
CLIENTS = ["sync", "async", "pool", "async pool", "requests"]
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folders with the packages, which would take urllib3's place for every other test."""
    beside = tmp_path_factory.mktemp("beside")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(beside), "niquests"],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(beside / "urllib3", ignore_errors=True)
    instead = tmp_path_factory.mktemp("instead")
    shutil.copytree(beside / "urllib3_future", instead / "urllib3")
    return {"beside": str(beside), "instead": f"{instead}:{beside}"}


@pytest.fixture
def target():
    server = target_module.Target()
    yield server
    server.close()


@pytest.fixture(params=["beside", "instead"])
def path(request, installed):
    return installed[request.param]


@pytest.fixture
def calling(run_service, path):
    def start(**env):
        return run_service("python app.py", files={"app.py": APP, "calls.py": CALLS}, env={"PYTHONPATH": path, **env})

    return start


def call(service, client, url, incoming=SESSION, **more):
    body = json.dumps({"client": client, "url": url, **more}).encode()
    response = service.request("POST", "/call", incoming, body)
    assert response.status == 200, service.output
    return json.loads(response.text)


def told(spans):
    return [(span.name, span.kind, span.session, span.status) for span in spans]


def test_a_call_is_one_span_and_carries_the_ids(calling, receiver, target):
    service = calling()
    incoming = [SESSION, {}] * len(CLIENTS)
    clients = [client for client in CLIENTS for _ in range(2)]
    for client, headers in zip(clients, incoming, strict=True):
        assert call(service, client, f"{target.url}/fine?secret=1", headers, method="POST")[:2] == [200, "fine"]

    receiver.wait(spans=4 * len(CLIENTS))
    sessions = ["s1", None] * len(CLIENTS)
    assert told(receiver.spans) == [
        (name, kind, session, "UNSET")
        for session in sessions
        for name, kind in (("POST /call", "SERVER"), ("POST", "CLIENT"))
    ]
    spans = receiver.spans[1::2]
    assert [span.parent_id for span in spans] == [span.span_id for span in receiver.spans[::2]]
    assert [seen.ids for seen in target.seen] == [
        (["s1/r1"] if session else [], [f"00-{span.trace_id}-{span.span_id}-01"])
        for session, span in zip(sessions, spans, strict=True)
    ]
    assert {span.attributes["url.full"] for span in spans} == {f"{target.url}/fine"}
    assert {span.attributes["http.status_code"] for span in spans} == {200}
    assert receiver.logs == []


def test_each_hop_is_decided_anew_and_what_is_there_stays(calling, receiver, target):
    service = calling(HIGHLIGHT_TRACING_ORIGINS="127.0.0.1")
    own = {"X-Highlight-Request": "mine/1", "Traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00"}
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=0"}
    away = target.at("localhost", f"/to?url={target.url}/fine").replace("?", "%3F").replace("=", "%3D")

    for client in CLIENTS:
        target.clear()
        receiver.clear()
        assert call(service, client, f"{target.url}/to?url={away}")[:2] == [200, "fine"], client
        receiver.wait(spans=2)
        assert told(receiver.spans) == [("POST /call", "SERVER", "s1", "UNSET"), ("GET", "CLIENT", "s1", "UNSET")]
        sent = [f"00-{receiver.spans[1].trace_id}-{receiver.spans[1].span_id}-01"]
        assert [seen.ids for seen in target.seen] == [(["s1/r1"], sent), ([], []), (["s1/r1"], sent)], client

        target.clear()
        call(service, client, f"{target.url}/fine", headers=own)
        call(service, client, f"{target.url}/fine", headers=signed)
        assert [seen.ids for seen in target.seen] == [(["mine/1"], [own["Traceparent"]]), ([], [])], client
        receiver.wait(spans=6)


def test_failures_are_failed_spans_and_what_the_caller_gets_is_as_bare(calling, receiver, target, run_python, path):
    service = calling()
    urls = [
        f"http://127.0.0.1:{free_port()}/gone",
        f"{target.url}/status/503",
        f"{target.url}/drop",
        f"{target.url}/to?url=/fine",
    ]
    wanted = [[client, url, {"X-Own": "1"}] for client in CLIENTS for url in urls]
    inside = [call(service, client, url, headers=headers) for client, url, headers in wanted]
    runs = []
    for under_agent in (False, True):
        target.clear()
        done = run_python(
            ["calls.py", json.dumps(wanted)],
            under_agent=under_agent,
            files={"calls.py": CALLS},
            env={"PYTHONPATH": path},
        )
        assert done.returncode == 0, done.stderr
        runs.append((json.loads(done.stdout), [(seen.head, seen.body) for seen in target.seen], done.stderr))

    assert runs[0] == runs[1]  # outside a unit of work, to the byte
    assert inside == runs[0][0]
    receiver.wait(spans=2 * len(wanted))
    assert told(receiver.spans[1::2]) == [
        ("GET", "CLIENT", "s1", status) for _ in CLIENTS for status in ("ERROR", "ERROR", "ERROR", "UNSET")
    ]
    assert receiver.errors == receiver.logs == []
