"""grpclib: calls from one service to another, in both directions of streaming."""

from __future__ import annotations

import json

import pytest

from tests.support.services import accepts, wait_until

SHOP = """
import asyncio, logging, os
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from grpclib.utils import graceful_exit

log = logging.getLogger("shop")

class Shop:
    async def sell(self, stream):
        request = await stream.recv_message()
        log.warning("selling %s", request.value)
        if request.value == "boom":
            raise ValueError("boom")
        if request.value == "internal":
            raise GRPCError(Status.INTERNAL, "broken")
        if request.value == "absent":
            raise GRPCError(Status.NOT_FOUND, "none left")
        if request.value == "said":
            await stream.send_trailing_metadata(status=Status.UNAVAILABLE, status_message="closed")
            return
        if request.value == "slow":
            await asyncio.sleep(30)
        names = ("x-highlight-request", "traceparent", "own")
        await stream.send_message(StringValue(value=str([stream.metadata.getall(name, []) for name in names])))

    async def chat(self, stream):
        async for request in stream:
            log.warning("heard %s", request.value)
            await stream.send_message(request)

    def __mapping__(self):
        return {
            "/shop.Shop/Sell": Handler(self.sell, Cardinality.UNARY_UNARY, StringValue, StringValue),
            "/shop.Shop/Chat": Handler(self.chat, Cardinality.STREAM_STREAM, StringValue, StringValue),
        }

async def main():
    server = Server([Shop()])
    with graceful_exit([server]):
        await server.start("127.0.0.1", int(os.environ["PORT"]))
        await server.wait_closed()

asyncio.run(main())
"""
CALLS = """
import asyncio, json, sys
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.exceptions import GRPCError

async def call(port, what, metadata=None, timeout=None):
    channel = Channel("127.0.0.1", port)
    given = dict(metadata or {})
    try:
        if what.startswith("chat"):
            method = StreamStreamMethod(channel, "/shop.Shop/Chat", StringValue, StringValue)
            async with method.open(metadata=metadata) as stream:
                for word in what.split():
                    await stream.send_message(StringValue(value=word))
                await stream.end()
                return [message.value async for message in stream]
        name = "/shop.Shop/Nowhere" if what == "nowhere" else "/shop.Shop/Sell"
        method = UnaryUnaryMethod(channel, name, StringValue, StringValue)
        return (await method(StringValue(value=what), metadata=metadata, timeout=timeout)).value
    except (GRPCError, OSError, asyncio.TimeoutError) as error:
        return [type(error).__name__, *(str(part) for part in getattr(error, "args", ()))]
    finally:
        assert (metadata or {}) == given
        channel.close()

if __name__ == "__main__":
    print(json.dumps([asyncio.run(call(*arguments)) for arguments in json.loads(sys.argv[1])]))
"""
APP = """
import asyncio, json, logging, os
import calls
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app.post("/call")
def call():
    return json.dumps(asyncio.run(calls.call(**json.loads(request.data))))

app.run(port=int(os.environ["PORT"]))
"""
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture
def caller(run_service):
    def start(**env):
        return run_service("python app.py", files={"app.py": APP, "calls.py": CALLS}, env=env, name="caller")

    return start


@pytest.fixture
def shop(run_service):
    return lambda **options: run_service("python shop.py", files={"shop.py": SHOP}, name="shop", **options)


def call(service, port, what, incoming=SESSION, **more):
    response = service.request("POST", "/call", incoming, json.dumps({"port": port, "what": what, **more}).encode())
    assert response.status == 200, service.output
    return json.loads(response.text)


def seen(spans):
    return [
        (span.name, span.kind, span.session, span.status, span.attributes.get("rpc.grpc.status_code")) for span in spans
    ]


def errors(receiver):
    return [(error.type, error.message, error.session, error.source) for error in receiver.errors]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "shop"]


def test_a_call_is_one_span_on_either_side(caller, shop, receiver):
    service, server = caller(), shop()
    port = server.port

    answers = [call(service, port, "tea"), call(service, port, "coffee", {})]
    chat = call(service, port, "chat a b")

    receiver.wait(spans=9, logs=5)
    spans = receiver.spans
    sell, talk = "shop.Shop/Sell", "shop.Shop/Chat"
    assert seen(spans) == [
        line
        for session, name in (("s1", sell), (None, sell), ("s1", talk))
        for line in (
            ("POST /call", "SERVER", session, "UNSET", None),
            (name, "CLIENT", session, "UNSET", 0),
            (name, "SERVER", session, "UNSET", 0),
        )
    ]
    assert [span.parent_id for span in spans[2::3]] == [span.span_id for span in spans[1::3]]
    assert spans[1].attributes["server.port"] == port
    sent = [f"00-{span.trace_id}-{span.span_id}-01" for span in spans[1::3]]
    assert answers == [str([["s1/r1"], sent[:1], []]), str([[], sent[1:2], []])]
    assert chat == ["chat", "a", "b"]
    assert told(receiver) == [
        ("selling tea", "s1"),
        ("selling coffee", None),
        *((f"heard {word}", "s1") for word in ("chat", "a", "b")),
    ]
    assert receiver.errors == []


LATE = [("shop.Shop/Sell", "SERVER", "s1", "ERROR", 4), ("shop.Shop/Sell", "SERVER", "s1", "UNSET", 1)]


def test_statuses_and_errors(caller, shop, receiver):
    service, server = caller(), shop()
    whats = ["boom", "internal", "absent", "said", "nowhere"]
    answers = [call(service, server.port, what) for what in whats]
    late = call(service, server.port, "slow", timeout=0.3)
    server.stop()
    wait_until(lambda: not accepts(server.port))
    gone = call(service, server.port, "tea")

    assert [answer[0] for answer in answers] == ["GRPCError"] * 5
    assert (late[0], gone[0]) == ("TimeoutError", "ConnectionRefusedError")
    receiver.wait(spans=19, errors=2)
    server_spans = [span for span in receiver.spans if span.service == "shop"]
    sell = "shop.Shop/Sell"
    assert seen(server_spans) == [
        (sell, "SERVER", "s1", "ERROR", 2),
        (sell, "SERVER", "s1", "ERROR", 13),
        (sell, "SERVER", "s1", "UNSET", 5),
        (sell, "SERVER", "s1", "ERROR", 14),
        # The deadline passes on both sides; if the caller is first, the server sees a call that is cancelled.
        next(late for late in LATE if late == seen(server_spans)[-1]),
    ]
    assert seen(span for span in receiver.spans if span.kind == "CLIENT") == [
        (sell, "CLIENT", "s1", "ERROR", 2),
        (sell, "CLIENT", "s1", "ERROR", 13),
        (sell, "CLIENT", "s1", "ERROR", 5),
        (sell, "CLIENT", "s1", "ERROR", 14),
        ("shop.Shop/Nowhere", "CLIENT", "s1", "ERROR", 2),  # its answer has no content type
        (sell, "CLIENT", "s1", "ERROR", None),
        (sell, "CLIENT", "s1", "ERROR", None),
    ]
    assert errors(receiver) == [
        ("ValueError", "boom", "s1", "span"),
        ("grpclib.exceptions.GRPCError", "(<Status.INTERNAL: 13>, 'broken', None)", "s1", "span"),
    ]
    # What the library logs of it has the session as well, and is no second error.
    assert [log.session for log in receiver.logs if log.body == "Application error"] == ["s1"]


def test_what_is_there_stays_and_the_setting_says_to_whom(caller, shop, receiver):
    server = shop(bare=True)
    own = {"x-highlight-request": "mine/1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00", "own": "1"}

    assert call(caller(), server.port, "tea", metadata=own) == str([["mine/1"], [own["traceparent"]], ["1"]])
    receiver.wait(spans=2)
    receiver.clear()
    service = caller(HIGHLIGHT_TRACING_ORIGINS="elsewhere.example")
    assert call(service, server.port, "tea") == str([[], [], []])
    receiver.wait(spans=2)
    assert seen(receiver.spans)[1:] == [("shop.Shop/Sell", "CLIENT", "s1", "UNSET", 0)]


def test_outside_a_unit_of_work_nothing_is_added(run_python, shop, receiver):
    server = shop(bare=True)
    wanted = [[server.port, what, {"own": "1"}] for what in ("tea", "chat a", "boom", "nowhere")]
    runs = [
        run_python(["calls.py", json.dumps(wanted)], under_agent=under_agent, files={"calls.py": CALLS})
        for under_agent in (False, True)
    ]

    assert runs[0].returncode == runs[1].returncode == 0, runs[1].stderr
    assert (runs[0].stdout, runs[0].stderr) == (runs[1].stdout, runs[1].stderr)
    assert json.loads(runs[1].stdout)[0] == str([[], [], ["1"]])
    assert receiver.exports == []


def test_a_malformed_header_is_no_session(run_python, shop, receiver):
    server = shop()
    headers = ["null", "/", "a" * 300 + "/r"]
    wanted = [[server.port, "tea", {"x-highlight-request": header}] for header in headers]
    done = run_python(["calls.py", json.dumps(wanted)], under_agent=False, files={"calls.py": CALLS})

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [str([[header], [], []]) for header in headers]
    receiver.wait(spans=3, logs=3)
    assert seen(receiver.spans) == [("shop.Shop/Sell", "SERVER", None, "UNSET", 0)] * 3
    assert told(receiver) == [("selling tea", None)] * 3
    assert receiver.errors == []
