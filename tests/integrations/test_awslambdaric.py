"""AWS Lambda, by its real runtime: each kind of event is one unit of work, and sent before its answer."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from awslambdaric import bootstrap
from awslambdaric.lambda_context import LambdaContext

import highlight_autoinstrument
from tests.support.lambda_runtime import LambdaRuntime
from tests.support.receiver import Misbehaviour

APP = """
import logging, os, sys
from fastapi import FastAPI
from flask import Flask
from mangum import Mangum
from werkzeug.test import EnvironBuilder, run_wsgi_app
from highlight_autoinstrument import message_context

log = logging.getLogger("app")
log.setLevel("INFO")
api = FastAPI()

@api.get("/items/{number}")
def item(number: int):
    log.info("item %s", number)
    if number == 13:
        raise LookupError("no such item")
    return number

serve = Mangum(api)
site = Flask("site")

@site.get("/items/<int:number>")
def site_item(number): return str(item(number))

def serve_wsgi(event):
    asked = EnvironBuilder(event["rawPath"], f"https://{event['headers']['host']}/", headers=event["headers"])
    body, status, _ = run_wsgi_app(site, asked.get_environ())
    return {"statusCode": int(status.partition(" ")[0]), "body": b"".join(body).decode()}

def handler(event, context):
    if isinstance(event, dict) and "do" not in event and "wsgi" in str(event.get("headers")):
        return serve_wsgi(event)
    if isinstance(event, dict) and "do" not in event and "asgi" in str(event.get("headers")):
        return serve(event, context)
    log.info("handling")
    if not isinstance(event, dict):
        return [event, context.aws_request_id]
    what = event.get("do") or event.get("queryStringParameters", {}).get("do")
    if what == "raise":
        raise LookupError("no such order")
    if what == "log":
        try:
            raise LookupError("no such order")
        except LookupError:
            log.exception("it failed")
    if what == "503":
        return {"statusCode": "503", "body": ""}
    if what == "object":
        return object()
    if what == "coroutine":
        async def coroutine(): pass
        made = coroutine()
        made.close()
        return made
    if what == "loop":
        for record in event["Records"]:
            with message_context(record):
                log.info("record")
        log.info("after")
    if what == "exit":
        sys.exit(3)
    return {"statusCode": 200, "body": "fine"}

if os.environ.get("START") == "raise":
    raise LookupError("no such setting")
"""
WRAPPER = Path(highlight_autoinstrument.__file__).parent / "lambda_wrapper"
IDS = {"x-highlight-request": "s1/r1"}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def runtime(receiver):
    server = LambdaRuntime(lambda: len(receiver.spans) + len(receiver.errors))
    yield server
    server.close()


@pytest.fixture
def function(run_service, runtime):
    """Start the function, as Lambda starts one that has our wrapper."""

    def function(*, handler="app.handler", wrapper=WRAPPER, bare=False, env=None, name="service"):
        command = [sys.executable, "-m", "awslambdaric", handler]
        return run_service(
            command if bare else [str(wrapper), *command],
            files={"app.py": APP},
            bare=True,
            wait=None,
            name=name,
            env={
                "AWS_LAMBDA_RUNTIME_API": runtime.address,
                "AWS_LAMBDA_FUNCTION_NAME": "orders",
                "HIGHLIGHT_SERVICE_NAME": "",
                **(env or {}),
            },
        )

    return function


def rest(headers=None, **more):
    return {
        "resource": "/orders/{id}",
        "path": "/orders/7",
        "httpMethod": "GET",
        "headers": headers,
        "queryStringParameters": {},
        "requestContext": {"identity": {"sourceIp": "192.0.2.1"}, "domainName": "api.example.com", "stage": "prod"},
        **more,
    }


def http(route="GET /orders/{id}", headers=None, **more):
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": "/orders/7",
        "rawQueryString": "a=b",
        "headers": headers or {},
        "queryStringParameters": {"a": "b"},
        "requestContext": {"http": {"method": "GET", "path": "/orders/7", "sourceIp": "192.0.2.1"}},
        "isBase64Encoded": False,
        **more,
    }


def balancer(**more):
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "httpMethod": "GET",
        "path": "/orders/7",
        "queryStringParameters": {},
        **more,
    }


def sqs(*sessions, **more):
    records = []
    for number, session in enumerate(sessions):
        attributes = {"x-highlight-request": {"stringValue": f"{session}/r", "dataType": "String"}} if session else {}
        if number == 0 and session:
            attributes["traceparent"] = {"stringValue": TRACEPARENT, "dataType": "String"}
        source = {"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:1:jobs"}
        records.append({"messageId": "m", "body": "b", "messageAttributes": attributes, **source})
    return {"Records": records, **more}


def sns(session):
    attributes = {"x-highlight-request": {"Type": "String", "Value": f"{session}/r"}}
    notice = {"TopicArn": "arn:aws:sns:us-east-1:1:news", "Message": "m", "MessageAttributes": attributes}
    return {"Records": [{"EventSource": "aws:sns", "Sns": notice}]}


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


REQUESTS = [
    (rest({"X-Highlight-Request": "s1/r1"}), "GET /orders/{id}", "s1"),
    (rest(None, multiValueHeaders={"X-Highlight-Request": ["s2/r2", "s3/r3"]}), "GET /orders/{id}", "s2"),
    (http(headers={"x-highlight-request": "s1/r1, s1/r2"}), "GET /orders/{id}", "s1"),
    (http("$default", cookies=["a=b", "sessionSecureID=s4"]), "GET", "s4"),
    (balancer(headers=IDS), "GET", "s1"),
    (balancer(multiValueHeaders={"x-highlight-request": ["s5/r5"]}), "GET", "s5"),
    (http(headers={"x-highlight-request": "null"}), "GET /orders/{id}", None),
    (http(headers={"x-highlight-request": 7, "cookie": None}, cookies="strange"), "GET /orders/{id}", None),
]


def test_a_request_is_a_server_span(function, runtime, receiver):
    service = function()
    for number, (event, _, _) in enumerate(REQUESTS, 1):
        outcome = runtime.invoke(event)
        assert (outcome.kind, outcome.body["body"]) == ("response", "fine"), service.output
        assert outcome.seen == number, "sent before the answer"

    receiver.wait(spans=len(REQUESTS), logs=len(REQUESTS))
    assert spans(receiver) == [(name, "SERVER", session, "UNSET") for _, name, session in REQUESTS]
    assert [(log.body, log.session) for log in receiver.logs] == [("handling", session) for _, _, session in REQUESTS]
    first = receiver.spans[0]
    assert first.attributes["http.route"] == "/orders/{id}"
    assert first.attributes["url.path"] == "/orders/7"
    assert first.attributes["http.status_code"] == 200
    assert first.attributes["client.address"] == "192.0.2.1"
    assert first.attributes["faas.invocation_id"] == "invocation-1"
    assert first.highlight_trace == "r1"
    assert receiver.spans[2].attributes["url.query"] == "a=b"
    assert first.service == "orders"
    assert receiver.errors == []


EVENTS = [
    (sqs("s1"), "process jobs", "CONSUMER", "s1"),
    (sqs("s1", "s1"), "process jobs", "CONSUMER", "s1"),
    (sqs("s1", "s2", do="loop"), "process jobs", "CONSUMER", None),
    (sns("s6"), "process news", "CONSUMER", "s6"),
    ({"Records": [{"eventSource": "aws:s3"}]}, "orders", "INTERNAL", None),
    ({"detail-type": "order", "detail": {}}, "orders", "INTERNAL", None),
    ({"detail-type": "order", "detail": {"_highlight": IDS}}, "orders", "INTERNAL", "s1"),
    ({"detail-type": "order", "detail": {"_highlight": {"x-highlight-request": 7}}}, "orders", "INTERNAL", None),
    ({"detail-type": "order", "detail": ["_highlight"]}, "orders", "INTERNAL", None),
    ({"detail": {"_highlight": IDS}}, "orders", "INTERNAL", None),
    ({"type": "REQUEST", "httpMethod": "GET", "methodArn": "arn", "headers": IDS}, "orders", "INTERNAL", "s1"),
    ({"requestContext": {"routeKey": "$connect"}, "headers": IDS}, "orders", "INTERNAL", "s1"),
    (["a", 1], "orders", "INTERNAL", None),
    (None, "orders", "INTERNAL", None),
    ({"Records": "strange", "requestContext": 7, "headers": [1]}, "orders", "INTERNAL", None),
]


def test_messages_and_other_events(function, runtime, receiver):
    function(env={"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"})  # there the runtime waits in a thread of a pool
    for event, *_ in EVENTS:
        assert runtime.invoke(event).kind == "response"

    runtime.client_context = {"w3c": {"traceparent": TRACEPARENT, "baggage": "x-highlight-request=s8/r8"}}
    assert runtime.invoke({}).kind == "response"

    receiver.wait(spans=len(EVENTS) + 3)
    expected = [(name, kind, session, "UNSET") for _, name, kind, session in EVENTS]
    expected[3:3] = [("process jobs", "CONSUMER", session, "UNSET") for session in ("s1", "s2")]
    told = hasattr(LambdaContext, "w3c")  # older ones do not tell of it
    expected.append(("orders", "INTERNAL", "s8" if told else None, "UNSET"))
    assert spans(receiver) == expected
    one, _, loop, *_, called = receiver.spans
    assert (f"00-{called.trace_id}-{called.parent_id}-01" == TRACEPARENT) is told
    assert f"00-{one.trace_id}-{one.parent_id}-01" == TRACEPARENT
    assert [f"00-{link['trace_id']}-{link['span_id']}-01" for link in loop.links] == [TRACEPARENT]
    assert loop.attributes["messaging.batch.message_count"] == 2
    assert [(log.body, log.session) for log in receiver.logs][2:6] == [
        ("handling", None),
        ("record", "s1"),
        ("record", "s2"),
        ("after", None),
    ]
    assert receiver.errors == []


FAILURES = [
    (http(headers=IDS, do="raise"), "error", "ERROR", ("LookupError", "no such order", "s1")),
    (http(headers=IDS, do="log"), "response", "UNSET", ("LookupError", "no such order", "s1")),
    (http(headers=IDS, do="503"), "response", "ERROR", None),
    (sqs("s1", do="raise"), "error", "ERROR", ("LookupError", "no such order", "s1")),
    ({"do": "raise"}, "error", "ERROR", ("LookupError", "no such order", None)),
    (http(headers=IDS, do="object"), "error", "ERROR", "marshal"),
    (http(headers=IDS, do="coroutine"), "error", "ERROR", "marshal"),
    (b"{", "error", None, "unmarshal"),  # there is no event, and so no unit of work
]


def test_an_error_is_one_error_and_the_answer_what_it_was(function, runtime, receiver):
    outcomes = {}
    for bare in (True, False):
        service = function(bare=bare, name=f"bare-{bare}")
        outcomes[bare] = [runtime.invoke(event) for event, *_ in FAILURES]
        service.kill()
    for without, having, (_, kind, _, _) in zip(outcomes[True], outcomes[False], FAILURES, strict=True):
        assert having.kind == without.kind == kind
        if isinstance(without.body, dict) and sys.version_info >= (3, 11):
            for body in (without.body, having.body):
                body.pop("requestId", None)
                body["errorMessage"] = body.get("errorMessage", "").partition(" at 0x")[0]
                body["stackTrace"] = [frame.replace("bare-True", "bare-False") for frame in body.get("stackTrace", [])]
            assert having.body == without.body
    assert outcomes[False][0].seen == 2, "the span and its error, before the answer"
    receiver.wait(spans=len(FAILURES) - 1, errors=len(FAILURES) - 1)
    assert [span.status for span in receiver.spans] == [status for _, _, status, _ in FAILURES if status]
    assert [span.attributes.get("http.status_code") for span in receiver.spans][:3] == [502, 200, 503]
    assert errors(receiver)[:4] == [error for *_, error in FAILURES if isinstance(error, tuple)]
    assert [(error.type.rpartition(".")[2], error.session) for error in receiver.errors[4:]] == [
        ("FaultException", "s1"),
        ("FaultException", "s1"),
        ("FaultException", None),
    ]


@pytest.mark.parametrize(("protocol", "route"), [("asgi", "/items/{number}"), ("wsgi", "/items/<int:number>")])
def test_an_application_behind_an_adapter_is_the_same_request(function, runtime, receiver, protocol, route):
    function()
    headers = {"x-highlight-request": "s1/r1", "host": "api.example.com", protocol: "yes"}
    for number in (7, 13):
        event = http("$default", headers=headers, rawPath=f"/items/{number}")
        event["requestContext"]["http"]["path"] = f"/items/{number}"
        assert runtime.invoke(event).body["statusCode"] == (200 if number == 7 else 500)

    receiver.wait(spans=2, errors=1)
    assert spans(receiver) == [
        (f"GET {route}", "SERVER", "s1", "UNSET"),
        (f"GET {route}", "SERVER", "s1", "ERROR"),
    ]
    assert errors(receiver) == [("LookupError", "no such item", "s1")]
    assert ("item 7", "s1") in [(log.body, log.session) for log in receiver.logs]


# Of a handler that cannot be imported, older ones tell in the first invocation.
TELLS_AT_ONCE = not hasattr(bootstrap, "make_fault_handler")


@pytest.mark.parametrize("start", ["raise", "import"] if TELLS_AT_ONCE else ["raise"])
def test_an_error_of_the_start_is_reported(function, runtime, receiver, start):
    service = function(env={"START": start}, handler="app.handler" if start == "raise" else "missing.handler")
    outcome = runtime.outcome()

    assert outcome.kind == "init/error"
    assert outcome.seen == 1, "sent before Lambda ends the process"
    assert service.process.wait(20) == 1
    receiver.wait(errors=1)
    assert [error.type.rpartition(".")[2] for error in receiver.errors] == [
        "LookupError" if start == "raise" else "FaultException"
    ]
    assert receiver.spans == []


def test_a_receiver_that_hangs_costs_no_more_than_the_time_that_is_left(function, runtime, receiver):
    function().expect("export")
    assert runtime.invoke({}).seen == 1
    receiver.misbehave += [Misbehaviour(hang=True)]
    took = []
    for seconds in (0.6, 30.0):
        runtime.seconds = seconds
        began = time.monotonic()
        assert runtime.invoke({}).kind == "response"
        took.append(time.monotonic() - began)
    assert took[0] < 0.6
    assert took[1] < 0.6, "nor is a receiver waited for that was not there the last time"


def test_from_a_layer_it_finds_itself(function, runtime, receiver, tmp_path):
    """The interpreter knows nothing of the layer at its start, and it hides nothing of the runtime's after."""
    layer = tmp_path / "layer"
    root = WRAPPER.parent.parent
    for package in ("highlight_autoinstrument", "sitecustomize_template"):
        shutil.copytree(root / package, layer / package)
    env = {"LAMBDA_TASK_ROOT": str(tmp_path), "HIGHLIGHT_SERVICE_NAME": "", "OTEL_SERVICE_NAME": "named"}
    service = function(wrapper=layer / "highlight_autoinstrument" / "lambda_wrapper", env=env)
    assert runtime.invoke({}).kind == "response"
    paths = Path(f"/proc/{service.process.pid}/environ").read_bytes().split(b"\0")
    path = next(line for line in paths if line.startswith(b"PYTHONPATH="))
    assert path.decode() == f"PYTHONPATH={layer}/sitecustomize_template{os.pathsep}{layer}"
    receiver.wait(spans=1)
    assert [(span.name, span.service) for span in receiver.spans] == [("orders", "named")]
