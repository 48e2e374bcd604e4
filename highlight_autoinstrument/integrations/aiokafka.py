"""aiokafka: a message carries the ids in its headers, and whoever works on it works under them."""

from __future__ import annotations

from .. import active, messaging
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("aiokafka.conn", "aiokafka.structs", "aiokafka.producer.producer", "aiokafka.consumer.consumer")


def patch(module: ModuleType) -> None:
    if module.__name__ == "aiokafka.conn":
        wrap(module.AIOKafkaConnection, "connect", outside)  # each has a task that reads, whoever needs it first
    elif module.__name__ == "aiokafka.structs":
        messaging.describe(module.ConsumerRecord, lambda record: ("kafka", record.topic, record.headers))
    elif module.__name__ == "aiokafka.producer.producer":
        wrap(module.AIOKafkaProducer, "start", outside)
        wrap(module.AIOKafkaProducer, "send", send)
    else:
        wrap(module.AIOKafkaConsumer, "start", outside)
        wrap(module.AIOKafkaConsumer, "getone", receive)
        wrap(module.AIOKafkaConsumer, "getmany", receive_batch)
        wrap(module.AIOKafkaConsumer, "stop", close)


def send(call: Call) -> Generator[None, Any, None]:
    given = call.get("headers")
    if active.current() is None or not isinstance(given, (list, tuple, type(None))):
        return
    with messaging.send("kafka", call["topic"]):
        added = messaging.headers(messaging.getter(given))
        # A copy: the caller's list stays the caller's.
        call["headers"] = [*(given or ()), *((name, value.encode()) for name, value in added)]
        yield


def receive(call: Call) -> Generator[None, Any, None]:
    messaging.asked(call.instance)
    record = yield
    messaging.received(call.instance, "kafka", [(record.topic, record.headers)])


def receive_batch(call: Call) -> Generator[None, Any, None]:
    messaging.asked(call.instance)
    batch = yield
    messaging.received(
        call.instance, "kafka", [(record.topic, record.headers) for records in batch.values() for record in records]
    )


def close(call: Call) -> Generator[None, Any, None]:
    messaging.closed(call.instance)
    yield
