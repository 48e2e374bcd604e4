"""aio-pika: from a request into a queue, and from there into the work of whoever reads it."""

from __future__ import annotations

import json

import pika
import pytest

from tests.support import hostile

PRODUCER = """
import logging, os
import aio_pika, aiormq
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

made = []

async def on_message(message):
    headers = message.header.properties.headers or {}
    logging.getLogger("app").warning("seen %s %s", message.body, headers.get("x-highlight-request"))

async def send(request):
    if not made:
        made.append(await aio_pika.connect_robust(os.environ["BROKER"]))
        made.append(await made[0].channel(on_return_raises=True))
        # Of aiormq; older ones have it as an attribute.
        ask = getattr(made[1], "get_underlay_channel", None)
        beneath = await ask() if ask else made[1].channel
        await beneath.queue_declare("own", auto_delete=True)
        await beneath.basic_consume("own", on_message, no_ack=True)
    if request.path_params["queue"] == "aio-first":
        own = aiormq.spec.Basic.Properties(headers={"a": "b"})
        await beneath.basic_publish(b"first", routing_key="own", properties=own)
        await beneath.basic_publish(b"second", routing_key="own")
        assert own.headers == {"a": "b"}, own.headers
    given = await request.json()
    headers = dict(given)
    message = aio_pika.Message(b"hello", headers=headers, message_id="m1")
    try:
        await made[1].default_exchange.publish(message, request.path_params["queue"])
    except aio_pika.exceptions.PublishError as error:
        return PlainTextResponse("unroutable")
    assert message.headers == headers == given, headers
    return PlainTextResponse("sent")

app = Starlette(routes=[Route("/{queue}", send, methods=["POST"])])
"""
CONSUMER = """
import asyncio, functools, logging, os, sys
import aio_pika
from aio_pika.patterns import RPC, Master
from highlight_autoinstrument import message_context, trace

log = logging.getLogger("app")
queue_name, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = []
done = asyncio.Event()

async def work(message):
    seen.append(message)
    own = len(seen)
    log.warning("working on %s %s", own, message.body)
    await asyncio.sleep(0)
    if message.headers.get("fail"):
        raise LookupError("no such order")
    asyncio.create_task(later(own))

async def later(number):
    log.warning("later %s", number)

class Callback:
    async def method(self, extra, message):
        try:
            async with message.process():
                await work(message)
        finally:
            if len(seen) == number:
                asyncio.get_running_loop().call_later(0.1, done.set)

    async def bound(self, message):
        await self.method(None, message)

async def main():
    connect = aio_pika.connect if way == "iterate" else aio_pika.connect_robust
    connection = await connect(os.environ["BROKER"])
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(queue_name, passive=True)
        if way in ("bound", "partial"):
            callback = Callback().bound if way == "bound" else functools.partial(Callback().method, "extra")
            await queue.consume(callback)
            await done.wait()
        elif way in ("iterate", "robust"):
            try:
                async with queue.iterator(no_ack=True) as messages:
                    async for message in messages:
                        await work(message)
                        if len(seen) == number:
                            await asyncio.sleep(0)
                            break
            except LookupError:
                log.warning("caught")
        elif way == "plain":
            async for message in queue:
                await work(message)
        elif way == "get":
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                await work(message)
                await asyncio.sleep(0)
        elif way == "context":  # a task of its own, since this one works on what it has got last
            messages = [await queue.get(no_ack=True) for _ in range(number)]
            await asyncio.create_task(each(messages))
        log.warning("after")
        try:
            await queue.consume(7)
        except Exception as error:
            print(type(error).__name__, error)

async def each(messages):
    for message in messages:
        with message_context(message):
            log.warning("context %s", message.body)

asyncio.run(main())
"""
PATTERNS = """
import asyncio, logging, os
import aio_pika
from aio_pika.patterns import RPC, Master
from highlight_autoinstrument import trace

log = logging.getLogger("app")

async def multiply(*, x, y):
    log.warning("multiplying")
    if y == 0:
        raise LookupError("no such factor")
    return x * y

async def task(*, number):
    log.warning("task")
    done.set()

async def main():
    global done
    done = asyncio.Event()
    async with await aio_pika.connect_robust(os.environ["BROKER"]) as connection:
        rpc = await RPC.create(await connection.channel())
        await rpc.register("multiply", multiply, auto_delete=True)
        master = Master(await connection.channel())
        await master.create_worker("tasks", task, auto_delete=True)
        with trace("job", session_secure_id="s1"):
            print(await rpc.proxy.multiply(x=2, y=3))
            try:
                await rpc.proxy.multiply(x=2, y=0)
            except LookupError as error:
                print(error)
            await master.create_task("tasks", kwargs=dict(number=1))
        await done.wait()
        await asyncio.sleep(0.05)
        await rpc.close()

asyncio.run(main())
"""


@pytest.fixture
def channel(rabbitmq_url):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection, connection.channel() as channel:
        yield channel


@pytest.fixture
def post(run_service, rabbitmq_url):
    service = run_service(
        "uvicorn producer:app --port {port} --log-level warning",
        files={"producer.py": PRODUCER},
        env={"BROKER": rabbitmq_url},
    )

    def post(queue, session, headers):
        incoming = {"x-highlight-request": f"{session}/r1"} if session else {}
        return service.request("POST", f"/{queue}", incoming, json.dumps(headers).encode()).text

    post.service = service
    return post


@pytest.fixture
def produce(post, receiver, channel):
    """Send messages to a queue, each from a request with a session; gives the spans that sent them."""

    def produce(queue, messages):
        channel.queue_declare(queue)
        for session, headers in messages:
            assert post(queue, session, headers) == "sent"
        receiver.wait(spans=2 * len(messages))
        sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
        assert [(span.name, span.session) for span in sent] == [(f"send {queue}", s) for s, _ in messages]
        assert len(receiver.spans) == 2 * len(messages)
        receiver.clear()
        return sent

    return produce


@pytest.fixture
def consume(run_python, rabbitmq_url, tmp_path):
    def consume(queue, way, number, status=0, **options):
        (tmp_path / "consumer.py").write_text(CONSUMER)
        done = run_python(["consumer.py", queue, way, str(number)], env={"BROKER": rabbitmq_url}, **options)
        assert done.returncode == status, done.stderr
        return done

    return consume


def told(receiver):
    return sorted((log.body, log.session) for log in receiver.logs if log.logger == "app")


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


@pytest.mark.parametrize("way", ["bound", "partial", "iterate", "robust", "get"])
def test_each_message_is_worked_on_under_its_own_ids(produce, consume, receiver, way):
    queue = f"aio-{way}"
    sent = produce(queue, [("s1", {}), (None, {}), ("s2", {"mine": "yours"})])
    consume(queue, way, 3)

    receiver.wait(spans=3, logs=7)
    assert [(span.name, span.kind, span.session, span.status) for span in receiver.spans] == [
        (f"process {queue}", "CONSUMER", session, "UNSET") for session in ("s1", None, "s2")
    ]
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(s.trace_id, s.span_id) for s in sent]
    sessions = list(enumerate(("s1", None, "s2"), 1))
    logs = [(f"working on {number} b'hello'", session) for number, session in sessions]
    logs += [(f"later {number}", session) for number, session in sessions]
    assert told(receiver) == [("after", None), *sorted(logs)]
    assert receiver.errors == []


@pytest.mark.parametrize("way", ["bound", "iterate", "robust", "plain"])
def test_an_error_is_one_error_of_its_message(produce, consume, receiver, way):
    queue = f"aio-failing-{way}"
    produce(queue, [("s1", {}), ("s2", {"fail": "yes"})])
    consume(queue, way, 2, status=1 if way == "plain" else 0)

    receiver.wait(spans=2, errors=1)
    assert [(span.session, span.status) for span in receiver.spans] == [("s1", "UNSET"), ("s2", "ERROR")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]
    assert ("after", None) in told(receiver) or way == "plain"


def test_messages_that_were_fetched_have_their_own_contexts(produce, consume, receiver):
    sent = produce("aio-context", [("s1", {}), ("s2", {})])
    consume("aio-context", "context", 2)

    receiver.wait(spans=4, logs=3)
    assert [(span.session, span.trace_id) for span in receiver.spans] == [
        (session, span.trace_id) for session, span in zip(("s1", "s2") * 2, sent * 2, strict=True)
    ]
    assert told(receiver)[1:] == [("context b'hello'", "s1"), ("context b'hello'", "s2")]


def test_what_the_first_request_has_opened_stays_in_no_request(post, receiver, channel):
    """The connection, its channel and aiormq's own consumer, which is left alone, were made in the request's task."""
    channel.queue_declare("aio-first")
    assert post("aio-first", "s1", {}) == "sent"
    channel.basic_publish("", "own", b"theirs")
    receiver.wait(spans=4, logs=3)

    assert [(span.name, span.session) for span in receiver.spans] == [
        ("POST /{queue}", "s1"),
        ("send own", "s1"),
        ("send own", "s1"),
        ("send aio-first", "s1"),
    ]
    assert told(receiver) == [
        ("seen b'first' s1/r1", None),
        ("seen b'second' s1/r1", None),
        ("seen b'theirs' None", None),
    ]


def test_what_the_broker_gives_back_is_a_failed_span_and_no_error(post, receiver):
    assert post("aio-nobody", "s1", {}) == "unroutable"

    receiver.wait(spans=2)
    assert [(span.name, span.status) for span in receiver.spans] == [
        ("POST /{queue}", "UNSET"),
        ("send aio-nobody", "ERROR"),
    ]
    assert receiver.errors == []


def test_what_arrives_is_what_was_sent_and_the_headers(produce, channel):
    produce("aio-plain", [("s1", {}), ("s1", {"mine": "yours", "x-highlight-request": "s9/r9"})])

    first, second = (channel.basic_get("aio-plain", auto_ack=True)[1] for _ in range(2))
    assert set(first.headers) == {"x-highlight-request", "traceparent"}
    assert first.headers["x-highlight-request"] == "s1/r1"
    assert first.message_id == "m1"
    assert set(second.headers) == {"mine", "x-highlight-request", "traceparent"}
    assert (second.headers["mine"], second.headers["x-highlight-request"]) == ("yours", "s9/r9")


HOSTILE = """
import asyncio, logging, os, sys
import aio_pika, pika
from hostile import told
from sent import SENT

queues = {"receive": os.environ["QUEUE"], "bare": os.environ["QUEUE"] + "-bare"}
log = logging.getLogger("app")

async def receive(name):
    left = list(SENT)
    done = asyncio.Event()

    async def work(message):
        log.warning(message.body.decode())
        print(told(message.body.decode(), dict(message.headers)))  # older ones have a view of them
        left.pop()
        if not left:
            done.set()

    async with await aio_pika.connect_robust(os.environ["BROKER"]) as connection:
        queue = await (await connection.channel()).declare_queue(name, passive=True)
        if os.environ["WAY"] == "callback":
            await queue.consume(work, no_ack=True)
            await done.wait()
        else:
            async with queue.iterator(no_ack=True) as messages:
                async for message in messages:
                    await work(message)
                    if not left:
                        break

if sys.argv[1] == "send":
    with pika.BlockingConnection(pika.URLParameters(os.environ["BROKER"])) as connection:
        channel = connection.channel()
        for queue in queues.values():
            channel.queue_declare(queue)
            for number, _, pairs, _ in SENT:
                properties = pika.BasicProperties(headers=dict(pairs) if pairs else None)
                channel.basic_publish("", queue, str(number).encode(), properties)
else:
    asyncio.run(receive(queues[sys.argv[1]]))
"""


@pytest.mark.parametrize("way", ["callback", "iterate"])
def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, receiver, rabbitmq_url, way):
    queue = f"aio-hostile-{way}"
    env = {"BROKER": rabbitmq_url, "QUEUE": queue, "WAY": way}
    kinds = "str bytes int bool list dict NoneType"
    # All headers together have to fit into one frame.
    hostile.exchange(run_python, receiver, HOSTILE, f"process {queue}", kinds, env, bare=True, longest=100_000)


def test_patterns(run_python, receiver, rabbitmq_url, tmp_path):
    (tmp_path / "patterns.py").write_text(PATTERNS)
    done = run_python(["patterns.py"], env={"BROKER": rabbitmq_url})
    assert done.stdout == "6\nno such factor\n", done.stderr

    receiver.wait(spans=9, logs=3)
    assert sorted((span.name, span.session, span.status) for span in receiver.spans) == [
        ("job", "s1", "UNSET"),
        ("process multiply", "s1", "ERROR"),
        ("process multiply", "s1", "UNSET"),
        ("process tasks", "s1", "UNSET"),
        ("send (anonymous)", "s1", "UNSET"),
        ("send (anonymous)", "s1", "UNSET"),
        ("send multiply", "s1", "UNSET"),
        ("send multiply", "s1", "UNSET"),
        ("send tasks", "s1", "UNSET"),
    ]
    assert told(receiver) == [("multiplying", "s1"), ("multiplying", "s1"), ("task", "s1")]
    assert errors(receiver) == [("LookupError", "no such factor", "s1")]


def test_what_aio_pika_refuses_it_refuses_as_ever(consume, channel):
    channel.queue_declare("aio-refused")
    runs = [consume("aio-refused", "nothing", 0, under_agent=under_agent) for under_agent in (True, False)]

    assert runs[0].stdout == runs[1].stdout
