"""Azure Functions, by the runtimes and the worker that Microsoft has published: each invocation is one unit of work."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import environment
from tests.support.azure_host import AzureHost

APP = """
import asyncio, logging
from typing import List
import azure.functions as func
from fastapi import FastAPI
from flask import Flask

app = func.FunctionApp()
log = logging.getLogger("app")
barrier = asyncio.Event()
api, site = FastAPI(), Flask("site")

def work(text):
    log.warning("working on %s", text)
    if text == "bad":
        raise LookupError("no such order")
    if text == "logged":
        try:
            raise LookupError("no such order")
        except LookupError:
            log.exception("it failed")
    return func.HttpResponse(text, status_code=503 if text == "busy" else 200)

@app.route("items/{id}")
def item(req: func.HttpRequest) -> func.HttpResponse:
    return work(req.params["do"])

@app.route("later/{id?}")
async def later(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    await asyncio.sleep(0)
    return work(req.params["do"])

@app.route()
def unnamed(req: func.HttpRequest) -> str:
    return "fine"

@app.route("wrong")
def wrong(req: func.HttpRequest) -> func.HttpResponse:
    return object()

@app.route("both/{number}")
async def both(req: func.HttpRequest) -> func.HttpResponse:
    number = req.route_params["number"]
    log.warning("begin %s", number)
    if number == "2":
        barrier.set()
    await barrier.wait()
    log.warning("end %s", number)
    return func.HttpResponse(number)

@app.route("api/{*rest}")
async def asgi(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return await func.AsgiMiddleware(api).handle_async(req, context)

@app.route("site/{*rest}")
def wsgi(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return func.WsgiMiddleware(site.wsgi_app).handle(req, context)

@api.get("/api/api/{order}")
@site.get("/api/site/<order>")
def order(order: str):
    work(order)
    return order

@app.queue_trigger(arg_name="msg", queue_name="jobs", connection="AzureWebJobsStorage")
def queue(msg: func.QueueMessage) -> None:
    work(msg.get_body().decode())

@app.service_bus_queue_trigger(arg_name="msg", queue_name="orders", connection="Bus")
def bus(msg: func.ServiceBusMessage) -> None:
    work(msg.get_body().decode())

@app.event_hub_message_trigger(arg_name="events", event_hub_name="clicks", connection="Hub", cardinality="many")
def hub(events: List[func.EventHubEvent]) -> None:
    work("hub")

@app.kafka_trigger(arg_name="event", topic="news", broker_list="brokers")
def kafka(event: func.KafkaEvent) -> None:
    work("kafka")

@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def timer(timer: func.TimerRequest) -> None:
    work("timer")
"""
STREAMS = """
import logging
import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, StreamingResponse

app = func.FunctionApp()
log = logging.getLogger("app")

@app.route("streams/{id}")
async def streams(req: Request) -> StreamingResponse:
    log.warning("streaming %s", req.path_params["id"])
    async def parts():
        yield "one"
        log.warning("sent one")
    return StreamingResponse(parts())

@app.route("failing/{id}")
def failing(req: Request) -> JSONResponse:
    log.warning("failing %s", req.path_params["id"])
    raise LookupError("no such order")
"""
FUNCTION = """
import logging
import azure.functions as func

log = logging.getLogger("app")

def work(req):
    log.warning("working on %s", req.params["do"])
    if req.params["do"] == "bad":
        raise LookupError("no such order")
    return func.HttpResponse("fine")
"""
V1 = {
    "sync/__init__.py": FUNCTION + "def main(req: func.HttpRequest) -> func.HttpResponse:\n    return work(req)\n",
    "async/__init__.py": FUNCTION
    + "async def main(req: func.HttpRequest) -> func.HttpResponse:\n    return work(req)\n",
    "broken/__init__.py": "import nowhere\n",
}
for name in ("sync", "async", "broken"):
    trigger = {"type": "httpTrigger", "direction": "in", "name": "req", "route": f"{name}/{{id}}"}
    V1[f"{name}/function.json"] = json.dumps(
        {"bindings": [trigger, {"type": "http", "direction": "out", "name": "$return"}]}
    )

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
HOSTS = {"trace_context": {"trace_parent": TRACEPARENT}}
IDS = {"x-highlight-request": "s1/r1"}


@pytest.fixture(scope="module")
def python():
    """The runtimes: they ask for Python 3.13, and run on all that we do."""
    packages = ["azure-functions-runtime", "azure-functions-runtime-v1", "flask", "grpcio", "protobuf"]
    packages += ["azurefunctions-extensions-http-fastapi"]
    return environment.beside("azure", ["--ignore-requires-python", *packages])


@pytest.fixture(scope="module")
def old_python():
    """The last worker that was published as a package, with later ones of what it asks for."""
    python = environment.beside("azure-worker", ["azure-functions<2", "grpcio", "protobuf<3.21"])
    return environment.make(Path(python).parents[1], ["--no-deps", "azure-functions-worker"], project=False)


@pytest.fixture
def start(run_service, python, request):
    """Start a worker with some functions; gives the host that it serves."""
    started = []

    def start(kind="azure_functions_runtime", files=None, bare=False, env=None):
        host = AzureHost(python)
        started.append(host)
        command = [python, "-m", "tests.support.azure_proxy", f"127.0.0.1:{host.port}", kind]
        if kind == "azure_functions_worker":
            command = [request.getfixturevalue("old_python"), "-m", kind, "--host", "127.0.0.1"]
            command += ["--port", str(host.port), "--workerId", "w", "--requestId", "r"]
        service = run_service(command, files=files or {"function_app.py": APP}, bare=bare, wait=None, env=env)
        host.load(service.folder)
        host.service = service
        return host

    yield start
    for host in started:
        host.close()


def http(path, headers=None, method="GET", **more):
    return {"http": {"method": method, "url": f"https://shop.example.com{path}", "headers": headers or {}, **more}}


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def test_a_request_is_a_server_span_and_its_exception_one_error(start, receiver):
    asked = [
        ("item", "/api/items/7?do=good", "good", {"X-Highlight-Request": "s1/r1", "traceparent": TRACEPARENT}),
        ("item", "/api/items/7", "bad", {"x-highlight-request": "s2/r2"}),
        ("later", "/api/later", "good", {"x-highlight-request": "s3/r3, s3/r4"}),
        ("later", "/api/later/9", "bad", {"cookie": "a=b; sessionSecureID=s4"}),
        ("item", "/shop/v1/items/7", "busy", {"x-highlight-request": "null"}),
        ("item", "/api/items/7", "logged", {"x-highlight-request": "s6/r6"}),
        ("unnamed", "/api/unnamed", "", {"x-highlight-request": "s7/r7"}),
        ("wrong", "/api/wrong", "", {"x-highlight-request": "s8/r8"}),
    ]
    answers = {}
    for bare in (True, False):
        host = start(bare=bare)
        answers[bare] = [
            host.invoke(name, http(path, headers, query={"do": do}), **HOSTS) for name, path, do, headers in asked
        ]
    for without, having in zip(answers[True], answers[False], strict=True):
        for answer in (without, having):
            if sys.version_info < (3, 11):  # which shows the agent's frames
                answer["result"].get("exception", {}).pop("stack_trace", None)
        assert json.dumps(having).replace("service2", "service") == json.dumps(without)

    receiver.wait(spans=8, errors=4)
    assert spans(receiver) == [
        ("GET /api/items/{id}", "SERVER", "s1", "UNSET"),
        ("GET /api/items/{id}", "SERVER", "s2", "ERROR"),
        ("GET /api/later/{id?}", "SERVER", "s3", "UNSET"),
        ("GET /api/later/{id?}", "SERVER", "s4", "ERROR"),
        ("GET /shop/v1/items/{id}", "SERVER", None, "ERROR"),
        ("GET /api/items/{id}", "SERVER", "s6", "UNSET"),
        ("GET /api/unnamed", "SERVER", "s7", "UNSET"),
        ("GET /api/wrong", "SERVER", "s8", "ERROR"),
    ]
    assert [span.attributes["http.status_code"] for span in receiver.spans] == [200, 500, 200, 500, 503, 200, 200, 500]
    first, second, _, fourth, fifth, *_ = receiver.spans
    assert (first.highlight_trace, first.trace_id, first.parent_id) == (TRACE, TRACE, SPAN)
    assert (second.highlight_trace, second.parent_id) == ("r2", ""), (
        "the trace that the host began is not the browser's"
    )
    assert (fourth.highlight_trace, fifth.trace_id, fifth.parent_id) == (None, TRACE, SPAN)
    told_of = (
        "http.route",
        "url.path",
        "url.query",
        "server.address",
        "faas.name",
        "faas.invocation_id",
        "faas.trigger",
    )
    assert [first.attributes[name] for name in told_of] == [
        "/api/items/{id}",
        "/api/items/7",
        "do=good",
        "shop.example.com",
        "item",
        "invocation-1",
        "http",
    ]
    assert told(receiver) == [
        ("working on good", "s1"),
        ("working on bad", "s2"),
        ("working on good", "s3"),
        ("working on bad", "s4"),
        ("working on busy", None),
        ("working on logged", "s6"),
        ("it failed", "s6"),
    ]
    assert errors(receiver)[:3] == [
        ("LookupError", "no such order", "s2"),
        ("LookupError", "no such order", "s4"),
        ("LookupError", "no such order", "s6"),
    ]
    assert [(error.type, error.session) for error in receiver.errors[3:]] == [("TypeError", "s8")]


def test_requests_at_the_same_time_and_applications_behind_adapters(start, receiver):
    host = start()
    invocations = [
        host.start(
            "both", http(f"/api/both/{number}", {"x-highlight-request": f"s{number}/r"}, params={"number": number})
        )
        for number in ("1", "2")
    ]
    for invocation in invocations:
        host.answer("invocation_response", invocation_id=invocation)

    receiver.wait(spans=2, logs=4)
    assert sorted(told(receiver)) == [("begin 1", "s1"), ("begin 2", "s2"), ("end 1", "s1"), ("end 2", "s2")]
    assert sorted(spans(receiver)) == [("GET /api/both/{number}", "SERVER", f"s{number}", "UNSET") for number in "12"]

    receiver.clear()
    headers = {"x-highlight-request": "s1/r1", "host": "shop.example.com"}
    for path, name in (("/api/api", "asgi"), ("/api/site", "wsgi")):
        for order in ("good", "bad"):
            host.invoke(name, http(f"{path}/{order}", headers))

    receiver.wait(spans=4, errors=2)
    assert spans(receiver) == [
        ("GET /api/api/{order}", "SERVER", "s1", "UNSET"),
        ("GET /api/api/{order}", "SERVER", "s1", "ERROR"),
        ("GET /api/site/<order>", "SERVER", "s1", "UNSET"),
        ("GET /api/site/<order>", "SERVER", "s1", "ERROR"),
    ]
    assert told(receiver) == [(f"working on {order}", "s1") for order in ("good", "bad", "good", "bad")]
    assert errors(receiver) == [("LookupError", "no such order", "s1")] * 2


def properties(**found):
    return {"trigger_metadata": {name: {"json": json.dumps(value)} for name, value in found.items()}, **HOSTS}


MESSAGE = {"x-highlight-request": "s1/r1", "traceparent": f"00-{TRACE[::-1]}-{SPAN}-01"}
HUB = {"json": '["a", "b"]'}
STRANGE = [None, 7, [], [7], {"x-highlight-request": 7}, {"x-highlight-request": "null"}, {"traceparent": "00-zz"}]
STRANGE += [{"x-highlight-request": "a" * 1_000_000 + "/r"}, {"x-highlight-request": "s\r\nx: y/r"}]


def test_messages_and_other_events(start, receiver):
    host = start()
    invoked = [
        ("queue", {"string": "jobs"}, "msg", HOSTS),
        ("bus", {"string": "bad"}, "msg", properties(ApplicationProperties=MESSAGE, UserProperties=MESSAGE)),
        ("hub", HUB, "events", properties(SystemPropertiesArray=[{}, {}], PropertiesArray=[MESSAGE, MESSAGE])),
        (
            "hub",
            HUB,
            "events",
            properties(SystemPropertiesArray=[{}, {}], PropertiesArray=[MESSAGE, {"x-highlight-request": "s2/r2"}]),
        ),
        ("kafka", {"string": "k"}, "event", properties(Headers=[{"Key": "x-highlight-request", "Value": "s3/r3"}])),
        ("timer", {"json": "{}"}, "timer", HOSTS),
    ]
    for name, data, parameter, more in invoked:
        host.invoke(name, data, parameter, **more)
    receiver.wait(spans=6, errors=1)
    assert spans(receiver) == [
        ("process jobs", "CONSUMER", None, "UNSET"),
        ("process orders", "CONSUMER", "s1", "ERROR"),
        ("process clicks", "CONSUMER", "s1", "UNSET"),
        ("process clicks", "CONSUMER", None, "UNSET"),
        ("process news", "CONSUMER", "s3", "UNSET"),
        ("timer", "INTERNAL", None, "UNSET"),
    ]
    queue, bus, batch, _, kafka, timer = receiver.spans
    assert [(span.trace_id, span.parent_id) for span in (queue, timer)] == [(TRACE, SPAN)] * 2
    assert (bus.trace_id, kafka.parent_id) == (TRACE[::-1], "")
    assert [link["trace_id"] for link in batch.links] == [TRACE[::-1]] * 2
    assert (bus.attributes["messaging.system"], bus.attributes["faas.trigger"]) == ("servicebus", "pubsub")
    assert timer.attributes["faas.trigger"] == "timer"
    assert errors(receiver) == [("LookupError", "no such order", "s1")]
    assert told(receiver)[1] == ("working on bad", "s1")

    receiver.clear()
    for strange in STRANGE:
        answer = host.invoke("hub", {"string": "a"}, "events", **properties(SystemProperties={}, Properties=strange))
        assert answer["result"] == {"status": "Success"}, answer
    receiver.wait(spans=len(STRANGE))
    assert spans(receiver) == [("process clicks", "CONSUMER", None, "UNSET")] * len(STRANGE)
    assert receiver.errors == []


def test_a_request_that_comes_by_http_is_one_span_as_well(start, receiver):
    host = start(files={"function_app.py": STREAMS})
    host.service.port = urlsplit(host.worker_url).port
    for number, (name, status) in enumerate((("streams", 200), ("failing", 500)), 1):
        invocation = host.start(name, http(f"/api/{name}/7", params={"id": "7"}), **HOSTS)
        headers = {"x-ms-invocation-id": invocation, "x-highlight-request": f"s{number}/r"}
        answer = host.service.get(f"/api/{name}/7", headers)
        assert (answer.status, answer.text) == (status, "one" if status == 200 else "Internal Server Error")

    receiver.wait(spans=2, errors=1, logs=3)
    assert spans(receiver) == [
        ("GET /api/streams/{id}", "SERVER", "s1", "UNSET"),
        ("GET /api/failing/{id}", "SERVER", "s2", "ERROR"),
    ]
    assert [span.attributes["http.status_code"] for span in receiver.spans] == [200, 500]
    assert [span.attributes["faas.name"] for span in receiver.spans] == ["streams", "failing"]
    assert told(receiver) == [("streaming 7", "s1"), ("sent one", "s1"), ("failing 7", "s2")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]


def test_where_the_runtime_sets_opentelemetry_up_the_unit_of_work_stays(start, receiver):
    host = start(env={"PYTHON_ENABLE_OPENTELEMETRY": "true"})
    host.invoke("item", http("/api/items/7", IDS, query={"do": "bad"}), **HOSTS)
    host.invoke("later", http("/api/later", {"x-highlight-request": "s2/r2"}, query={"do": "bad"}), **HOSTS)

    receiver.wait(spans=2, errors=2, logs=2)
    assert [span.session for span in receiver.spans] == ["s1", "s2"]
    assert told(receiver) == [("working on bad", "s1"), ("working on bad", "s2")]
    assert errors(receiver) == [("LookupError", "no such order", "s1"), ("LookupError", "no such order", "s2")]


@pytest.mark.parametrize("kind", ["azure_functions_runtime_v1", "azure_functions_worker"])
def test_functions_with_a_file_of_settings(start, receiver, kind):
    answers = {}
    for bare in (True, False):
        host = start(kind, V1, bare=bare)
        answers[bare] = [
            host.invoke(name, http(f"/api/{name}/7", {"x-highlight-request": f"{name}/r1"}, query={"do": do}))
            for name in ("sync", "async")
            for do in ("good", "bad")
        ]
        # What it says of that has Python's path in it.
        assert "exception" in host.answer("function_load_response", function_id="broken")["result"]
    if sys.version_info >= (3, 11):  # 3.10 shows the agent's frames
        assert json.dumps(answers[False]).replace("service2", "service") == json.dumps(answers[True])

    receiver.wait(spans=4, errors=3)
    # To the old worker the host does not say of routes what it says today.
    name = "GET" if kind == "azure_functions_worker" else "GET /api/{}/{{id}}"
    assert spans(receiver) == [
        (name.format(function), "SERVER", function, status)
        for function in ("sync", "async")
        for status in ("UNSET", "ERROR")
    ]
    assert [span.attributes["http.status_code"] for span in receiver.spans] == [200, 500] * 2
    assert told(receiver) == [(f"working on {do}", name) for name in ("sync", "async") for do in ("good", "bad")]
    assert [(error.type, error.session) for error in receiver.errors] == [
        ("ModuleNotFoundError", None),
        ("LookupError", "sync"),
        ("LookupError", "async"),
    ]
    assert host.service.stop() == -15
