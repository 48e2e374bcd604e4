"""Google's functions-framework: each request is one span, and an event of Pub/Sub brings its ids."""

from __future__ import annotations

import base64
import importlib.util
import json

import pytest

MAIN = """
import asyncio, logging
import flask, functions_framework

log = logging.getLogger("app")

def work(text):
    log.warning("working on %s", text)
    if text == "bad":
        raise LookupError("no such order")

@functions_framework.http
def on_http(request):
    work(request.args.get("do"))
    return "fine"

@functions_framework.cloud_event
def on_event(event):
    work((event.data if isinstance(event.data, dict) else {}).get("subscription", "else"))

def on_background(data, context):
    work(context.resource if isinstance(context.resource, str) else context.resource.get("name"))
"""
ASYNC = """
import functions_framework.aio

@functions_framework.aio.http
async def on_http_aio(request):
    await asyncio.sleep(0)
    work(request.query_params.get("do"))
    return "fine"

@functions_framework.aio.cloud_event
async def on_event_aio(event):
    await asyncio.sleep(0)
    work(event.data["subscription"])
"""
HAS_ASYNC = importlib.util.find_spec("functions_framework.aio") is not None  # older ones have not
if HAS_ASYNC:
    MAIN += ASYNC
TARGETS = {"on_http": "/<path:path>", "on_http_aio": "/{path}"} if HAS_ASYNC else {"on_http": "/<path:path>"}
IDS = {"x-highlight-request": "s1/r1"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def function(run_service):
    def function(target, kind):
        command = ["functions-framework", "--target", target, "--source", "main.py", "--signature-type", kind]
        return run_service([*command, "--host", "127.0.0.1", "--port", "{port}"], files={"main.py": MAIN})

    return function


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def post(service, data, **headers):
    about = {"ce-id": "1", "ce-specversion": "1.0", "ce-type": "t", "ce-source": "s", **headers}
    return service.request("POST", "/", {**about, "content-type": "application/json"}, json.dumps(data).encode()).status


@pytest.mark.parametrize(("target", "route"), TARGETS.items())
def test_a_request_is_one_span(function, receiver, target, route):
    service = function(target, "http")
    assert service.get("/a/b?do=good", IDS).text == "fine"
    assert service.get("/?do=bad", {"x-highlight-request": "s2/r2"}).status == 500

    receiver.wait(spans=2, errors=1, logs=2)
    assert spans(receiver) == [(f"GET {route}", "SERVER", "s1", "UNSET"), ("GET /", "SERVER", "s2", "ERROR")]
    assert told(receiver) == [("working on good", "s1"), ("working on bad", "s2")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]


STRANGE = [None, 7, [], {"x-highlight-request": 7}, {"x-highlight-request": "null"}, {"traceparent": "00-zz"}]


@pytest.mark.parametrize("target", ["on_event", "on_event_aio"] if HAS_ASYNC else ["on_event"])
def test_an_event_brings_its_ids(function, receiver, target):
    service = function(target, "cloudevent")
    attributes = {"x-highlight-request": "s3/r3", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    message = {"attributes": attributes, "data": base64.b64encode(b"m").decode()}
    for text, status in (("good", 200), ("bad", 500)):
        assert post(service, {"message": message, "subscription": text}) == status
    assert post(service, {"message": message, "subscription": "own"}, **IDS) == 200
    for strange in STRANGE:
        assert post(service, {"message": {"attributes": strange}, "subscription": "strange"}) == 200
    if target == "on_event":
        assert post(service, [1]) == 200

    receiver.wait(spans=3 + len(STRANGE) + (target == "on_event"), errors=1)
    expected = [("s3", "UNSET"), ("s3", "ERROR"), ("s1", "UNSET"), *[(None, "UNSET")] * len(STRANGE)]
    assert [(span.session, span.status) for span in receiver.spans][: len(expected)] == expected
    assert {span.kind for span in receiver.spans} == {"SERVER"}
    assert len(receiver.spans) == len(expected) + (target == "on_event")
    assert [(link["trace_id"], link["span_id"]) for link in receiver.spans[0].links] == [(TRACE, SPAN)]
    assert receiver.spans[0].highlight_trace == TRACE
    assert told(receiver)[:3] == [("working on good", "s3"), ("working on bad", "s3"), ("working on own", "s1")]
    assert errors(receiver) == [("LookupError", "no such order", "s3")]


def test_a_background_event_brings_its_ids(function, receiver):
    service = function("on_background", "event")
    for text, status in (("good", 200), ("bad", 500)):
        about = {"eventId": "1", "timestamp": "2020-01-01T00:00:00Z", "eventType": "t", "resource": text}
        body = {"context": about, "data": {"attributes": {"x-highlight-request": "s3/r3"}, "data": "bQ=="}}
        assert (
            service.request("POST", "/", {"content-type": "application/json"}, json.dumps(body).encode()).status
            == status
        )

    receiver.wait(spans=2, errors=1)
    assert spans(receiver) == [("POST /", "SERVER", "s3", "UNSET"), ("POST /", "SERVER", "s3", "ERROR")]
    assert told(receiver) == [("working on good", "s3"), ("working on bad", "s3")]
    assert errors(receiver) == [("LookupError", "no such order", "s3")]
