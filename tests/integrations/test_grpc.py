"""gRPC between real processes: clients and servers, sync and aio, all four kinds of method."""

from __future__ import annotations

import contextlib
import json
import subprocess

import grpc
import pytest

from highlight_autoinstrument.grpc_client import destination
from tests.support.grpc_receiver import GrpcReceiver

NEEDED_BY_ALL = """
import asyncio, contextlib, contextvars, gc, json, logging, os, threading, time
import grpc

log = logging.getLogger("shop")
log.setLevel(logging.INFO)

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
REGISTERED = hasattr(grpc.Server, "add_registered_method_handlers")  # what generated code does since gRPC 1.64

def encode(message):
    if message == b"unserializable":
        raise TypeError("no such message")
    return message

def decode(message):
    if message == b"unreadable":
        raise ValueError("not a message")
    return message

def handlers(methods):
    for kind in KINDS:
        make = getattr(grpc, kind + "_rpc_method_handler")
        yield kind, make(methods[kind], request_deserializer=decode, response_serializer=encode)
"""

SERVER = (
    NEEDED_BY_ALL
    + """
from concurrent import futures

def act(command, context):
    text = command.decode()
    log.warning("got %s", text)
    if text == "boom": raise LookupError("no such order")
    if text == "metadata": return json.dumps([list(pair) for pair in context.invocation_metadata()]).encode()
    if text == "wait":
        context.send_initial_metadata(())
        while context.is_active(): time.sleep(0.01)
        log.warning("client gone")
    if text.startswith("abort:"): context.abort(grpc.StatusCode[text[6:]], "as asked")
    if text.startswith("set:"):
        context.set_code(grpc.StatusCode[text[4:]])
        return b""
    return command

def unary_unary(request, context):
    return act(request, context)

def unary_stream(request, context):
    try:
        yield act(request, context)
        if request == b"half": raise LookupError("half-way")
        while request == b"endless":
            yield b"more"
        yield b"end"
    finally:
        log.warning("closing")

def stream_unary(requests, context):
    return b"".join([act(request, context) for request in requests])

def stream_stream(requests, context):
    for request in requests:
        yield act(request, context)

class Interceptor(grpc.ServerInterceptor):
    def __init__(self, name): self.name = name
    def intercept_service(self, continuation, details):
        if "loud" in dict(details.invocation_metadata): log.warning("interceptor %s", self.name)
        return continuation(details)

def clean(request, context):
    # The pool's threads, looked at from the inside: whose unit of work are they in between two calls?
    from highlight_autoinstrument import active
    return repr(contextvars.Context().run(lambda: [pool.submit(active.current).result() for _ in range(8)])).encode()

class Own(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(clean) if details.method == "/own.Handler/clean" else None

pool = futures.ThreadPoolExecutor(4)
server = grpc.server(pool, interceptors=[Interceptor("one"), Interceptor("two")])
server.add_generic_rpc_handlers((Own(),))
if REGISTERED:
    server.add_registered_method_handlers("shop.Orders", dict(handlers(globals())))
else:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", dict(handlers(globals()))),))
server.add_insecure_port("127.0.0.1:" + os.environ["PORT"])
server.start()
server.wait_for_termination()
"""
)

SERVER_AIO = (
    NEEDED_BY_ALL
    + """
from grpc import aio

async def act(command, context):
    text = command.decode()
    log.warning("got %s", text)
    if text == "boom": raise LookupError("no such order")
    if text == "metadata": return json.dumps([list(pair) for pair in context.invocation_metadata()]).encode()
    if text == "wait":
        try:
            await context.send_initial_metadata(())
            await asyncio.Event().wait()
        finally:
            log.warning("client gone")
    if text.startswith("abort:"): await context.abort(grpc.StatusCode[text[6:]], "as asked")
    if text.startswith("set:"):
        context.set_code(grpc.StatusCode[text[4:]])
        return b""
    return command

async def unary_unary(request, context):
    return await act(request, context)

async def unary_stream(request, context):
    try:
        yield await act(request, context)
        if request == b"half": raise LookupError("half-way")
        while request == b"endless":
            yield b"more"
            await asyncio.sleep(0)
        yield b"end"
    finally:
        log.warning("closing")

async def stream_unary(requests, context):
    return b"".join([await act(request, context) async for request in requests])

async def stream_stream(requests, context):  # the old way
    while (request := await context.read()) is not aio.EOF:
        await context.write(await act(request, context))

class Interceptor(aio.ServerInterceptor):
    def __init__(self, name): self.name = name
    async def intercept_service(self, continuation, details):
        if "loud" in dict(details.invocation_metadata): log.warning("interceptor %s", self.name)
        return await continuation(details)

def unary_unary_sync(request, context):
    log.warning("in a thread")
    return request

def unary_stream_sync(request, context):
    log.warning("in a thread")
    yield request

async def main():
    server = aio.server(interceptors=[Interceptor("one"), Interceptor("two")])
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("shop.Orders", dict(handlers(globals()))),
        grpc.method_handlers_generic_handler("shop.Old", {
            "unary_unary": grpc.unary_unary_rpc_method_handler(unary_unary_sync),
            "unary_stream": grpc.unary_stream_rpc_method_handler(unary_stream_sync),
        }),
    ))
    server.add_insecure_port("127.0.0.1:" + os.environ["PORT"])
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""
)
SERVERS = {"sync": SERVER, "aio": SERVER_AIO}

CLIENT = (
    NEEDED_BY_ALL
    + """
from highlight_autoinstrument import trace

channel = grpc.insecure_channel("dns:///127.0.0.1:" + os.environ["SERVER"])
def method(kind, service="shop.Orders"):
    return getattr(channel, kind)(f"/{service}/{kind}", **({"_registered_method": True} if REGISTERED else {}))
headers = {"x-highlight-request": "session1/request1"}
"""
)

CLIENT_AIO = (
    NEEDED_BY_ALL
    + """
from highlight_autoinstrument import trace

headers = {"x-highlight-request": "session1/request1"}
async def run(main, **options):
    async with grpc.aio.insecure_channel("127.0.0.1:" + os.environ["SERVER"], **options) as channel:
        await main(lambda kind, service="shop.Orders": getattr(channel, kind)(f"/{service}/{kind}"))
"""
)

FOUR_KINDS = {
    "sync": """
with trace("job", headers=headers):
    print(method("unary_unary")(b"a"))
    print(list(method("unary_stream")(b"b")))
    print(method("stream_unary")(iter([b"c", b"d"])))
    print(list(method("stream_stream")(iter([b"e", b"f"]))))
channel.close()
""",
    "aio": """
async def main(method):
    async with trace("job", headers=headers):
        print(await method("unary_unary")(b"a"))
        print([response async for response in method("unary_stream")(b"b")])
        print(await method("stream_unary")(iter([b"c", b"d"])))
        print([response async for response in method("stream_stream")(iter([b"e", b"f"]))])
asyncio.run(run(main))
""",
}


@pytest.fixture
def serve(run_service):
    def serve(flavour="sync", **options):
        return run_service("python server.py", files={"server.py": SERVERS[flavour]}, name="orders", **options)

    return serve


@pytest.fixture
def call(run_python):
    def call(program, server, **options):
        source = (CLIENT_AIO if "asyncio.run" in program else CLIENT) + program
        options.setdefault("name", "client")
        quiet = options.pop("quiet", True)
        done = run_python(source, env={"SERVER": str(server.port), **options.pop("env", {})}, **options)
        assert done.returncode == 0, done.stderr
        assert "highlight" not in done.stderr
        assert done.stderr == "" or not quiet, done.stderr
        return done.stdout.splitlines()

    return call


def told(spans):
    return [(span.name, span.kind, span.session, span.attributes.get("rpc.grpc.status_code")) for span in spans]


def bodies(logs):
    return [(log.body, log.session) for log in logs]


@pytest.mark.parametrize("client", ["sync", "aio"])
@pytest.mark.parametrize("server", ["sync", "aio"])
def test_all_kinds_of_method(serve, call, receiver, server, client):
    assert call(FOUR_KINDS[client], serve(server)) == ["b'a'", "[b'b', b'end']", "b'cd'", "[b'e', b'f']"]

    receiver.wait(spans=9, logs=7)
    job, *calls = receiver.spans
    assert (job.name, job.kind, job.session) == ("job", "INTERNAL", "session1")
    assert told(calls) == [
        (f"shop.Orders/{kind}", side, "session1", 0)
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        for side in ("CLIENT", "SERVER")
    ]
    for outgoing, incoming in zip(calls[::2], calls[1::2], strict=True):
        assert outgoing.parent_id == job.span_id
        assert incoming.parent_id == outgoing.span_id
        assert {span.trace_id for span in (job, outgoing, incoming)} == {job.trace_id}
        assert (outgoing.status, incoming.status) == ("UNSET", "UNSET")
        assert outgoing.attributes["server.address"] == "127.0.0.1"
        for span in (outgoing, incoming):
            assert span.attributes["rpc.system"] == "grpc"
            assert f"{span.attributes['rpc.service']}/{span.attributes['rpc.method']}" == span.name
    assert bodies(receiver.logs) == [
        (text, "session1") for text in ("got a", "got b", "closing", "got c", "got d", "got e", "got f")
    ]
    assert [log.span_id for log in receiver.logs] == [calls[at].span_id for at in (1, 3, 3, 5, 5, 7, 7)]
    assert receiver.errors == []


@pytest.mark.parametrize("client", ["sync", "aio"])
def test_a_call_outside_a_unit_of_work_is_left_as_it_is(serve, call, receiver, client):
    server = serve("sync")
    program = {
        "sync": 'print(method("unary_unary")(b"metadata", metadata=(("own", "1"),)).decode())',
        "aio": """
async def main(method):
    print((await method("unary_unary")(b"metadata", metadata=(("own", "1"),))).decode())
asyncio.run(run(main))
""",
    }[client]

    (sent,) = call(program, server)

    assert {key for key, _ in json.loads(sent)} == {"own", "user-agent"}
    receiver.wait(spans=1, logs=1)
    assert told(receiver.spans) == [("shop.Orders/unary_unary", "SERVER", None, 0)]
    assert bodies(receiver.logs) == [("got metadata", None)]


COPIED = {
    "sync": """
with trace("job", headers=headers):
    for own in (None, [("own", "1")], [["own", "1"]], iter([("own", "1")]), grpc.aio.Metadata(("own", "1"))):
        before = repr(own)
        print(method("unary_unary")(b"metadata", metadata=own).decode(), repr(own) == before)
""",
    "aio": """
async def main(method):
    async with trace("job", headers=headers):
        for own in (None, [("own", "1")], (("own", "1"),), grpc.aio.Metadata(("own", "1"))):
            before = repr(own)
            print((await method("unary_unary")(b"metadata", metadata=own)).decode(), repr(own) == before)
asyncio.run(run(main))
""",
}


@pytest.mark.parametrize("client", ["sync", "aio"])
def test_the_callers_metadata_is_copied(serve, call, client):
    lines = call(COPIED[client], serve("sync"))

    assert len(lines) == {"sync": 5, "aio": 4}[client]
    for number, line in enumerate(lines):
        sent, _, unchanged = line.rpartition(" ")
        received = dict(json.loads(sent))
        assert received["x-highlight-request"] == "session1/request1"
        assert received["traceparent"].startswith("00-")
        assert received.get("own") == ("1" if number else None)
        assert unchanged == "True"


def test_an_own_value_arrives_alone(serve, call, receiver):
    server = serve("sync")

    (sent,) = call(
        """
with trace("job", headers=headers):
    print(method("unary_unary")(b"metadata", metadata=(("x-highlight-request", "mine/1"),)).decode())
""",
        server,
    )

    assert [value for key, value in json.loads(sent) if key == "x-highlight-request"] == ["mine/1"]
    receiver.wait(spans=3)
    assert [span.session for span in receiver.spans] == ["session1", "session1", "mine"]


def test_only_tracing_origins_get_the_ids(serve, call, receiver):
    (sent,) = call(
        """
with trace("job", headers=headers):
    print(method("unary_unary")(b"metadata", metadata=iter([("own", "1")])).decode())
""",
        serve("sync"),
        env={"HIGHLIGHT_TRACING_ORIGINS": "api.example.com"},
    )

    assert {key for key, _ in json.loads(sent)} == {"own", "user-agent"}
    receiver.wait(spans=3)
    assert told(receiver.spans) == [
        ("job", "INTERNAL", "session1", None),
        ("shop.Orders/unary_unary", "CLIENT", "session1", 0),
        ("shop.Orders/unary_unary", "SERVER", None, 0),
    ]


@pytest.mark.parametrize("server", ["sync", "aio"])
def test_an_exception_is_one_error_of_its_call(serve, call, receiver, server):
    lines = call(
        """
with trace("job", headers=headers):
    for kind, request in (
        ("unary_unary", b"boom"), ("unary_stream", b"half"), ("stream_unary", [b"boom"]), ("stream_stream", [b"boom"]),
        ("unary_unary", b"unserializable"), ("unary_unary", b"unreadable"), ("unary_stream", b"unserializable"),
    ):
        try:
            result = method(kind)(iter(request) if isinstance(request, list) else request)
            list(result) if kind.endswith("stream") else None
            print("no error")
        except grpc.RpcError as error:
            print(error.code().name)
""",
        serve(server),
    )

    internal = "INTERNAL" if server == "sync" else "UNKNOWN"  # what gRPC answers where messages fail
    assert lines == ["UNKNOWN"] * 4 + [internal] * 3
    receiver.wait(spans=15, errors=7)
    job, *calls = receiver.spans
    assert job.status == "UNSET"
    number = {"INTERNAL": 13, "UNKNOWN": 2}
    assert [(span.kind, span.attributes["rpc.grpc.status_code"], span.status) for span in calls] == [
        (side, number[code], "ERROR") for code in lines for side in ("CLIENT", "SERVER")
    ]
    assert [(error.type, error.message, error.session, error.record) for error in receiver.errors] == [
        ("LookupError", "no such order", "session1", calls[1]),
        ("LookupError", "half-way", "session1", calls[3]),
        ("LookupError", "no such order", "session1", calls[5]),
        ("LookupError", "no such order", "session1", calls[7]),
        ("TypeError", "no such message", "session1", calls[9]),
        ("ValueError", "not a message", "session1", calls[11]),
        ("TypeError", "no such message", "session1", calls[13]),
    ]
    # What gRPC says of it is a log, and of the same session although the call is over.
    logger = {"sync": ("grpc._server", "grpc._common"), "aio": ("grpc._cython.cygrpc",)}[server]
    said = [log for log in receiver.logs if log.logger in logger]
    assert [(log.severity_text, log.session, log.span_id) for log in said] == [
        ("ERROR", "session1", calls[at].span_id) for at in (1, 3, 5, 7, 9, 11, 13)
    ]


@pytest.mark.parametrize("server", ["sync", "aio"])
def test_abort_is_no_error_and_fails_the_span_only_where_the_server_is_at_fault(serve, call, receiver, server):
    commands = ("abort:NOT_FOUND", "abort:PERMISSION_DENIED", "abort:INTERNAL", "set:INVALID_ARGUMENT", "set:DATA_LOSS")
    call(
        f"""
with trace("job", headers=headers):
    for command in {commands!r}:
        try:
            method("unary_unary")(command.encode())
        except grpc.RpcError as error:
            pass
    try:
        list(method("unary_stream")(b"abort:UNAVAILABLE"))
    except grpc.RpcError as error:
        pass
    try:
        method("unary_unary", "shop.Nowhere")(b"")
    except grpc.RpcError as error:
        pass
""",
        serve(server),
    )

    receiver.wait(spans=15)
    assert [
        (span.name, span.attributes["rpc.grpc.status_code"], span.status, span.attributes.get("error.type"))
        for span in receiver.spans
        if span.kind == "SERVER"
    ] == [
        ("shop.Orders/unary_unary", 5, "UNSET", None),
        ("shop.Orders/unary_unary", 7, "UNSET", None),
        ("shop.Orders/unary_unary", 13, "ERROR", "INTERNAL"),
        ("shop.Orders/unary_unary", 3, "UNSET", None),
        ("shop.Orders/unary_unary", 15, "ERROR", "DATA_LOSS"),
        ("shop.Orders/unary_stream", 14, "ERROR", "UNAVAILABLE"),
        ("unknown method", 12, "ERROR", "UNIMPLEMENTED"),
    ]
    assert [(span.status, span.attributes["error.type"]) for span in receiver.spans if span.kind == "CLIENT"] == [
        ("ERROR", code)
        for code in (
            "NOT_FOUND",
            "PERMISSION_DENIED",
            "INTERNAL",
            "INVALID_ARGUMENT",
            "DATA_LOSS",
            "UNAVAILABLE",
            "UNIMPLEMENTED",
        )
    ]
    assert receiver.errors == []


STREAMS = {
    "sync": """
with trace("job", headers=headers):
    stream = method("unary_stream")(b"endless")
    next(stream)
    stream.cancel()
    stream = method("unary_stream")(b"endless")
    next(stream)
    del stream
    waiting = method("stream_unary").future(iter([b"wait"]))
    waiting.initial_metadata()
    waiting.cancel()
""",
    "aio": """
async def main(method):
    async with trace("job", headers=headers):
        stream = method("unary_stream")(b"endless")
        await stream.read()
        stream.cancel()
        stream = method("unary_stream")(b"endless")
        await stream.read()
        del stream
        gc.collect()
        waiting = method("stream_unary")(iter([b"wait"]))
        await waiting.initial_metadata()
        waiting.cancel()
asyncio.run(run(main))
""",
}


@pytest.mark.parametrize("client", ["sync", "aio"])
@pytest.mark.parametrize("server", ["sync", "aio"])
def test_a_stream_that_is_cancelled_or_dropped_ends_on_both_sides(serve, call, receiver, server, client):
    call(STREAMS[client], serve(server))

    receiver.wait(spans=7, logs=6)
    assert [
        (span.kind, span.session, span.attributes.get("rpc.grpc.status_code"), span.status) for span in receiver.spans
    ] == [
        ("INTERNAL", "session1", None, "UNSET"),
        *[(side, "session1", 1, "UNSET") for _ in range(3) for side in ("CLIENT", "SERVER")],
    ]
    assert sorted(bodies(receiver.logs)) == sorted(
        (text, "session1") for text in ["got endless", "closing"] * 2 + ["got wait", "client gone"]
    )
    assert receiver.errors == []


@pytest.mark.parametrize("server", ["sync", "aio"])
def test_a_deadline_fails_the_call_and_not_the_server(serve, call, receiver, server):
    lines = call(
        """
with trace("job", headers=headers):
    try:
        method("unary_unary")(b"wait", timeout=1)
    except grpc.RpcError as error:
        print(error.code().name)
""",
        serve(server),
    )

    assert lines == ["DEADLINE_EXCEEDED"]
    receiver.wait(spans=3, logs=2)
    assert [(span.kind, span.attributes.get("rpc.grpc.status_code"), span.status) for span in receiver.spans] == [
        ("INTERNAL", None, "UNSET"),
        ("CLIENT", 4, "ERROR"),
        ("SERVER", 1, "UNSET"),
    ]
    assert bodies(receiver.logs) == [("got wait", "session1"), ("client gone", "session1")]
    assert receiver.errors == []


UNCHANGED = {
    "sync": """
def look(method, channel):
    metadata = [("own", "1")]
    response, call = method("unary_unary").with_call(b"a", metadata=metadata, timeout=10)
    print(response, type(call).__name__, call.code(), dict(call.trailing_metadata()), metadata)
    future = method("unary_unary").future(b"b")
    called = threading.Event()
    future.add_done_callback(lambda done: (print(type(done).__name__, done is future), called.set()))
    print(type(future).__name__, future.result(), future.exception(), future.code(), future.done(), called.wait(10))
    stream = method("unary_stream")(b"c")
    print(type(stream).__name__, next(stream), list(stream), stream.code(), isinstance(stream, grpc.Future))
    for bad in (b"boom", b"abort:NOT_FOUND"):
        try:
            method("unary_unary")(bad)
        except grpc.RpcError as error:
            print(type(error).__name__, error.code(), error.details())
        future = method("unary_unary").future(bad)
        print(type(future.exception()).__name__, future.exception() is future)
    stream = method("unary_stream")(b"endless")
    print(stream.cancel(), stream.cancelled(), stream.code())
    try:
        next(stream)
    except Exception as error:
        print(error is stream)
    stream = method("unary_stream")(b"endless")
    dropped = stream._state
    del stream
    print(dropped.code, dropped.details)
    print(type(method("stream_unary")).__name__, method("stream_unary").future(iter([b"d"])).result())
    single = grpc.insecure_channel("127.0.0.1:" + os.environ["SERVER"],
        [(grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)])
    print(list(single.unary_stream("/shop.Orders/unary_stream")(b"s")))
    for metadata in ("bad", 7, [("only",)], [("Upper Case", "1")]):
        try:
            method("unary_unary")(b"x", metadata=metadata)
            print("taken")
        except Exception as error:
            print(type(error).__name__, error if isinstance(error, (TypeError, ValueError)) else "")
    class Seen(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, request):
            print(details.metadata)
            return continuation(details, request)
    through = grpc.intercept_channel(channel, Seen())
    print(through.unary_unary("/shop.Orders/unary_unary")(b"i", metadata=(("own", "2"),)))
    channel.close()
    try:
        method("unary_unary")(b"closed")
    except ValueError as error:
        print(error)
with trace("job", headers=headers) if os.environ["INSIDE"] else contextlib.nullcontext():
    look(method, channel)
""",
    "aio": """
class Seen(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation, details, request):
        print(type(details.metadata).__name__, details.metadata["own"] if "own" in details.metadata else None)
        return await continuation(details, request)
class Broken(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation, details, request):
        if request == b"broken": raise KeyError("interceptor")
        return await continuation(details, request)
async def look(method):
    call = method("unary_unary")(b"a", metadata=(("own", "1"),))
    called = asyncio.Event()
    call.add_done_callback(lambda done: (print(type(done).__name__, done is call), called.set()))
    print(type(call).__name__, await call, await call.code(), call.done(), await called.wait())
    stream = method("unary_stream")(b"c")
    print(type(stream).__name__, [response async for response in stream], await stream.code())
    stream = method("stream_stream")()
    await stream.write(b"w")
    print(await stream.read())
    await stream.done_writing()
    print(await stream.read() is grpc.aio.EOF)
    for bad in (b"boom", b"abort:NOT_FOUND"):
        try:
            await method("unary_unary")(bad)
        except grpc.RpcError as error:
            print(type(error).__name__, error.code(), error.details())
    call = method("unary_unary")(b"wait")
    print(call.cancel(), call.cancelled())
    try:
        await call
    except asyncio.CancelledError:
        print("cancelled")
    try:
        await asyncio.wait_for(method("unary_unary")(b"wait"), 0.1)
    except asyncio.TimeoutError:
        print("timeout")
    try:
        await method("unary_unary")(b"broken")
        print("sent")
    except KeyError as error:
        print(error)
    for metadata in ("bad", 7, [("only",)], [("Upper Case", "1")]):
        try:
            await method("unary_unary")(b"x", metadata=metadata)
            print("taken")
        except Exception as error:
            print(type(error).__name__, error if isinstance(error, (TypeError, ValueError)) else "")
async def main(method):
    with trace("job", headers=headers) if os.environ["INSIDE"] else contextlib.nullcontext():
        await look(method)
asyncio.run(run(main))
asyncio.run(run(main, interceptors=[Seen(), Broken()]))
""",
}


@pytest.mark.parametrize("inside", ["", "inside"])
@pytest.mark.parametrize("client", ["sync", "aio"])
def test_nothing_changes_for_the_caller(serve, call, client, inside):
    server = serve("sync" if client == "sync" else "aio")

    bare = call(UNCHANGED[client], server, under_agent=False, env={"INSIDE": ""}, quiet=False)

    assert call(UNCHANGED[client], server, env={"INSIDE": inside}, quiet=False) == bare


def test_the_applications_interceptors_run_in_order_inside_the_call(serve, call, receiver):
    for flavour in ("sync", "aio"):
        call(
            """
with trace("job", headers=headers):
    method("unary_unary")(b"a", metadata=(("loud", "1"),))
""",
            serve(flavour, endpoint=receiver.url),
        )
        receiver.wait(spans=3, logs=3)
        assert bodies(receiver.logs) == [
            ("interceptor one", "session1"),
            ("interceptor two", "session1"),
            ("got a", "session1"),
        ]
        receiver.clear()


def test_sync_methods_of_an_aio_server_run_in_their_call(serve, call, receiver):
    lines = call(
        """
with trace("job", headers=headers):
    print(method("unary_unary", "shop.Old")(b"a"), list(method("unary_stream", "shop.Old")(b"b")))
""",
        serve("aio"),
    )

    assert lines == ["b'a' [b'b']"]
    receiver.wait(spans=5, logs=2)
    assert told(receiver.spans)[1:] == [
        (f"shop.Old/{kind}", side, "session1", 0)
        for kind in ("unary_unary", "unary_stream")
        for side in ("CLIENT", "SERVER")
    ]
    assert bodies(receiver.logs) == [("in a thread", "session1")] * 2


def test_threads_keep_nothing_of_a_call(serve, call, receiver):
    lines = call(
        """
from highlight_autoinstrument import active

with trace("job", headers=headers):
    first = method("unary_stream")(b"endless")  # begins the channel's thread
    next(first)
with trace("other", headers={"x-highlight-request": "session2/request2"}):
    waiting = method("stream_unary").future(iter([b"wait"]))
    waiting.initial_metadata()
    done = threading.Event()
    waiting.add_done_callback(lambda _: (print(active.current()), done.set()))
    waiting.cancel()
    assert done.wait(10)
first.cancel()
print(channel.unary_unary("/own.Handler/clean")(b"").decode())
""",
        serve("sync"),
    )

    assert lines == ["None", str([None] * 8)]
    receiver.wait(spans=7)
    assert sorted(told(receiver.spans), key=str) == sorted(
        [
            ("job", "INTERNAL", "session1", None),
            ("shop.Orders/unary_stream", "CLIENT", "session1", 1),
            ("shop.Orders/unary_stream", "SERVER", "session1", 1),
            ("other", "INTERNAL", "session2", None),
            ("shop.Orders/stream_unary", "CLIENT", "session2", 1),
            ("shop.Orders/stream_unary", "SERVER", "session2", 1),
            ("own.Handler/clean", "SERVER", None, 0),
        ],
        key=str,
    )


@pytest.mark.parametrize("client", ["sync", "aio"])
def test_requests_are_made_in_the_callers_unit_of_work(serve, call, receiver, client):
    made = """
def requests():
    for request in (b"a", b"b"):
        log.warning("sending %s", request.decode())
        yield request
"""
    program = {
        "sync": """
with trace("job", headers=headers):
    method("stream_unary")(requests())
""",
        "aio": """
async def main(method):
    async with trace("job", headers=headers):
        await method("stream_unary")(requests())
asyncio.run(run(main))
""",
    }[client]

    call(made + program, serve("sync"), quiet=False)

    receiver.wait(spans=3, logs=4)
    job = receiver.spans[0]
    assert [(log.body, log.session, log.span_id) for log in receiver.logs if log.body.startswith("sending")] == [
        ("sending a", "session1", job.span_id),
        ("sending b", "session1", job.span_id),
    ]


def test_metadata_that_makes_no_sense_does_no_harm(serve, receiver):
    server = serve("sync")

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        method = channel.unary_unary("/shop.Orders/unary_unary")
        for metadata in (
            (("x-highlight-request", "one/1"), ("x-highlight-request", "two/2")),
            (("x-highlight-request", "null"), ("traceparent", "00-nonsense")),
            (("x-highlight-request-bin", b"\xff\x00"), ("cookie", "sessionSecureID=cookiesession")),
            (("x-highlight-request", "x" * 300), ("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01")),
        ):
            assert method(b"a", metadata=metadata) == b"a"

    receiver.wait(spans=4, logs=4)
    assert [span.session for span in receiver.spans] == ["one", None, "cookiesession", None]
    assert [log.session for log in receiver.logs] == ["one", None, "cookiesession", None]


FRONT = """
import os, grpc
from flask import Flask

import logging
logging.getLogger("werkzeug").disabled = True
app = Flask(__name__)
channel = grpc.insecure_channel("127.0.0.1:" + os.environ["ORDERS"])

@app.get("/buy/<int:number>")
def buy(number):
    try:
        return channel.unary_unary("/shop.Orders/reserve")(str(number).encode())
    except grpc.RpcError as error:
        return error.details(), 502

app.run(port=int(os.environ["PORT"]), threaded=True)
"""

MIDDLE = """
import os, grpc, requests
from concurrent import futures

def reserve(request, context):
    answer = requests.get(f"http://127.0.0.1:{os.environ['STOCK']}/stock/{request.decode()}")
    if answer.status_code >= 500:
        context.abort(grpc.StatusCode.INTERNAL, "the stock failed")
    return answer.content

server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
    "shop.Orders", {"reserve": grpc.unary_unary_rpc_method_handler(reserve)}),))
server.add_insecure_port("127.0.0.1:" + os.environ["PORT"])
server.start()
server.wait_for_termination()
"""

BACK = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/stock/{number}")
def stock(number: int):
    raise LookupError(f"no stock of {number}")
"""


def test_a_chain_over_http_and_grpc_is_one_trace_with_one_error(run_service, receiver):
    back = run_service("uvicorn back:app --port {port} --no-access-log", files={"back.py": BACK}, name="stock")
    middle = run_service("python middle.py", files={"middle.py": MIDDLE}, env={"STOCK": str(back.port)}, name="orders")
    front = run_service("python front.py", files={"front.py": FRONT}, env={"ORDERS": str(middle.port)}, name="front")

    answer = front.get("/buy/7", {"x-highlight-request": "session1/request1"})

    assert (answer.status, answer.text) == (502, "the stock failed")
    receiver.wait(spans=5, errors=1)
    spans = receiver.spans
    assert [(span.service, span.name, span.kind, span.session, span.status) for span in spans] == [
        ("front", "GET /buy/<int:number>", "SERVER", "session1", "ERROR"),
        ("front", "shop.Orders/reserve", "CLIENT", "session1", "ERROR"),
        ("orders", "shop.Orders/reserve", "SERVER", "session1", "ERROR"),
        ("orders", "GET", "CLIENT", "session1", "ERROR"),
        ("stock", "GET /stock/{number}", "SERVER", "session1", "ERROR"),
    ]
    assert [span.parent_id for span in spans] == ["", *(span.span_id for span in spans[:-1])]
    assert len({span.trace_id for span in spans}) == 1
    # The trace goes on with the traceparent, so that behind it the trace id is what joins the records.
    assert {span.attributes["highlight.request_id"] for span in spans} == {"request1"}
    assert [(error.type, error.message, error.session, error.record) for error in receiver.errors] == [
        ("LookupError", "no stock of 7", "session1", spans[-1])
    ]


def exporting(receiver, **more):
    return {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "HIGHLIGHT_OTLP_ENDPOINT": receiver.url, **more}


def test_the_agents_own_export_over_grpc_is_not_traced(serve, call, grpc_receiver):
    call(FOUR_KINDS["sync"], serve("sync", env=exporting(grpc_receiver)), env=exporting(grpc_receiver))

    grpc_receiver.wait(spans=9, logs=7)
    assert {span.name.partition("/")[0] for span in grpc_receiver.spans} == {"job", "shop.Orders"}
    assert len(grpc_receiver.spans) == 9
    assert all(metadata["x-highlight-project"] == "1" for metadata in grpc_receiver.metadata)
    assert not any({"x-highlight-request", "traceparent"} & metadata.keys() for metadata in grpc_receiver.metadata)


def test_the_export_over_grpc_trusts_a_private_authority(serve, call, tmp_path):
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=test"
        " -addext subjectAltName=IP:127.0.0.1",
        shell=True,
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    key, certificate = ((tmp_path / name).read_bytes() for name in ("key.pem", "cert.pem"))
    with contextlib.closing(GrpcReceiver(grpc.ssl_server_credentials([(key, certificate)]))) as receiver:
        env = exporting(receiver, OTEL_EXPORTER_OTLP_CERTIFICATE=str(tmp_path / "cert.pem"))
        call(FOUR_KINDS["sync"], serve("sync", env=env), env=env)
        receiver.wait(spans=9)
        assert len(receiver.spans) == 9


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("localhost:50051", ("localhost", 50051)),
        ("api.example.com", ("api.example.com", None)),
        ("dns:///api.example.com:443", ("api.example.com", 443)),
        ("dns://8.8.8.8/api.example.com:443", ("api.example.com", 443)),
        ("dns:api.example.com:443", ("api.example.com", 443)),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", ("10.0.0.1", 50051)),
        ("ipv6:[2607:f8b0:400e:c00::ef]:443", ("2607:f8b0:400e:c00::ef", 443)),
        ("[::1]:50051", ("::1", 50051)),
        ("::1", ("::1", None)),
        ("unix:/run/orders.sock", ("localhost", None)),
        ("unix:///run/orders.sock", ("localhost", None)),
        ("unix-abstract:orders", ("localhost", None)),
        ("xds:///orders", ("orders", None)),
        ("zookeeper://zk.example.com/orders", ("orders", None)),
        ("", ("", None)),
        ("host:port", ("host", None)),
    ],
)
def test_where_a_target_leads(target, expected):
    assert destination(target) == expected
