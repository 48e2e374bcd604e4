"""confluent-kafka: from a request into a topic, and from there into the work of whoever reads it."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tests.support import hostile

PRODUCER = """
import json, logging, os
import confluent_kafka
from confluent_kafka import Producer, SerializingProducer, cimpl
from confluent_kafka.serialization import StringSerializer
from flask import Flask, request

assert confluent_kafka.Producer is cimpl.Producer and issubclass(SerializingProducer, Producer)

class Mine(Producer):
    def produce(self, topic, *args, **kwargs):
        return super().produce(topic, *args, **kwargs)

log = logging.getLogger("app")
logging.getLogger("werkzeug").disabled = True
app = Flask(__name__)

def delivered(error, message):
    log.warning("delivered to %s: %s", message.topic(), error)

conf = {"bootstrap.servers": os.environ["BROKER"], "linger.ms": 0}
producers = {
    "plain": Producer(conf),
    "mine": Mine(conf),
    "told": Producer({**conf, "on_delivery": delivered}),
    "serializing": SerializingProducer({**conf, "value.serializer": StringSerializer()}),
}

@app.post("/<way>/<topic>")
def send(way, topic):
    producer, given = producers[way], request.json
    if type(given) is list:
        given = [tuple(pair) for pair in given]
    headers = given.copy()
    if way == "told":  # its callback comes in another request
        producer.produce(topic, b"hello", b"key", -1, None, None, 0, headers)
    elif way == "plain":
        producer.produce(topic, b"hello", headers=headers or None, on_delivery=delivered)
    else:
        producer.produce(topic, value="hello", headers=headers)
    assert headers == given and type(headers) is type(given), headers
    return "sent"

@app.post("/flush")
def flush():
    return str(sum(producer.flush(20) for producer in producers.values()))

@app.post("/wrong")
def wrong():
    try:
        producers["plain"].produce("x", headers="text")
    except TypeError as error:
        return str(error)

app.run(port=int(os.environ["PORT"]))
"""
CONSUMER = """
import logging, os, sys, threading
from contextlib import closing
import confluent_kafka
from confluent_kafka import Consumer, DeserializingConsumer, KafkaException, TopicPartition, cimpl
from confluent_kafka.serialization import StringDeserializer
from highlight_autoinstrument import message_context

assert confluent_kafka.Consumer is cimpl.Consumer and issubclass(DeserializingConsumer, Consumer)

log = logging.getLogger("app")
topic, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
conf = {
    "bootstrap.servers": os.environ["BROKER"], "group.id": topic, "enable.auto.commit": False,
    "auto.offset.reset": "earliest", "enable.partition.eof": True,
}

class Mine(Consumer):
    def poll(self, timeout):
        return super().poll(timeout)

def open(kind=Consumer, topic=topic, **more):
    consumer = kind({**conf, **more})
    assert isinstance(consumer, Consumer) and not hasattr(Consumer(conf), "__dict__")
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer

def work(message):
    log.warning("working on %s %s", message.offset(), message.value())
    if dict(message.headers()).get("fail"):
        raise LookupError("no such order")

def messages(consumer, number=number):
    seen = 0
    while seen < number:
        message = consumer.poll(5)
        if message is None or message.error():
            log.warning("nothing")
            continue
        seen += 1
        yield message

if way in ("poll", "mine", "deserializing"):
    kind = {"poll": Consumer, "mine": Mine, "deserializing": DeserializingConsumer}[way]
    consumer = open(kind, **({"value.deserializer": StringDeserializer()} if way == "deserializing" else {}))
    for message in messages(consumer):
        try:
            work(message)
        except LookupError:
            log.exception("it failed")
    log.warning("still")
    event = None
    while event is None:
        try:
            event = consumer.poll(5)
        except KafkaException as error:  # so the deserializing one tells of it
            event = error
    log.warning((event.args[0] if isinstance(event, KafkaException) else event.error()).name())
elif way == "batch":
    consumer, seen = open(**{"enable.partition.eof": False}), []
    while len(seen) < number:
        consumer.assign([TopicPartition(topic, 0, 0)])
        seen = consumer.consume(number, 5)
    log.warning("a batch of %s", len(seen))
    for message in seen:
        with message_context(message):
            log.warning("working on %s", message.offset())
    log.warning("after the batch")
elif way == "finally":
    consumer = open()
    try:
        for message in messages(consumer):
            work(message)
    finally:
        consumer.close()
elif way == "with":
    with open() if hasattr(Consumer, "__enter__") else closing(open()) as consumer:
        for message in messages(consumer):
            work(message)
    log.warning("after it")
elif way == "turns":
    consumer, other = open(), open(topic=topic + "-other")
    for message, another in zip(messages(consumer), messages(other)):
        log.warning("working on the other's %s", another.offset())
    log.warning("still")
    other.close()
consumer.close()
log.warning("closed")
try:
    consumer.poll(0)
except RuntimeError as error:
    log.warning("%s", error)
"""


ASYNC = """
import asyncio, logging, os, sys
import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka.aio import AIOConsumer, AIOProducer
from highlight_autoinstrument import trace

log = logging.getLogger("app")
topic, broker = sys.argv[1], os.environ["BROKER"]

async def next_of(consumer):
    while True:
        message = await consumer.poll(1)
        if message is not None and not message.error():
            return message

async def main():
    conf = {"bootstrap.servers": broker, "group.id": topic, "enable.auto.commit": False}
    consumer = AIOConsumer(conf)
    plain = confluent_kafka.Consumer(conf)
    plain.assign([TopicPartition(topic, 0, 1)])
    message, loop = None, asyncio.get_running_loop()
    while message is None:
        message = await loop.run_in_executor(consumer.executor, plain.poll, 1)
    await loop.run_in_executor(consumer.executor, log.warning, "another job")
    plain.close()
    await consumer.assign([TopicPartition(topic, 0, 0)])
    for _ in range(2):
        message = await next_of(consumer)
        log.warning("working on %s", message.offset())
    with trace("sending"):
        producer = AIOProducer({"bootstrap.servers": broker}, batch_size=1)
        sent = await (await producer.produce(topic, b"from a batch"))
    await producer.close()
    log.warning("sent %s", sent.offset())
    seen = []
    while not seen:
        seen = await consumer.consume(1, 1)
    log.warning("working on %s", seen[0].headers())
    await consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = await next_of(consumer)
        raise LookupError("no such order")
    finally:
        await consumer.close()
        log.warning("closed")

asyncio.run(main())
"""


@pytest.fixture
def producer(run_service, kafka_broker):
    return run_service("python producer.py", files={"producer.py": PRODUCER}, env={"BROKER": kafka_broker.address})


@pytest.fixture
def produce(producer, receiver, kafka_broker):
    """Send messages to a topic, each from a request with a session; gives the spans that sent them."""

    def produce(topic, messages, way="serializing"):
        kafka_broker.topic(topic)
        for session, headers in messages:
            post(producer, f"/{way}/{topic}", session, headers)
        assert post(producer, "/flush") == "0"
        receiver.wait(spans=2 * len(messages) + 1)
        sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
        assert [(span.name, span.session) for span in sent] == [(f"send {topic}", s) for s, _ in messages]
        receiver.clear()
        return sent

    return produce


def post(producer, path, session=None, headers=None):
    incoming = {"x-highlight-request": f"{session}/r1"} if session else {}
    incoming["content-type"] = "application/json"
    answer = producer.request("POST", path, incoming, json.dumps(headers or []).encode())
    assert answer.status == 200, producer.output
    return answer.text


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
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app" and log.body != "nothing"]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


@pytest.mark.parametrize("way", ["poll", "mine", "deserializing"])
def test_each_message_is_worked_on_under_its_own_ids(produce, consume, receiver, way):
    topic = f"confluent-{way}"
    sent = produce(topic, [("s1", []), (None, {}), ("s2", {"fail": "yes"}), ("s3", [])])
    consume(topic, way, 4)

    receiver.wait(spans=4, logs=9)
    sessions = ["s1", None, "s2", "s3"]
    assert spans(receiver) == [(f"process {topic}", "CONSUMER", session, "UNSET") for session in sessions]
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(s.trace_id, s.span_id) for s in sent]
    value = "hello" if way == "deserializing" else b"hello"
    logs = [(f"working on {offset} {value}", session) for offset, session in enumerate(sessions)]
    logs.insert(3, ("it failed", "s2"))
    end = [("_PARTITION_EOF", None), ("closed", None), ("Consumer closed", None)]
    assert told(receiver) == [*logs, ("still", "s3"), *end]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]
    assert [log.session for log in receiver.logs if log.body == "nothing"] in ([], [None])


@pytest.mark.parametrize("way", ["finally", "with"])
def test_an_error_that_closes_the_consumer_and_ends_the_program_belongs_to_its_message(produce, consume, receiver, way):
    topic = f"confluent-{way}"
    produce(topic, [("s1", []), ("s2", [["fail", "yes"]])])
    consume(topic, way, 2, status=1)

    receiver.wait(spans=2, errors=1)
    assert [(span.session, span.status) for span in receiver.spans] == [("s1", "UNSET"), ("s2", "ERROR")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]
    assert receiver.errors[0].record.trace_id == receiver.spans[1].trace_id


def test_the_end_of_a_with_is_the_end_of_its_message(produce, consume, receiver):
    produce("confluent-end", [("s1", [])])
    consume("confluent-end", "with", 1)

    receiver.wait(spans=1, logs=4)
    assert spans(receiver) == [("process confluent-end", "CONSUMER", "s1", "UNSET")]
    assert told(receiver) == [
        ("working on 0 b'hello'", "s1"),
        ("after it", None),
        ("closed", None),
        ("Consumer closed", None),
    ]


def test_a_batch_has_links_and_its_messages_their_own_contexts(produce, consume, receiver):
    sent = produce("confluent-batch", [("s1", []), ("s2", [])])
    consume("confluent-batch", "batch", 2)

    receiver.wait(spans=3, logs=6)
    whole = next(span for span in receiver.spans if span.links)
    name = "process confluent-batch"
    assert spans(receiver) == [(name, "CONSUMER", session, "UNSET") for session in (None, "s1", "s2")]
    assert [(link["trace_id"], link["span_id"]) for link in whole.links] == [(s.trace_id, s.span_id) for s in sent]
    assert told(receiver) == [
        ("a batch of 2", None),
        ("working on 0", "s1"),
        ("working on 1", "s2"),
        ("after the batch", None),
        ("closed", None),
        ("Consumer closed", None),
    ]


def test_two_consumers_that_take_turns_keep_their_messages_apart(produce, consume, receiver):
    produce("turns", [("s1", []), ("s2", [])])
    produce("turns-other", [("s3", []), (None, [])])
    consume("turns", "turns", 2)

    receiver.wait(spans=4, logs=5)
    assert [(span.name, span.session) for span in receiver.spans] == [
        ("process turns", "s1"),
        ("process turns-other", "s3"),
        ("process turns", "s2"),
        ("process turns-other", None),
    ]
    assert told(receiver) == [
        ("working on the other's 0", "s3"),
        ("working on the other's 1", None),
        ("still", None),
        ("closed", None),
        ("Consumer closed", None),
    ]


STRANGE = [
    {"x-highlight-request": "null"},
    {"x-highlight-request": "a" * 900_000 + "/r"},
    {"x-highlight-request": "s\r\nx: y/r"},
    {"x-highlight-request": "\u00fc/r"},
    {"x-highlight-request": None},
    [["x-highlight-request", ""], ["x-highlight-request", "s8/r8"]],
    {"traceparent": "00-zz"},
    [["x-highlight-request", "s9/r9"], ["x-highlight-request", "s8/r8"]],
]


def test_strange_headers_of_a_request_are_sent_as_they_are(produce, consume, receiver):
    produce("confluent-strange", [("s1", headers) for headers in STRANGE])
    consume("confluent-strange", "poll", len(STRANGE))

    receiver.wait(spans=len(STRANGE))
    assert [span.session for span in receiver.spans] == [None] * 4 + ["s1", None, "s1", "s9"]
    assert receiver.errors == []


HOSTILE = """
import logging, os, sys
from confluent_kafka import Consumer, Producer, TopicPartition
from hostile import told
from sent import SENT

topic, broker = os.environ["TOPIC"], os.environ["BROKER"]
log = logging.getLogger("app")
if sys.argv[1] == "send":
    producer = Producer({"bootstrap.servers": broker, "message.max.bytes": 3_000_000})
    for number, _, pairs, _ in SENT:
        headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
        producer.produce(topic, str(number).encode(), headers=headers)
        print(told(number, headers or None))
    assert producer.flush(20) == 0
else:
    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    left = len(SENT)
    while left:
        message = consumer.poll(5)
        if message is not None and message.error() is None:
            number = message.value().decode()
            log.warning(number)
            print(told(number, message.headers()))
            left -= 1
    consumer.close()
"""


def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, receiver, kafka_broker):
    topic = kafka_broker.topic("confluent-hostile")
    env = {"BROKER": kafka_broker.address, "TOPIC": topic}
    hostile.exchange(run_python, receiver, HOSTILE, f"process {topic}", "str bytes NoneType", env, repeated="first")


def test_a_delivery_is_told_of_in_the_request_that_sent_the_message(producer, receiver, kafka_broker):
    kafka_broker.topic("delivered")
    for way, session in (("plain", "s1"), ("told", "s2"), ("plain", None)):
        post(producer, f"/{way}/delivered", session, {"a": "b"})
    assert post(producer, "/flush", "s3") == "0"
    assert "expected headers to be dict or list" in post(producer, "/wrong", "s4")

    receiver.wait(spans=8, logs=3)
    assert sorted(told(receiver), key=str) == [
        ("delivered to delivered: None", session) for session in ("s1", "s2", None)
    ]
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [
        ("POST /<way>/<topic>", "s1", "UNSET"),
        ("send delivered", "s1", "UNSET"),
        ("POST /<way>/<topic>", "s2", "UNSET"),
        ("send delivered", "s2", "UNSET"),
        ("POST /<way>/<topic>", None, "UNSET"),
        ("send delivered", None, "UNSET"),
        ("POST /flush", "s3", "UNSET"),
        ("POST /wrong", "s4", "UNSET"),
    ]
    assert receiver.errors == []


if importlib.util.find_spec("confluent_kafka.aio"):  # older ones have none

    def test_the_asynchronous_clients_work_on_each_message_where_it_is_awaited(
        produce, receiver, run_python, kafka_broker, tmp_path
    ):
        produce("confluent-async", [("s1", []), ("s2", [])])
        (tmp_path / "consumer.py").write_text(ASYNC)
        done = run_python(["consumer.py", "confluent-async"], env={"BROKER": kafka_broker.address})
        assert done.returncode == 1, done.stderr
        assert done.stderr.splitlines()[-1] == "LookupError: no such order"

        receiver.wait(spans=6, logs=6, errors=1)
        name = "process confluent-async"
        assert spans(receiver) == [
            (name, "CONSUMER", "s2", "UNSET"),  # received in a pool's thread, and nobody knows what becomes of it
            (name, "CONSUMER", "s1", "UNSET"),
            (name, "CONSUMER", "s2", "UNSET"),
            ("sending", "INTERNAL", "s2", "UNSET"),
            (name, "CONSUMER", None, "UNSET"),  # the library sends its batches without headers
            (name, "CONSUMER", "s1", "ERROR"),
        ]
        assert told(receiver) == [
            ("another job", None),
            ("working on 0", "s1"),
            ("working on 1", "s2"),
            ("sent 2", "s2"),
            ("working on None", None),
            ("closed", None),
        ]
        assert errors(receiver) == [("LookupError", "no such order", "s1")]
