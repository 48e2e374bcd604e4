"""kafka-python: from a request into a topic, and from there into the work of whoever reads it."""

from __future__ import annotations

import json

import pytest

from tests.support import hostile

PRODUCER = """
import json, logging, os
from flask import Flask, request
from kafka import KafkaProducer

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
made = []

@app.post("/<topic>")
def send(topic):
    if not made:
        made.append(KafkaProducer(bootstrap_servers=os.environ["BROKER"]))
    given = [(name, value.encode()) for name, value in request.json]
    headers = list(given)
    made[0].send(topic, b"hello", headers=headers if given else None).get(10)
    assert headers == given, headers
    return "sent"

app.run(port=int(os.environ["PORT"]))
"""
CONSUMER = """
import gc, logging, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from kafka import KafkaConsumer, TopicPartition
from highlight_autoinstrument import message_context, trace

log = logging.getLogger("app")
topic, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])

def opened():
    consumer = KafkaConsumer(
        bootstrap_servers=os.environ["BROKER"], auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.assign([TopicPartition(topic, 0)])
    return consumer

consumer = opened()

def work(message):
    log.warning("working on %s %s", message.offset, message.value)
    if dict(message.headers).get("fail"):
        raise LookupError("no such order")

if way == "iterate":
    for message in consumer:
        try:
            work(message)
        except LookupError:
            log.exception("it failed")
        if message.offset == number - 1:
            break
elif way == "uncaught":
    for message in consumer:
        work(message)
elif way == "poll":
    seen = 0
    while seen < number:
        for messages in consumer.poll(500, max_records=1).values():
            for message in messages:
                seen += 1
                work(message)
elif way == "batch":
    seen = []
    while len(seen) < number:
        consumer.seek_to_beginning()
        seen = sum(consumer.poll(1000).values(), [])
    log.warning("a batch of %s", len(seen))
    for message in seen:
        with message_context(message):
            log.warning("working on %s", message.offset)
    log.warning("after the batch")
elif way == "finally":
    try:
        for message in consumer:
            work(message)
    finally:
        consumer.close()
elif way == "pool":
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: work(next(consumer))).result()
        pool.submit(log.warning, "another job").result()
        with trace("started"):
            pool.submit(lambda: work(next(consumer))).result()
        pool.submit(log.warning, "another job").result()
        log.warning("%r", pool.submit(lambda: work(next(consumer))).exception())
        pool.submit(log.warning, "another job").result()
elif way == "fork":
    for message in consumer:
        if os.fork():
            os.wait()
            break
        work(message)
elif way == "gone":
    work(next(consumer))
    consumer = None
    gc.collect()
    log.warning("gone")
    with trace("started"):
        consumer = opened()
        work(next(consumer))
    log.warning("ended")
    next(consumer)
    log.warning("next")
    consumer.close()
elif way == "thread":
    ready, done = threading.Event(), threading.Event()
    def poll():
        work(next(consumer))
        ready.set()
        done.wait()
        log.warning("poller")
    thread = threading.Thread(target=poll)
    thread.start()
    ready.wait()
    work(next(consumer))
    done.set()
    thread.join()
if way not in ("poll", "gone"):
    log.warning("still")
consumer.close()
log.warning("closed")
"""


@pytest.fixture
def produce(run_service, receiver, kafka_broker):
    """Send messages to a topic, each from a request with a session; gives the spans that sent them."""
    service = run_service("python producer.py", files={"producer.py": PRODUCER}, env={"BROKER": kafka_broker.address})

    def produce(topic, messages):
        kafka_broker.topic(topic)
        for session, headers in messages:
            incoming = {"x-highlight-request": f"{session}/r1"} if session else {}
            incoming["content-type"] = "application/json"
            assert service.request("POST", f"/{topic}", incoming, json.dumps(headers).encode()).text == "sent"
        receiver.wait(spans=2 * len(messages))
        sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
        assert [(span.name, span.session) for span in sent] == [(f"send {topic}", s) for s, _ in messages]
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
    return [(log.body, log.session) for log in receiver.logs if log.logger in ("app", "root")]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


@pytest.mark.parametrize("way", ["iterate", "poll"])
def test_each_message_is_worked_on_under_its_own_ids(produce, consume, receiver, way):
    topic = f"orders-{way}"
    sent = produce(topic, [("s1", []), (None, []), ("s2", [["mine", "yours"]])])
    consume(topic, way, 3)

    receiver.wait(spans=3, logs=3)
    assert spans(receiver) == [(f"process {topic}", "CONSUMER", session, "UNSET") for session in ("s1", None, "s2")]
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(s.trace_id, s.span_id) for s in sent]
    logs = [(f"working on {offset} b'hello'", session) for offset, session in enumerate(("s1", None, "s2"))]
    assert told(receiver) == [*logs, *([("still", "s2")] if way == "iterate" else []), ("closed", None)]
    assert receiver.errors == []


def test_an_error_that_is_caught_and_logged_is_one_error_of_its_message(produce, consume, receiver):
    produce("caught", [("s1", []), ("s2", [["fail", "yes"]]), ("s3", [])])
    consume("caught", "iterate", 3)

    receiver.wait(spans=3, errors=1)
    assert [span.session for span in receiver.spans] == ["s1", "s2", "s3"]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]


def test_an_error_that_ends_the_program_is_one_error_of_its_message(produce, consume, receiver):
    produce("uncaught", [("s1", []), ("s2", [["fail", "yes"]])])
    consume("uncaught", "uncaught", 2, status=1)

    receiver.wait(spans=2, errors=1)
    assert [(span.session, span.status) for span in receiver.spans] == [("s1", "UNSET"), ("s2", "ERROR")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]


def test_a_batch_has_links_and_its_messages_their_own_contexts(produce, consume, receiver):
    sent = produce("batch", [("s1", []), ("s2", [])])
    consume("batch", "batch", 2)

    receiver.wait(spans=3, logs=6)
    whole = next(span for span in receiver.spans if span.links)
    assert spans(receiver) == [
        ("process batch", "CONSUMER", None, "UNSET"),
        ("process batch", "CONSUMER", "s1", "UNSET"),
        ("process batch", "CONSUMER", "s2", "UNSET"),
    ]
    assert [(link["trace_id"], link["span_id"]) for link in whole.links] == [(s.trace_id, s.span_id) for s in sent]
    assert told(receiver) == [
        ("a batch of 2", None),
        ("working on 0", "s1"),
        ("working on 1", "s2"),
        ("after the batch", None),
        ("still", None),
        ("closed", None),
    ]


def test_an_error_that_closes_the_consumer_belongs_to_its_message(produce, consume, receiver):
    produce("finally", [("s1", []), ("s2", [["fail", "yes"]])])
    consume("finally", "finally", 2, status=1)

    receiver.wait(spans=2, errors=1)
    assert [(span.session, span.status) for span in receiver.spans] == [("s1", "UNSET"), ("s2", "ERROR")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]
    assert receiver.errors[0].record.trace_id == receiver.spans[1].trace_id


def test_a_job_in_a_pool_leaves_its_message_to_no_other(produce, consume, receiver):
    produce("pool", [("s1", []), ("s2", []), ("s3", [["fail", "yes"]])])
    consume("pool", "pool", 3)

    receiver.wait(spans=4, logs=8, errors=1)
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [
        ("process pool", "s1", "UNSET"),
        ("started", None, "UNSET"),
        ("process pool", "s2", "UNSET"),
        ("process pool", "s3", "ERROR"),
    ]
    assert sorted(map(str, told(receiver))) == sorted(
        map(
            str,
            [
                ("working on 0 b'hello'", "s1"),
                ("working on 1 b'hello'", "s2"),
                ("working on 2 b'hello'", "s3"),
                *[("another job", None)] * 3,
                ("LookupError('no such order')", None),
                ("still", None),
                ("closed", None),
            ],
        )
    )
    assert errors(receiver) == [("LookupError", "no such order", "s3")]


def test_a_forked_child_works_on_its_parents_message(produce, consume, receiver):
    produce("fork", [("s1", [["fail", "yes"]])])
    consume("fork", "fork", 1)

    receiver.wait(spans=1, errors=1)
    assert spans(receiver) == [("process fork", "CONSUMER", "s1", "UNSET")]
    assert errors(receiver) == [("LookupError", "no such order", "s1")]
    assert told(receiver) == [("working on 0 b'hello'", "s1"), ("still", "s1"), ("closed", None)]


def test_a_consumer_that_is_gone_leaves_no_message_behind(produce, consume, receiver):
    produce("gone", [("s1", []), ("s2", [])])
    consume("gone", "gone", 2)

    receiver.wait(spans=4, logs=6)
    assert [(span.name, span.session) for span in receiver.spans] == [
        ("process gone", "s1"),
        ("started", None),
        ("process gone", "s1"),
        ("process gone", "s2"),
    ]
    assert told(receiver) == [
        ("working on 0 b'hello'", "s1"),
        ("gone", None),
        ("working on 0 b'hello'", "s1"),
        ("ended", None),
        ("next", "s2"),
        ("closed", None),
    ]
    assert receiver.logs[-1].trace_id == ""


def test_two_threads_that_take_turns_keep_their_messages_apart(produce, consume, receiver):
    produce("thread", [("s1", []), ("s2", [])])
    consume("thread", "thread", 2)

    receiver.wait(spans=2, logs=5)
    assert spans(receiver) == [("process thread", "CONSUMER", session, "UNSET") for session in ("s1", "s2")]
    assert told(receiver) == [
        ("working on 0 b'hello'", "s1"),
        ("working on 1 b'hello'", "s2"),
        ("poller", "s1"),
        ("still", "s2"),
        ("closed", None),
    ]


OLD = """
import os, sys
from kafka import KafkaProducer
from highlight_autoinstrument import trace

producer = KafkaProducer(bootstrap_servers=sys.argv[1], api_version=(0, 10, 2))
with trace("old"):
    print(type(producer.send("old", b"hello")).__name__)
    today = KafkaProducer(bootstrap_servers=sys.argv[1])
    for wrong in ("text", 5, (("a", b"b"),), [("a", "b")], [5]):
        try:
            today.send("old", b"hello", headers=wrong)
        except Exception as error:
            print(type(error).__name__, error)
sys.stdout.flush()
os._exit(0)  # the broker has long forgotten how to talk like an old one
"""


def test_what_an_old_broker_or_the_library_refuses_is_refused_as_ever(run_python, kafka_broker, tmp_path):
    kafka_broker.topic("old")
    (tmp_path / "old.py").write_text(OLD)
    bare = run_python(["old.py", kafka_broker.address], under_agent=False)
    done = run_python(["old.py", kafka_broker.address])

    assert (done.returncode, done.stdout) == (0, bare.stdout)
    assert bare.returncode == 0
    assert "highlight: " not in done.stderr
    assert len(bare.stdout.splitlines()) == 6


STRANGE = [
    ["x-highlight-request", "null"],
    ["x-highlight-request", "a" * 1_000_000 + "/r"],
    ["x-highlight-request", "s\r\nx: y/r"],
    ["x-highlight-request", "\u00fc/r"],
    ["traceparent", "00-zz"],
]


def test_strange_headers_of_a_request_are_sent_as_they_are(produce, consume, receiver):
    produce("strange", [("s1", [header]) for header in STRANGE])
    consume("strange", "iterate", len(STRANGE))

    receiver.wait(spans=len(STRANGE))
    assert [span.session for span in receiver.spans] == [None] * 4 + ["s1"]
    assert receiver.errors == []


HOSTILE = """
import logging, os, sys
from confluent_kafka import Producer
from hostile import told
from kafka import KafkaConsumer, TopicPartition
from sent import SENT

topic, broker = os.environ["TOPIC"], os.environ["BROKER"]
log = logging.getLogger("app")
if sys.argv[1] == "send":
    producer = Producer({"bootstrap.servers": broker, "message.max.bytes": 3_000_000})  # kafka-python sends no nulls
    for number, _, pairs, _ in SENT:
        headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
        producer.produce(topic, str(number).encode(), headers=headers)
        print(told(number, headers))
    assert producer.flush(20) == 0
else:
    consumer = KafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    for _, message in zip(SENT, consumer):
        number = message.value.decode()
        log.warning(number)
        print(told(number, message.headers))
    consumer.close()
"""


def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, receiver, kafka_broker):
    topic = kafka_broker.topic("hostile")
    env = {"BROKER": kafka_broker.address, "TOPIC": topic}
    hostile.exchange(run_python, receiver, HOSTILE, f"process {topic}", "str bytes NoneType", env, repeated="first")


def test_a_message_that_is_sent_on_with_its_headers_keeps_them(produce, consume, receiver):
    produce("again", [("s1", [["x-highlight-request", "s9/r9"], ["x-highlight-request", "s8/r8"]])])
    consume("again", "iterate", 1)

    receiver.wait(spans=1)
    assert [span.session for span in receiver.spans] == ["s9"]
