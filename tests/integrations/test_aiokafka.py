"""aiokafka: from a request into a topic, and from there into the work of whoever reads it."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support import brokers, hostile
from tests.support.services import wait_until

PRODUCER = """
import json, os
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

made = []

async def send(request):
    way, topic = request.path_params["way"], request.path_params["topic"]
    if not made:
        made.append(AIOKafkaProducer(bootstrap_servers=os.environ["BROKER"], metadata_max_age_ms=200))
        await made[0].start()
    producer = made[0]
    given = [(name, value if value is None else value.encode()) for name, value in await request.json()]
    headers = list(given)
    if way == "send":
        await (await producer.send(topic, b"hello", headers=tuple(headers)))
    elif way == "wait":
        await producer.send_and_wait(topic, b"hello", None, None, None, headers if given else None)
    elif way == "batch":
        batch = producer.create_batch()
        batch.append(key=None, value=b"hello", timestamp=None, headers=headers)
        await (await producer.send_batch(batch, topic, partition=0))
    elif way == "wrong":
        try:
            await producer.send(topic, b"hello", headers=5)
        except TypeError as error:
            return PlainTextResponse(str(error))
    assert headers == given, headers
    return PlainTextResponse("sent")

app = Starlette(routes=[Route("/{way}/{topic}", send, methods=["POST"])])
"""
CONSUMER = """
import asyncio, logging, os, sys
from aiokafka import AIOKafkaConsumer, TopicPartition
from highlight_autoinstrument import message_context, trace

log = logging.getLogger("app")
topic, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])

def work(message):
    log.warning("working on %s of %s", message.offset, message.topic)
    if dict(message.headers).get("fail"):
        raise LookupError("no such order")

async def opened(topic=topic):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=os.environ["BROKER"], auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    return consumer

async def each(consumer, count=number):
    async for message in consumer:
        await asyncio.sleep(0.01)
        yield message
        count -= 1
        if not count:
            break

async def iterate(topic=topic):
    consumer = await opened(topic)
    async for message in each(consumer):
        try:
            work(message)
        except LookupError:
            log.exception("it failed")
    log.warning("still")
    await consumer.stop()
    log.warning("closed")

async def getone():
    consumer = await opened()
    for _ in range(number):
        work(await consumer.getone())
    await consumer.stop()

async def waited():
    consumer = await opened()
    for _ in range(number):
        work(await asyncio.wait_for(consumer.getone(), 10))
    await consumer.stop()

async def getmany():
    consumer, seen = await opened(), []
    while len(seen) < number:
        await consumer.seek_to_beginning()
        seen = sum((await consumer.getmany(timeout_ms=2000)).values(), [])
    log.warning("a batch of %s", len(seen))
    for message in seen:
        with message_context(message):
            log.warning("working on %s", message.offset)
    log.warning("after the batch")
    await consumer.stop()
    log.warning("closed")

async def together():
    await asyncio.gather(iterate(), iterate(topic + "-other"))

async def stopping():
    consumer = await opened()
    try:
        async for message in consumer:
            work(message)
    finally:
        await consumer.stop()

async def uncaught():
    async for message in await opened():
        work(message)

async def supervised():
    task = asyncio.create_task(uncaught())
    try:
        await task
    except LookupError:
        log.exception("the consumer died")

async def grouped():
    if sys.version_info < (3, 11):
        await asyncio.gather(stopping(), asyncio.sleep(60))
    async with asyncio.TaskGroup() as group:
        group.create_task(stopping())
        group.create_task(asyncio.sleep(60))

async def handed_on():
    # Started inside a unit of work; what the library starts with it must not stay there.
    with trace("start"):
        consumer = await opened()
    tasks = set()
    async for message in each(consumer):
        tasks.add(asyncio.create_task(later(message)))
    await consumer.stop()
    await asyncio.gather(*tasks)
    log.warning("closed")

async def later(message):
    await asyncio.sleep(0.3)
    work(message)

asyncio.run(globals()[way]())
"""


@pytest.fixture
def producer(run_service, kafka_broker):
    command = "uvicorn producer:app --port {port} --log-level warning"
    return run_service(command, files={"producer.py": PRODUCER}, env={"BROKER": kafka_broker.address})


def post(producer, path, session=None, headers=()):
    incoming = {"x-highlight-request": f"{session}/r1"} if session else {}
    answer = producer.request("POST", path, incoming, json.dumps(headers).encode())
    assert answer.status == 200, producer.output
    return answer.text


@pytest.fixture
def produce(producer, receiver, kafka_broker):
    """Send messages to topics, each from a request with a session; gives the spans that sent them."""

    def produce(*messages):
        for topic in {topic for topic, _, _ in messages}:
            kafka_broker.topic(topic)
        for number, (topic, session, headers) in enumerate(messages):
            assert post(producer, f"/{'wait' if number % 2 else 'send'}/{topic}", session, headers) == "sent"
        receiver.wait(spans=2 * len(messages))
        sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
        assert [(span.name, span.session) for span in sent] == [(f"send {topic}", s) for topic, s, _ in messages]
        receiver.clear()
        return sent

    return produce


@pytest.fixture
def consume(run_python, kafka_broker, tmp_path):
    def consume(topic, way, number, status=0):
        (tmp_path / "consumer.py").write_text(CONSUMER)
        done = run_python(["consumer.py", topic, way, str(number)], env={"BROKER": kafka_broker.address})
        assert done.returncode == status, done.stderr
        return done

    return consume


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def test_each_message_is_worked_on_under_its_own_ids(produce, consume, receiver):
    sent = produce(
        ("each", "s1", []), ("each", None, [["mine", "yours"]]), ("each", "s2", [["fail", "yes"]]), ("each", "s3", [])
    )
    consume("each", "iterate", 4)

    receiver.wait(spans=4, logs=7)
    sessions = ["s1", None, "s2", "s3"]
    assert spans(receiver) == [("process each", "CONSUMER", session, "UNSET") for session in sessions]
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(s.trace_id, s.span_id) for s in sent]
    logs = [(f"working on {offset} of each", session) for offset, session in enumerate(sessions)]
    logs.insert(3, ("it failed", "s2"))
    assert told(receiver) == [*logs, ("still", "s3"), ("closed", None)]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]


def test_consumers_in_tasks_of_one_loop_keep_their_messages_apart(produce, consume, receiver):
    produce(
        ("together", "s1", []),
        ("together-other", "s3", []),
        ("together", "s2", []),
        ("together-other", None, [["fail", "yes"]]),
    )
    consume("together", "together", 2)

    receiver.wait(spans=4, logs=9)
    assert sorted(map(str, spans(receiver))) == sorted(
        str((f"process {topic}", "CONSUMER", session, "UNSET"))
        for topic, session in (
            ("together", "s1"),
            ("together", "s2"),
            ("together-other", "s3"),
            ("together-other", None),
        )
    )
    assert sorted(map(str, told(receiver))) == sorted(
        map(
            str,
            [
                ("working on 0 of together", "s1"),
                ("working on 1 of together", "s2"),
                ("still", "s2"),
                ("working on 0 of together-other", "s3"),
                ("working on 1 of together-other", None),
                ("it failed", None),
                ("still", None),
                ("closed", None),
                ("closed", None),
            ],
        )
    )
    assert errors(receiver) == [("LookupError", "no such order", None)]


@pytest.mark.parametrize("way", ["getone", "stopping", "uncaught", "supervised", "grouped"])
def test_an_error_that_leaves_the_task_is_one_error_of_its_message(produce, consume, receiver, way):
    topic = f"aio-{way}"
    produce((topic, "s1", []), (topic, "s2", [["fail", "yes"]]))
    consume(topic, way, 2, status=0 if way == "supervised" else 1)

    receiver.wait(spans=2, errors=1)
    assert [(span.session, span.status) for span in receiver.spans] == [("s1", "UNSET"), ("s2", "ERROR")]
    assert [error.session for error in receiver.errors] == ["s2"]
    assert "LookupError: no such order" in receiver.errors[0].stacktrace
    assert receiver.errors[0].record.trace_id == receiver.spans[1].trace_id
    supervised = [("the consumer died", "s2")] if way == "supervised" else []
    assert told(receiver) == [
        (f"working on 0 of {topic}", "s1"),
        (f"working on 1 of {topic}", "s2"),
        *supervised,
    ]


def test_a_message_that_another_task_has_received_breaks_nothing_and_mixes_nothing(produce, consume, receiver):
    """Before Python 3.12 `wait_for` runs in a task of its own, and what that has received ends with it."""
    produce(("waited", "s1", []), ("waited", "s2", []))
    consume("waited", "waited", 2)

    receiver.wait(spans=2, logs=2)
    assert spans(receiver) == [("process waited", "CONSUMER", session, "UNSET") for session in ("s1", "s2")]
    sessions = ("s1", "s2") if sys.version_info >= (3, 12) else (None, None)
    assert told(receiver) == [(f"working on {n} of waited", session) for n, session in enumerate(sessions)]


def test_a_batch_has_links_and_its_messages_their_own_contexts(produce, consume, receiver):
    sent = produce(("aio-batch", "s1", []), ("aio-batch", "s2", []))
    consume("aio-batch", "getmany", 2)

    receiver.wait(spans=3, logs=5)
    whole = next(span for span in receiver.spans if span.links)
    assert spans(receiver) == [("process aio-batch", "CONSUMER", session, "UNSET") for session in (None, "s1", "s2")]
    assert [(link["trace_id"], link["span_id"]) for link in whole.links] == [(s.trace_id, s.span_id) for s in sent]
    assert told(receiver) == [
        ("a batch of 2", None),
        ("working on 0", "s1"),
        ("working on 1", "s2"),
        ("after the batch", None),
        ("closed", None),
    ]


def test_a_task_that_a_message_is_handed_to_goes_on_under_its_ids(produce, consume, receiver):
    produce(("handed-on", "s1", []), ("handed-on", "s2", [["fail", "yes"]]))
    consume("handed-on", "handed_on", 2, status=1)

    receiver.wait(spans=3, logs=2, errors=1)
    assert spans(receiver) == [
        ("start", "INTERNAL", None, "UNSET"),
        ("process handed-on", "CONSUMER", "s1", "UNSET"),
        ("process handed-on", "CONSUMER", "s2", "UNSET"),
    ]
    assert told(receiver) == [("working on 0 of handed-on", "s1"), ("working on 1 of handed-on", "s2")]
    assert [error.type for error in receiver.errors] == ["LookupError"]


STRANGE = [
    [["x-highlight-request", "null"]],
    [["x-highlight-request", "a" * 900_000 + "/r"]],
    [["x-highlight-request", "s\r\nx: y/r"]],
    [["x-highlight-request", "\u00fc/r"]],
    [["x-highlight-request", None]],
    [["traceparent", "00-zz"]],
    [["x-highlight-request", "s9/r9"], ["x-highlight-request", "s8/r8"]],
]


def test_strange_headers_of_a_request_are_sent_as_they_are(produce, consume, receiver):
    produce(*(("aio-strange", "s1", headers) for headers in STRANGE))
    consume("aio-strange", "iterate", len(STRANGE))

    receiver.wait(spans=len(STRANGE))
    assert [span.session for span in receiver.spans] == [None] * 4 + ["s1", "s1", "s9"]
    assert receiver.errors == []


HOSTILE = """
import asyncio, logging, os, sys
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer
from hostile import told
from sent import SENT

topic, broker = os.environ["TOPIC"], os.environ["BROKER"]
log = logging.getLogger("app")

async def receive():
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.seek_to_beginning()
    for _ in SENT:
        message = await consumer.getone()
        number = message.value.decode()
        log.warning(number)
        print(told(number, message.headers))
    await consumer.stop()

if sys.argv[1] == "send":
    producer = Producer({"bootstrap.servers": broker, "message.max.bytes": 3_000_000})
    for number, _, pairs, _ in SENT:
        headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
        producer.produce(topic, str(number).encode(), headers=headers)
        print(told(number, tuple(headers)))
    assert producer.flush(20) == 0
else:
    asyncio.run(receive())
"""


def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, receiver, kafka_broker):
    topic = kafka_broker.topic("aio-hostile")
    env = {"BROKER": kafka_broker.address, "TOPIC": topic}
    hostile.exchange(run_python, receiver, HOSTILE, f"process {topic}", "str bytes NoneType", env, repeated="first")


def test_a_batch_is_sent_as_it_is_and_a_wrong_call_fails_as_ever(producer, consume, receiver, kafka_broker):
    kafka_broker.topic("raw")
    assert "int" in post(producer, "/wrong/raw", "s1")
    assert post(producer, "/batch/raw", "s1") == "sent"
    consume("raw", "getone", 1)

    receiver.wait(spans=3)
    assert [(span.name, span.session) for span in receiver.spans] == [
        ("POST /{way}/{topic}", "s1"),
        ("POST /{way}/{topic}", "s1"),
        ("process raw", None),
    ]
    assert told(receiver) == [("working on 0 of raw", None)]


def test_what_the_library_does_by_itself_belongs_to_no_request(run_service, receiver, tmp_path):
    with brokers.kafka(tmp_path) as broker:
        broker.topic("lost")
        env = {"BROKER": broker.address}
        command = "uvicorn producer:app --port {port} --log-level warning"
        producer = run_service(command, files={"producer.py": PRODUCER}, env=env)
        assert post(producer, "/wait/lost", "s1") == "sent"  # which has started the producer, and its tasks

    def complaints():
        return [log for log in receiver.logs if log.logger.startswith("aiokafka")]

    wait_until(lambda: len(complaints()) >= 2)  # they do not end: the broker is gone
    producer.kill()
    assert {log.session for log in complaints()} == {None}
    assert [(span.name, span.session) for span in receiver.spans] == [
        ("POST /{way}/{topic}", "s1"),
        ("send lost", "s1"),
    ]
