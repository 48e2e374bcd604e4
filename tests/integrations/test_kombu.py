"""kombu: from a request into a queue, and from there into the work of whoever reads it."""

from __future__ import annotations

import json

import pytest

from tests.support import hostile

PRODUCER = """
import json, logging, os
from flask import Flask, request
from kombu import Connection, Exchange, Queue, producers

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
connection = Connection(os.environ["BROKER"])
simple = []

@app.post("/<queue>")
def send(queue):
    given = request.json
    headers = None if given is None else dict(given)
    with producers[connection].acquire(block=True) as producer:
        producer.publish(
            {"hello": "world"}, routing_key=queue, headers=headers, declare=[Queue(queue)],
            retry=True, retry_policy={"max_retries": 3, "interval_start": 0.01},
        )
    assert headers == given, headers
    return "sent"

@app.post("/exchange/<queue>")
def send_to_an_exchange(queue):
    exchange = Exchange(queue + "-exchange", type="direct")
    with producers[connection].acquire(block=True) as producer:
        producer.publish("text", "key", exchange=exchange, declare=[Queue(queue, exchange, routing_key="key")])
    return "sent"

@app.post("/simple/<queue>")
def put(queue):
    with connection.SimpleQueue(queue) as simple:
        simple.put({"hello": "world"}, headers=request.json)
    return "sent"

@app.post("/again/<queue>")
def send_again(queue):
    with Connection(os.environ["BROKER"]) as connection:
        producer = connection.Producer()
        Queue(queue)(producer.channel).declare()
        if connection.transport.driver_type == "amqp":
            connection.connection.transport.sock.shutdown(2)  # the connection breaks
        producer.publish("text", queue, retry=True, retry_policy={"interval_start": 0.01}, declare=[Queue(queue)])
        producer.publish("text", queue)
    return "sent"

app.run(port=int(os.environ["PORT"]))
"""
CONSUMER = """
import logging, os, socket, sys
from functools import partial
from queue import Empty
from kombu import Connection, Consumer, Exchange, Queue
from kombu.mixins import ConsumerMixin
from highlight_autoinstrument import message_context

log = logging.getLogger("app")
queue, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = Connection(os.environ["BROKER"])
done = []

def work(body, message):
    message.ack()
    done.append(message)
    log.warning("working on %s", body)
    if message.headers.get("fail"):
        raise LookupError("no such order")

if way == "mixin":
    class Worker(ConsumerMixin):
        def __init__(self, connection):
            self.connection = connection

        def get_consumers(self, Consumer, channel):
            return [Consumer([Queue(queue)], callbacks=[self.work])]

        def work(self, body, message):
            try:
                work(body, message)
            except LookupError:
                log.exception("it failed")
            self.should_stop = len(done) == number

    Worker(connection).run()
elif way in ("simple", "closed"):
    simple = connection.SimpleQueue(queue)
    for _ in range(number):
        message = simple.get(timeout=10)
        work(message.payload, message)
    for block in (False, True) if way == "simple" else ():
        try:
            simple.get(block=block, timeout=0.1)
        except Empty:
            log.warning("no more")
    simple.close()
else:
    ways = {
        "on_message": {"on_message": partial(lambda sign, message: work(sign + str(message.payload), message), "> ")},
        "uncaught": {"callbacks": [work]},
        "nothing": {"on_message": lambda message: (message.ack(), done.append(message))},
    }
    with Consumer(connection, [Queue(queue)], **ways[way]):
        while len(done) < number:
            connection.drain_events(timeout=10)
log.warning("done")
if way == "nothing":
    for message in done:
        with message_context(message):
            log.warning("looking at it")
"""


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def produce(run_service, receiver, broker):
    """Send messages to a queue, each from a request with a session; gives the spans that sent them."""
    service = run_service("python producer.py", files={"producer.py": PRODUCER}, env={"BROKER": broker})

    def produce(queue, messages, path="", destination=None, each=1):
        for session, headers in messages:
            incoming = {"x-highlight-request": f"{session}/r1"} if session else {}
            incoming["content-type"] = "application/json"
            answer = service.request("POST", f"{path}/{queue}", incoming, json.dumps(headers).encode())
            assert answer.text == "sent", service.output
        receiver.wait(spans=(1 + each) * len(messages))
        assert len(receiver.spans) == (1 + each) * len(messages)
        sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
        name = f"send {destination or queue}"
        assert [(span.name, span.session, span.status) for span in sent] == [
            (name, session, "UNSET") for session, _ in messages for _ in range(each)
        ]
        assert receiver.errors == []
        receiver.clear()
        return sent

    return produce


@pytest.fixture
def consume(run_python, broker, tmp_path):
    def consume(queue, way, number, status=0):
        (tmp_path / "consumer.py").write_text(CONSUMER)
        done = run_python(["consumer.py", queue, way, str(number)], env={"BROKER": broker})
        assert done.returncode == status, done.stderr
        return done

    return consume


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


STRANGE = [
    {"x-highlight-request": "null"},
    {"x-highlight-request": None, "traceparent": 7},
    {"x-highlight-request": "a" * 100_000 + "/r"},  # RabbitMQ takes no more
    {"x-highlight-request": "s\r\nx: y/r"},
    {"x-highlight-request": ["s9/r9"]},
    {"traceparent": "00-zz"},
    {"x-highlight-request": "s9/r9"},
]


def test_messages_are_worked_on_under_their_own_ids(produce, consume, receiver):
    sent = produce("mixin", [("s1", None), (None, {}), ("s2", {"fail": "yes"}), ("s3", {"mine": "yours"})])
    consume("mixin", "mixin", 4)
    receiver.wait(spans=4, logs=6)
    assert spans(receiver) == [("process mixin", "CONSUMER", session, "UNSET") for session in ("s1", None, "s2", "s3")]
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(s.trace_id, s.span_id) for s in sent]
    body = "working on {'hello': 'world'}"
    assert told(receiver) == [
        (body, "s1"),
        (body, None),
        (body, "s2"),
        ("it failed", "s2"),
        (body, "s3"),
        ("done", None),
    ]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]

    receiver.clear()
    sent = produce("by-message", [("s1", None)], "/exchange", "by-message-exchange")
    consume("by-message", "on_message", 1)
    receiver.wait(spans=1, logs=2)
    assert spans(receiver) == [("process by-message-exchange", "CONSUMER", "s1", "UNSET")]
    assert receiver.spans[0].parent_id == sent[0].span_id
    assert told(receiver) == [("working on > text", "s1"), ("done", None)]

    receiver.clear()
    sent = produce("simple", [("s1", None), (None, None), ("s2", {"mine": "yours"})], "/simple")
    consume("simple", "simple", 3)
    receiver.wait(spans=3, logs=6)
    assert spans(receiver) == [("process simple", "CONSUMER", session, "UNSET") for session in ("s1", None, "s2")]
    assert [span.parent_id for span in receiver.spans] == [span.span_id for span in sent]
    assert told(receiver) == [
        (body, "s1"),
        (body, None),
        (body, "s2"),
        ("no more", None),
        ("no more", None),
        ("done", None),
    ]
    assert errors(receiver) == []

    receiver.clear()
    produce("closed", [("s1", None)], "/simple")
    consume("closed", "closed", 1)
    receiver.wait(spans=1, logs=2)
    assert spans(receiver) == [("process closed", "CONSUMER", "s1", "UNSET")]
    assert told(receiver) == [(body, "s1"), ("done", None)]


def test_what_is_strange_or_fails(produce, consume, receiver, broker):
    produce("uncaught", [("s1", None), ("s2", {"fail": "yes"})])
    consume("uncaught", "uncaught", 2, status=1)
    receiver.wait(spans=2, errors=1)
    assert [(span.session, span.status) for span in receiver.spans] == [("s1", "UNSET"), ("s2", "ERROR")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]

    receiver.clear()
    produce("strange", [("s1", headers) for headers in STRANGE])
    consume("strange", "uncaught", len(STRANGE))
    receiver.wait(spans=len(STRANGE))
    assert [span.session for span in receiver.spans] == [None] * 5 + ["s1", "s9"]
    assert len(told(receiver)) == len(STRANGE) + 1
    assert errors(receiver) == []

    receiver.clear()
    if "redis" in broker:
        produce("large", [("s1", {"x-highlight-request": "a" * 1_000_000 + "/r"})])
        consume("large", "uncaught", 1)
        receiver.wait(spans=1, logs=2)
        assert [span.session for span in receiver.spans] == [None]

    receiver.clear()
    produce("again-kombu", [("s1", None)], "/again", each=2)
    consume("again-kombu", "nothing", 2)
    receiver.wait(spans=4, logs=3)
    assert spans(receiver) == [("process again-kombu", "CONSUMER", "s1", "UNSET")] * 4
    assert told(receiver) == [("done", None), ("looking at it", "s1"), ("looking at it", "s1")]


HOSTILE = """
import logging, os, sys
from hostile import told
from kombu import Connection, Consumer, Queue
from sent import SENT

queue = Queue(os.environ["QUEUE"])
log = logging.getLogger("app")
done = []

def work(body, message):
    message.ack()
    done.append(message)
    log.warning(body)
    print(told(body, message.headers))

with Connection(os.environ["BROKER"]) as connection:
    if sys.argv[1] == "send":
        producer = connection.Producer()
        for number, _, pairs, _ in SENT:
            producer.publish(str(number), routing_key=queue.name, headers=dict(pairs), declare=[queue])
            print(told(number, dict(pairs)))
    else:
        with Consumer(connection, [queue], callbacks=[work]):
            while len(done) < len(SENT):
                connection.drain_events(timeout=10)
"""


def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, receiver, broker):
    env = {"BROKER": broker, "QUEUE": "kombu-hostile"}
    # All headers together have to fit into one frame of RabbitMQ's.
    longest = {} if "redis" in broker else {"longest": 100_000}
    kinds = "str int bool list dict NoneType"
    hostile.exchange(run_python, receiver, HOSTILE, "process kombu-hostile", kinds, env, **longest)
