"""nats-py: from a request to a subject or a stream, and from there into the work of whoever reads it."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.support import hostile

SERVICE = """
import asyncio, contextlib, functools, logging, os
import nats
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from highlight_autoinstrument import message_context

log = logging.getLogger("app")
state = {}

async def work(message, text="working"):
    log.warning("%s on %s %s", text, message.subject, message.data.decode()[:20])
    await asyncio.sleep(0)
    if message.headers and message.headers.get("fail"):
        raise LookupError("no such order")

class Callback:
    async def method(self, extra, message):
        await work(message, extra)

async def echo(message):
    await work(message)
    await message.respond(b"echo")

async def by_hand(message):
    await work(message)
    await message.ack()

async def one_by_one(subscription):
    while True:
        with contextlib.suppress(nats.errors.TimeoutError):
            await work(await subscription.next_msg(timeout=60))

async def iterate(subscription):
    async for message in subscription.messages:
        try:
            await work(message)
        except LookupError:
            log.exception("it failed")
        if message.data == b"last":
            await subscription.unsubscribe()
    log.warning("no more")

async def pull(number):
    messages = await state["pulled"].fetch(number, timeout=10)
    log.warning("fetched %s", len(messages))
    for message in messages:
        with message_context(message):
            await work(message)
        await message.ack()
    log.warning("still")

async def puller():
    state["pulls"] = asyncio.Queue()
    while True:
        number, answer = await state["pulls"].get()
        answer.set_result(await asyncio.create_task(pull(number)))

async def keys():
    bucket = await state["js"].create_key_value(bucket="keys")
    await bucket.put("a", b"1")
    watcher = await bucket.watchall()
    while (entry := await watcher.updates()) is None:  # nothing is left, which may be said before the first of them
        pass
    await watcher.stop()
    return entry.value.decode()

@contextlib.asynccontextmanager
async def lifespan(app):
    await connect()
    nc, js = state["nc"], state["js"]
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await js.delete_stream("jobs")
    await js.add_stream(name="jobs", subjects=["jobs.*"])
    callback = Callback()
    await nc.subscribe("callback.*", cb=functools.partial(callback.method, "partial"))
    await nc.subscribe("echo", cb=echo)
    await js.subscribe("jobs.push", cb=functools.partial(work, text="pushed"), durable="push")
    await js.subscribe("jobs.hand", cb=by_hand, durable="hand", manual_ack=True)
    state["pulled"] = await js.pull_subscribe("jobs.pull", "pull")
    pushed = await js.subscribe("jobs.next", durable="next")
    tasks = [
        asyncio.create_task(each)
        for each in (
            one_by_one(await nc.subscribe("next")), iterate(await nc.subscribe("iterate")), one_by_one(pushed), puller()
        )
    ]
    yield

async def connect():
    async def told(error):
        log.error("told of %s", error, exc_info=error)

    state["nc"] = await nats.connect(os.environ["BROKER"], error_cb=told)
    state["js"] = state["nc"].jetstream()

async def post(request):
    subject, way = request.path_params["subject"], request.query_params.get("way", "publish")
    given = await request.json()
    headers = dict(given) or None
    nc, js = state["nc"], state["js"]
    try:
        if way == "publish":
            result = await nc.publish(subject, b"hello" * int(request.query_params.get("times", "1")), headers=headers)
        elif way == "last":
            result = await nc.publish(subject, b"last")
        elif way in ("request", "old"):
            result = (await nc.request(subject, b"hello", 5, old_style=way == "old")).data.decode()
        elif way == "js":
            result = (await js.publish(subject, b"hello", headers=headers)).stream
        elif way == "async":
            one = js.publish_async if hasattr(js, "publish_async") else js.publish  # older ones cannot
            done = await one(subject, b"hello")
            result = (await done if asyncio.isfuture(done) else done).stream
        elif way == "pull":
            answer = asyncio.get_running_loop().create_future()
            state["pulls"].put_nowait((int(subject), answer))
            result = await answer
        elif way == "keys":
            result = await keys()
        elif way == "subscribe":
            await nc.subscribe(subject, cb=work)
            result = await nc.flush()
    except Exception as error:
        result = type(error).__name__
    assert headers == (given or None), headers
    return JSONResponse(result)

app = Starlette(routes=[Route("/{subject}", post, methods=["POST"])], lifespan=lifespan)
"""


@pytest.fixture
def service(run_service, nats_url):
    return run_service(
        "uvicorn service:app --port {port} --log-level warning",
        files={"service.py": SERVICE},
        env={"BROKER": nats_url},
    )


@pytest.fixture
def post(service):
    def post(subject, way="publish", session=None, headers=(), times=1):
        incoming = {"x-highlight-request": f"{session}/r1"} if session else {}
        body = json.dumps(dict(headers)).encode()
        return json.loads(service.request("POST", f"/{subject}?way={way}&times={times}", incoming, body).text)

    return post


def spans(receiver):
    """All spans but those of the requests."""
    return [(s.name, s.kind, s.session, s.status) for s in receiver.spans if s.kind != "SERVER"]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def joined(receiver):
    """Whether each span that processes a message is a child of one that sends."""
    sent = {(span.trace_id, span.span_id) for span in receiver.spans if span.kind == "PRODUCER"}
    return [(s.trace_id, s.parent_id) in sent for s in receiver.spans if s.kind == "CONSUMER"]


WAYS = [
    ("callback.a", "publish", None, "partial"),
    ("next", "publish", None, "working"),
    ("iterate", "publish", None, "working"),
    ("jobs.push", "js", "jobs", "pushed"),
    ("jobs.push", "async", "jobs", "pushed"),
    ("jobs.hand", "js", "jobs", "working"),
    ("jobs.next", "js", "jobs", "working"),
]


def test_each_message_is_worked_on_under_its_own_ids(post, receiver):
    for subject, way, answer, text in WAYS:
        for session in ("s1", None, "s2"):
            assert post(subject, way, session) == answer
        receiver.wait(spans=9, logs=3)
        assert sorted(spans(receiver), key=str) == sorted(
            [
                (name, kind, session, "UNSET")
                for session in ("s1", None, "s2")
                for name, kind in ((f"send {subject}", "PRODUCER"), (f"process {subject}", "CONSUMER"))
            ],
            key=str,
        )
        assert joined(receiver) == [True] * 3
        assert told(receiver) == [(f"{text} on {subject} hello", session) for session in ("s1", None, "s2")]
        receiver.clear()


@pytest.mark.parametrize("way", ["request", "old"])
def test_an_answer_is_sent_by_whoever_answers(post, receiver, way):
    assert [post("echo", way, session) for session in ("s1", None)] == ["echo"] * 2

    receiver.wait(spans=8, logs=2)
    assert sorted(spans(receiver), key=str) == [
        (name, kind, session, "UNSET")
        for name, kind in (("process echo", "CONSUMER"), ("send (anonymous)", "PRODUCER"), ("send echo", "PRODUCER"))
        for session in ("s1", None)
    ]
    assert told(receiver) == [("working on echo hello", "s1"), ("working on echo hello", None)]


def test_a_batch_has_links_and_its_messages_their_own_contexts(post, receiver):
    for session in ("s1", "s2"):
        post("jobs.pull", "js", session)
    receiver.wait(spans=4)
    sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
    receiver.clear()
    post("2", "pull")

    receiver.wait(spans=4, logs=4)
    assert spans(receiver) == [("process jobs.pull", "CONSUMER", session, "UNSET") for session in (None, "s1", "s2")]
    whole = next(span for span in receiver.spans if span.links)
    assert [(link["trace_id"], link["span_id"]) for link in whole.links] == [(s.trace_id, s.span_id) for s in sent]
    assert told(receiver) == [
        ("fetched 2", None),
        ("working on jobs.pull hello", "s1"),
        ("working on jobs.pull hello", "s2"),
        ("still", None),
    ]
    receiver.clear()
    post("jobs.pull", "js", "s3")
    post("1", "pull")

    receiver.wait(spans=5, logs=3)
    assert told(receiver) == [
        ("fetched 1", "s3"),
        ("working on jobs.pull hello", "s3"),
        ("still", "s3"),
    ]


def test_an_error_is_one_error_of_its_message(post, receiver):
    """One that the client logs, one of a stream, and one that the application logs."""
    for subject, way, session in (
        ("callback.a", "publish", "s1"),
        ("jobs.hand", "js", "s2"),
        ("iterate", "publish", "s3"),
    ):
        post(subject, way, session, {"fail": "yes"})

    receiver.wait(spans=9, errors=3)
    assert errors(receiver) == [("LookupError", "no such order", session) for session in ("s1", "s2", "s3")]
    assert [(name, status) for name, kind, _, status in spans(receiver) if kind == "CONSUMER"] == [
        ("process callback.a", "ERROR"),
        ("process jobs.hand", "ERROR"),
        ("process iterate", "UNSET"),
    ]


def test_what_fails_to_be_sent_is_a_failed_span_and_no_error(post, receiver):
    assert post("nobody", "request", "s1") == "NoRespondersError"
    assert post("nobody", "js", "s1") == "NoStreamResponseError"

    receiver.wait(spans=4)
    assert spans(receiver) == [("send nobody", "PRODUCER", "s1", "ERROR")] * 2
    assert receiver.errors == receiver.logs == []


def test_what_a_request_has_opened_stays_in_no_request(post, receiver, nats_url):
    post("opened", "subscribe", "s1")
    publish(nats_url, "opened", {"fail": "yes"})

    receiver.wait(spans=2, logs=2)
    assert spans(receiver) == [("process opened", "CONSUMER", None, "ERROR")]
    assert told(receiver) == [("working on opened hello", None), ("told of no such order", None)]
    assert errors(receiver) == [("LookupError", "no such order", None)]


def test_the_end_of_an_iteration(post, receiver):
    post("iterate", "last", "s1")

    receiver.wait(spans=3, logs=2)
    assert told(receiver) == [("working on iterate last", "s1"), ("no more", None)]


def test_keys_and_values_are_left_as_they_are(post, receiver):
    assert post("-", "keys", "s1") == "1"

    receiver.wait(spans=1)
    assert spans(receiver) == []


def test_a_message_of_the_greatest_size_is_sent_without_ids(post, receiver):
    """The server counts headers and hangs up on one that is too long."""
    size = 1_048_576 // 5
    post("callback.a", "publish", "s1", times=size)
    post("callback.a", "publish", "s1", times=1)

    receiver.wait(spans=6, logs=2)
    assert told(receiver) == [
        ("partial on callback.a hellohellohellohello", None),
        ("partial on callback.a hello", "s1"),
    ]


def test_a_message_that_is_sent_on_with_its_headers_keeps_them(post, receiver):
    post("callback.a", "publish", "s1", {"X-Highlight-Request": "s9/r9", "mine": "yours"})

    receiver.wait(spans=3, logs=1)
    assert told(receiver) == [("partial on callback.a hello", "s9")]


def publish(url, subject, headers):
    """Send a message as any client may."""
    address = urlsplit(url)
    lines = "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    head = lines.encode("latin-1")
    body = b"hello"
    with socket.create_connection((address.hostname, address.port)) as connection, connection.makefile("rb") as answers:
        answers.readline()
        connection.sendall(b'CONNECT {"headers":true,"verbose":false}\r\n')
        connection.sendall(f"HPUB {subject} {len(head)} {len(head) + len(body)}\r\n".encode() + head + body + b"\r\n")
        connection.sendall(b"PING\r\n")
        assert answers.readline() == b"PONG\r\n"


HOSTILE = """
import asyncio, logging, os, socket, sys
from urllib.parse import urlsplit
import nats
from hostile import told
from sent import SENT

address = urlsplit(os.environ["BROKER"])
log = logging.getLogger("app")

def send():
    # Not by nats-py, which refuses to send much of this.
    with socket.create_connection((address.hostname, address.port)) as connection:
        answers = connection.makefile("rb")
        answers.readline()
        connection.sendall(b'CONNECT {"headers":true,"verbose":false}\\r\\n')
        for number, _, pairs, _ in SENT:
            head = b"NATS/1.0\\r\\n"
            for name, value in pairs:
                head += name.encode() + b": " + (value.encode() if isinstance(value, str) else value) + b"\\r\\n"
            head += b"\\r\\n"
            body = str(number).encode()
            sizes = f"{len(head)} {len(head) + len(body)}".encode()
            connection.sendall(b"HPUB hostile " + sizes + b"\\r\\n" + head + body + b"\\r\\n")
        connection.sendall(b"PING\\r\\n")
        assert answers.readline() == b"PONG\\r\\n"

async def receive():
    left = list(SENT)
    done = asyncio.Event()

    async def work(message):
        log.warning(message.data.decode())
        print(told(message.data.decode(), message.headers))
        left.pop()
        if not left:
            done.set()

    connection = await nats.connect(os.environ["BROKER"])
    callback = work if os.environ["WAY"] == "callback" else None
    subscription = await connection.subscribe("hostile", cb=callback, pending_bytes_limit=100_000_000)
    await connection.flush()
    await asyncio.to_thread(send)
    if callback:
        await done.wait()
    while left:
        await work(await subscription.next_msg(timeout=10))
    await connection.close()

if sys.argv[1] != "send":  # nobody keeps a message until somebody asks for it
    asyncio.run(receive())
"""


@pytest.mark.parametrize("way", ["callback", "next"])
def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, receiver, nats_url, way):
    env = {"BROKER": nats_url, "WAY": way}
    # NATS takes a megabyte in all, a line more is a header more, and of two by one name nats-py shows the last alone.
    options = {"longest": 1_000_000, "repeated": "last", "without": ("two lines",)}
    hostile.exchange(run_python, receiver, HOSTILE, "process hostile", "str bytes", env, bare=True, **options)
