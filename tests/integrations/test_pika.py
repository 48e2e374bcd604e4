"""pika: from a request into a queue, and from there into the work of whoever reads it."""

from __future__ import annotations

import json

import pika
import pytest

from tests.support import hostile

PRODUCER = """
import json, logging, os
import pika
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
made = []

@app.post("/<queue>")
def send(queue):
    if not made:
        made.append(pika.BlockingConnection(pika.URLParameters(os.environ["BROKER"])).channel())
        made[0].confirm_delivery()
    channel = made[0]
    given = request.json
    headers = dict(given)
    properties = pika.BasicProperties(headers=headers, message_id="m1", delivery_mode=2) if given else None
    try:
        channel.basic_publish(request.args.get("exchange", ""), queue, b"hello", properties, mandatory=True)
    except pika.exceptions.UnroutableError as error:
        return f"unroutable {error.messages[0].properties.message_id}"
    if given:
        assert properties.headers is headers and headers == dict(given), headers
    return "sent"

app.run(port=int(os.environ["PORT"]), threaded=False)
"""
CONSUMER = """
import asyncio, logging, os, sys
import pika
from pika.adapters.asyncio_connection import AsyncioConnection

log = logging.getLogger("app")
queue, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
parameters = pika.URLParameters(os.environ["BROKER"])
seen = []

def work(channel, method, properties, body):
    seen.append(properties.headers)
    log.warning("working on %s %s", len(seen), body)
    if (properties.headers or {}).get("fail"):
        raise LookupError("no such order")

class Callback:
    def method(self, channel, method, properties, body):
        try:
            work(channel, method, properties, body)
        finally:
            if len(seen) == number:
                self.stop(channel)

    def stop(self, channel):
        channel.stop_consuming()

def blocking():
    return pika.BlockingConnection(parameters)

def later(kind):
    callback = Callback()
    callback.stop = lambda channel: channel.connection.close()

    def opened(channel):
        if way == "select":
            channel.basic_consume(queue, callback.method, auto_ack=True)
        else:
            def got(channel, *args):
                callback.method(channel, *args)
                if len(seen) < number:
                    channel.basic_get(queue, got, auto_ack=True)
            channel.basic_get(queue, got, auto_ack=True)

    def closed(connection, reason):
        connection.ioloop.stop()

    connection = kind(
        parameters, lambda c: c.channel(on_open_callback=opened), on_close_callback=closed
    )
    try:
        connection.ioloop.run_forever() if kind is AsyncioConnection else connection.ioloop.start()
    finally:
        log.warning("stopped")

if way == "callback":
    with blocking() as connection, connection.channel() as channel:
        channel.basic_consume(queue, Callback().method, auto_ack=True)
        channel.start_consuming()
        log.warning("after")
elif way == "iterate":
    with blocking() as connection, connection.channel() as channel:
        messages = channel.consume(queue, auto_ack=True, inactivity_timeout=0.2)
        for method, properties, body in messages:
            if method is None:
                log.warning("nothing came")
                break
            work(channel, method, properties, body)
        channel.cancel()
        log.warning("after")
elif way == "get":
    with blocking() as connection, connection.channel() as channel:
        while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
            work(channel, *message)
        log.warning("after")
elif way == "select":
    later(pika.SelectConnection)
elif way == "asyncio":
    later(AsyncioConnection)
elif way == "refused":
    with blocking() as connection, connection.channel() as channel:
        for callback in (None, 7):
            try:
                channel.basic_consume(queue, callback)
            except Exception as error:
                print(type(error).__name__, error)
        try:
            channel.basic_publish("", queue, "x", pika.BasicProperties(headers="none"))
        except Exception as error:
            print(type(error).__name__, error)
"""


@pytest.fixture
def channel(rabbitmq_url):
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection, connection.channel() as channel:
        yield channel


@pytest.fixture
def produce(run_service, receiver, rabbitmq_url, channel):
    """Send messages to a queue, each from a request with a session; gives the spans that sent them."""
    service = run_service("python producer.py", files={"producer.py": PRODUCER}, env={"BROKER": rabbitmq_url})

    def produce(queue, messages):
        channel.queue_declare(queue)
        for session, headers in messages:
            incoming = {"x-highlight-request": f"{session}/r1"} if session else {}
            incoming["content-type"] = "application/json"
            assert service.request("POST", f"/{queue}", incoming, json.dumps(headers).encode()).text == "sent"
        receiver.wait(spans=2 * len(messages))
        sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
        assert [(span.name, span.session) for span in sent] == [(f"send {queue}", s) for s, _ in messages]
        assert len(receiver.spans) == 2 * len(messages)
        receiver.clear()
        return sent

    produce.service = service
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
    return [(log.body, log.session) for log in receiver.logs if log.logger in ("app", "root")]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


AFTER = {
    "callback": [("after", None)],
    "iterate": [("nothing came", None), ("after", None)],
    "get": [("after", None)],
    "select": [("stopped", None)],
    "asyncio": [("stopped", None)],
}


@pytest.mark.parametrize("way", AFTER)
def test_each_message_is_worked_on_under_its_own_ids(produce, consume, receiver, way):
    queue = f"orders-{way}"
    sent = produce(queue, [("s1", {}), (None, {}), ("s2", {"mine": "yours"})])
    consume(queue, way, 3)

    receiver.wait(spans=3, logs=4)
    assert [(span.name, span.kind, span.session, span.status) for span in receiver.spans] == [
        (f"process {queue}", "CONSUMER", session, "UNSET") for session in ("s1", None, "s2")
    ]
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(s.trace_id, s.span_id) for s in sent]
    logs = [(f"working on {number} b'hello'", session) for number, session in enumerate(("s1", None, "s2"), 1)]
    assert told(receiver) == logs + AFTER[way]
    assert receiver.errors == []


@pytest.mark.parametrize("way", ["callback", "iterate", "select"])
def test_an_error_is_one_error_of_its_message(produce, consume, receiver, way):
    queue = f"failing-{way}"
    produce(queue, [("s1", {}), ("s2", {"fail": "yes"})])
    consume(queue, way, 2, status=0 if way == "select" else 1)  # pika logs it there, and closes the connection

    receiver.wait(spans=2, errors=1)
    assert [(span.session, span.status) for span in receiver.spans] == [("s1", "UNSET"), ("s2", "ERROR")]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]


def test_what_the_broker_gives_back_is_a_failed_span_and_no_error(produce, receiver):
    answer = produce.service.request(
        "POST",
        "/nobody",
        {"x-highlight-request": "s1/r1", "content-type": "application/json"},
        b'{"mine": "yours"}',
    )

    assert answer.text == "unroutable m1"
    receiver.wait(spans=2)
    assert [(span.name, span.kind, span.status) for span in receiver.spans] == [
        ("POST /<queue>", "SERVER", "UNSET"),
        ("send nobody", "PRODUCER", "ERROR"),
    ]
    assert receiver.errors == []


def test_what_arrives_is_what_was_sent_and_the_headers(produce, channel):
    produce("plain", [("s1", {}), ("s1", {"mine": "yours", "number": 7})])

    received = [channel.basic_get("plain", auto_ack=True) for _ in range(2)]
    assert [body for *_, body in received] == [b"hello"] * 2
    first, second = (properties for _, properties, _ in received)
    assert set(first.headers) == {"x-highlight-request", "traceparent"}
    assert first.headers["x-highlight-request"] == "s1/r1"
    assert (second.message_id, second.delivery_mode) == ("m1", 2)
    assert {name: second.headers[name] for name in ("mine", "number")} == {"mine": "yours", "number": 7}
    assert len(second.headers) == 4


HOSTILE = """
import logging, os, sys
import pika
from hostile import told
from sent import SENT

queue = os.environ["QUEUE"]
log = logging.getLogger("app")
left = len(SENT)

def work(channel, method, properties, body):
    global left
    log.warning(body.decode())
    print(told(body.decode(), properties.headers))
    left -= 1
    if not left:
        channel.stop_consuming()

with pika.BlockingConnection(pika.URLParameters(os.environ["BROKER"])) as connection, connection.channel() as channel:
    if sys.argv[1] == "send":
        channel.queue_declare(queue)
        for number, _, pairs, _ in SENT:
            properties = pika.BasicProperties(headers=dict(pairs) if pairs else None)
            channel.basic_publish("", queue, str(number).encode(), properties)
            print(told(number, properties.headers))
    elif os.environ["WAY"] == "callback":
        channel.basic_consume(queue, work, auto_ack=True)
        channel.start_consuming()
    else:
        for _, (method, properties, body) in zip(SENT, channel.consume(queue, auto_ack=True)):
            work(channel, method, properties, body)
        channel.cancel()
"""


@pytest.mark.parametrize("way", ["callback", "iterate"])
def test_hostile_headers_are_delivered_and_the_consumer_goes_on(run_python, receiver, rabbitmq_url, way):
    env = {"BROKER": rabbitmq_url, "QUEUE": f"hostile-{way}", "WAY": way}
    kinds = "str bytes int bool list dict NoneType"
    # All headers together have to fit into one frame.
    hostile.exchange(run_python, receiver, HOSTILE, f"process hostile-{way}", kinds, env, longest=100_000)


def test_a_message_that_is_sent_on_with_its_headers_keeps_them(produce, channel):
    produce("again", [("s1", {"x-highlight-request": "s9/r9", "traceparent": "mine"})])

    _, properties, _ = channel.basic_get("again", auto_ack=True)
    assert properties.headers == {"x-highlight-request": "s9/r9", "traceparent": "mine"}


def test_what_pika_refuses_it_refuses_as_ever(consume, channel):
    channel.queue_declare("refused")

    assert consume("refused", "refused", 0).stdout == consume("refused", "refused", 0, under_agent=False).stdout != ""
