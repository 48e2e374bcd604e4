"""confluent-kafka: a message carries the ids in its headers, and whoever works on it works under them.

The classes are C types, whose methods cannot be replaced. Subclasses stand in for them from the moment when their own
module has been loaded, before anybody has seen them: every name, base and `isinstance` then means the same class.
"""

from __future__ import annotations

import sys

from .. import active, guard, messaging
from ..later import context
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("confluent_kafka.cimpl", "confluent_kafka.aio", "confluent_kafka.experimental.aio")

CALLBACK = "_highlight_callback"  # in a producer: what it was made with, to be told of each delivery
QUIET = "_highlight_quiet"  # in a consumer: it works for another one, which is asked itself
MISSING = object()
PRODUCE = ("topic", "value", "key", "partition", "callback", "on_delivery", "timestamp", "headers")


def patch(module: ModuleType) -> None:
    if module.__name__ != "confluent_kafka.cimpl":
        wrap(module.AIOProducer, "__init__", outside)
        wrap(module.AIOConsumer, "__init__", construct_async)
        wrap(module.AIOConsumer, "poll", receive)
        wrap(module.AIOConsumer, "consume", receive_batch)
        wrap(module.AIOConsumer, "close", close)
    elif hasattr(sys.modules.get("confluent_kafka"), "Consumer"):
        guard.debug("confluent_kafka: not patched, it was imported before the agent started")
    else:
        producer = stand_in(module, "Producer", CALLBACK)
        wrap(producer, "__init__", construct)
        wrap(producer, "produce", send, PRODUCE)
        consumer = stand_in(module, "Consumer", QUIET)
        wrap(consumer, "poll", receive)
        wrap(consumer, "consume", receive_batch)
        wrap(consumer, "close", close)
        wrap(consumer, "__exit__", close)
        messaging.describe(module.Message, describe)


def stand_in(module: ModuleType, name: str, slot: str) -> type:
    """Put a subclass in the place of a C type, with its name, and without a `__dict__` as well."""
    kind = getattr(module, name)
    same = {attribute: getattr(kind, attribute) for attribute in ("__module__", "__qualname__", "__doc__")}
    subclass = type(name, (kind,), {**same, "__slots__": (slot, "__weakref__")})
    setattr(module, name, subclass)
    return subclass


def describe(message: Any) -> tuple[str, str, Any]:
    return "kafka", message.topic(), message.headers()


def construct(call: Call) -> Generator[None, Any, None]:
    yield
    given = {**(call.args[0] if call.args else {}), **call.kwargs}
    setattr(call.instance, CALLBACK, given.get("on_delivery"))


def send(call: Call) -> Generator[None, Any, None]:
    given = call.get("headers")
    if active.current() is None or not isinstance(given, (list, dict, type(None))):
        return
    name = "on_delivery" if call.get("callback", MISSING) is MISSING else "callback"  # that one counts, even as None
    callback = call.get(name)
    if callback is None:
        callback = getattr(call.instance, CALLBACK, None)
    if callable(callback):  # by whatever poll or flush comes next, in whose work it has no part
        call[name] = context.Carried(callback, context.snapshot())
    with messaging.send("kafka", call["topic"]):
        added = [(name, value.encode()) for name, value in messaging.headers(messaging.getter(given))]
        # A copy: the caller's stay the caller's.
        call["headers"] = {**given, **dict(added)} if isinstance(given, dict) else [*(given or ()), *added]
        yield


def receive(call: Call) -> Generator[None, Any, None]:
    if getattr(call.instance, QUIET, False):
        return
    messaging.asked(call.instance)
    message = yield
    received(call.instance, (message,))


def receive_batch(call: Call) -> Generator[None, Any, None]:
    if getattr(call.instance, QUIET, False):
        return
    messaging.asked(call.instance)
    messages = yield
    received(call.instance, messages)


def received(consumer: Any, messages: Iterable[Any]) -> None:
    """Note what was handed out, but no timeouts and no events, such as the end of a partition."""
    real = [message for message in messages if message is not None and message.error() is None]
    messaging.received(consumer, "kafka", [(message.topic(), message.headers()) for message in real])


def close(call: Call) -> Generator[None, Any, None]:
    messaging.closed(call.instance)
    yield


def construct_async(call: Call) -> Generator[None, Any, None]:
    yield
    consumer = call.instance._consumer  # noqa: SLF001 - it is polled in a pool's threads, and the work is not done there
    if hasattr(type(consumer), QUIET):
        setattr(consumer, QUIET, True)
