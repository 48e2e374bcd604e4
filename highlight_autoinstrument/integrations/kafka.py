"""kafka-python: a message carries the ids in its headers, and whoever works on it works under them."""

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

MODULES = ("kafka.producer.kafka", "kafka.consumer.group", "kafka.consumer.fetcher")

FIRST_WITH_HEADERS = (0, 11)  # of the broker's versions; an older one is not sent any, and they would be refused here
ITERATING = "_highlight_iterating"  # in a consumer's __dict__: it is asked for one message, and polls for that itself


def patch(module: ModuleType) -> None:
    if module.__name__ == "kafka.producer.kafka":
        wrap(module.KafkaProducer, "__init__", outside)
        wrap(module.KafkaProducer, "send", send)
    elif module.__name__ == "kafka.consumer.group":
        wrap(module.KafkaConsumer, "__init__", outside)
        wrap(module.KafkaConsumer, "__next__", receive)
        wrap(module.KafkaConsumer, "poll", receive_batch)
        wrap(module.KafkaConsumer, "close", close)
    else:
        messaging.describe(module.ConsumerRecord, lambda record: ("kafka", record.topic, record.headers))


def send(call: Call) -> Generator[None, Any, None]:
    given = call.get("headers")
    if active.current() is None or not isinstance(given, (list, type(None))):
        return
    with messaging.send("kafka", call["topic"]):
        if (call.instance.config["api_version"] or FIRST_WITH_HEADERS) >= FIRST_WITH_HEADERS:
            added = messaging.headers(messaging.getter(given))
            # A copy: the caller's list stays the caller's.
            call["headers"] = [*(given or ()), *((name, value.encode()) for name, value in added)]
        yield


def receive(call: Call) -> Generator[None, Any, None]:
    messaging.asked(call.instance)
    vars(call.instance)[ITERATING] = True
    try:
        record = yield
    finally:
        vars(call.instance).pop(ITERATING, None)
    messaging.received(call.instance, "kafka", [(record.topic, record.headers)])


def receive_batch(call: Call) -> Generator[None, Any, None]:
    if ITERATING in vars(call.instance):
        return
    messaging.asked(call.instance)
    batch = yield
    messaging.received(
        call.instance, "kafka", [(record.topic, record.headers) for records in batch.values() for record in records]
    )


def close(call: Call) -> Generator[None, Any, None]:
    messaging.closed(call.instance)
    yield
