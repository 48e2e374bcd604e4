"""One browser request through three services and the three Kafka clients: one trace, one session, one error."""

from __future__ import annotations

WEB = """
import os
from flask import Flask
from kafka import KafkaProducer

app = Flask(__name__)
made = []

@app.post("/orders")
def order():
    if not made:
        made.append(KafkaProducer(bootstrap_servers=os.environ["BROKER"]))
    made[0].send("chain-orders", b"an order").get(10)
    return "taken"

app.run(port=int(os.environ["PORT"]))
"""
PACKING = """
import os
from confluent_kafka import Consumer, Producer, TopicPartition

conf = {"bootstrap.servers": os.environ["BROKER"]}
producer = Producer(conf)
consumer = Consumer({**conf, "group.id": "packing", "enable.auto.commit": False})
consumer.assign([TopicPartition("chain-orders", 0, 0)])
print("ready", flush=True)
while True:
    message = consumer.poll(0.1)
    if message is not None and not message.error():
        producer.produce("chain-parcels", message.value(), headers=message.headers())
        producer.flush(10)
"""
SHIPPING = """
import asyncio, os
from aiokafka import AIOKafkaConsumer, TopicPartition

async def main():
    consumer = AIOKafkaConsumer(bootstrap_servers=os.environ["BROKER"], auto_offset_reset="earliest")
    consumer.assign([TopicPartition("chain-parcels", 0)])
    await consumer.start()
    print("ready", flush=True)
    try:
        async for message in consumer:
            raise LookupError("no such address")
    finally:
        await consumer.stop()

asyncio.run(main())
"""


def test_a_request_goes_through_all_three_clients(run_service, receiver, kafka_broker):
    for topic in ("chain-orders", "chain-parcels"):
        kafka_broker.topic(topic)
    env = {"BROKER": kafka_broker.address}
    web = run_service("python web.py", files={"web.py": WEB}, env=env, name="web")
    ready = {"wait": lambda service: "ready" in service.stdout, "env": env}
    run_service("python packing.py", files={"packing.py": PACKING}, name="packing", **ready)
    shipping = run_service("python shipping.py", files={"shipping.py": SHIPPING}, name="shipping", **ready)
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = {"x-highlight-request": f"s1/{trace}", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert web.request("POST", "/orders", sent).text == "taken"
    assert shipping.process.wait(20) == 1

    receiver.wait(spans=5, errors=1)
    assert [(span.service, span.name, span.kind, span.status) for span in receiver.spans] == [
        ("web", "POST /orders", "SERVER", "UNSET"),
        ("web", "send chain-orders", "PRODUCER", "UNSET"),
        ("packing", "process chain-orders", "CONSUMER", "UNSET"),
        ("packing", "send chain-parcels", "PRODUCER", "UNSET"),
        ("shipping", "process chain-parcels", "CONSUMER", "ERROR"),
    ]
    assert {(span.trace_id, span.session, span.highlight_trace) for span in receiver.spans} == {(trace, "s1", trace)}
    above = ["b7ad6b7169203331", *(span.span_id for span in receiver.spans)]
    # The parcel went out with the order's own headers, and those count.
    above[4] = above[2]
    assert [span.parent_id for span in receiver.spans] == above[:5]
    assert [(error.type, error.message, error.session, error.highlight_trace) for error in receiver.errors] == [
        ("LookupError", "no such address", "s1", trace)
    ]
