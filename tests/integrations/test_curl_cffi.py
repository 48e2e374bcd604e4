"""curl_cffi: redirects that libcurl follows by itself, streams, and sessions that are kept."""

from __future__ import annotations

import json

import pytest

from tests.support.target import Target

APP = """
import asyncio, json, logging, os
import curl_cffi
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
kept = curl_cffi.Session(trust_env=False)

async def asynchronous(url, options):
    async with curl_cffi.AsyncSession(trust_env=False) as session:
        response = await session.get(url, **options)
        if options.get("stream"):
            return (await response.acontent()).decode()
        return response.text

@app.post("/call")
def call():
    wanted = json.loads(request.data)
    url, options = wanted["url"], wanted["options"]
    if wanted["kind"] == "async":
        return asyncio.run(asynchronous(url, options))
    response = kept.get(url, **options)
    return b"".join(response.iter_content()).decode() if options.get("stream") else response.text

app.run(port=int(os.environ["PORT"]))
"""
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture
def target():
    server = Target()
    yield server
    server.close()


@pytest.fixture
def calling(run_service):
    return lambda **env: run_service("python app.py", files={"app.py": APP}, env=env)


def call(service, kind, url, incoming=SESSION, **options):
    body = json.dumps({"kind": kind, "url": url, "options": options}).encode()
    response = service.request("POST", "/call", incoming, body)
    assert response.status == 200, service.output
    return response.text


def told(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


LINES = [("POST /call", "SERVER", "s1", "UNSET"), ("GET", "CLIENT", "s1", "UNSET")]


def carried(span, session="s1/r1"):
    return [session] if session else [], [f"00-{span.trace_id}-{span.span_id}-01"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_where_everybody_may_have_them_the_ids_go_along(calling, receiver, target, kind):
    service = calling()
    assert call(service, kind, f"{target.url}/to?url={target.at('localhost', '/fine')}") == "fine"

    receiver.wait(spans=2)
    assert told(receiver) == LINES
    assert [seen.ids for seen in target.seen] == [carried(receiver.spans[1])] * 2
    assert receiver.spans[1].attributes["http.status_code"] == 200


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_where_not_they_are_kept_back_from_what_may_be_redirected(calling, receiver, target, kind):
    service = calling(HIGHLIGHT_TRACING_ORIGINS="127.0.0.1")
    assert call(service, kind, f"{target.url}/to?url={target.at('localhost', '/fine')}") == "fine"
    assert call(service, kind, f"{target.url}/fine", allow_redirects=False) == "fine"
    assert call(service, kind, target.at("localhost", "/fine"), allow_redirects=False) == "fine"

    receiver.wait(spans=6)
    assert told(receiver) == LINES * 3
    assert [seen.ids for seen in target.seen] == [([], []), ([], []), carried(receiver.spans[3]), ([], [])]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_and_a_browsers_fingerprint(calling, receiver, target, kind):
    service = calling()
    assert call(service, kind, f"{target.url}/stream", stream=True) == "onetwothree"
    assert call(service, kind, f"{target.url}/fine", impersonate="chrome") == "fine"
    assert call(service, kind, f"{target.url}/fine", {}) == "fine"
    # The session's handle is used again: nothing of the request before is left in it.
    assert call(service, kind, f"{target.url}/fine", {"x-highlight-request": "s1/r2"}) == "fine"

    receiver.wait(spans=8)
    spans = receiver.spans[1::2]
    assert [span.session for span in spans] == ["s1", "s1", None, "s1"]
    assert [span.status for span in spans] == ["UNSET"] * 4
    assert [seen.ids for seen in target.seen] == [
        carried(spans[0]),
        carried(spans[1]),
        carried(spans[2], None),
        carried(spans[3], "s1/r2"),
    ]
    assert receiver.errors == receiver.logs == []
