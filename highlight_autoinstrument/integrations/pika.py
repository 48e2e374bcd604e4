"""pika: a message carries the ids in its headers, and whoever works on it works under them."""

from __future__ import annotations

import copy
import sys

from .. import active, messaging
from ..outside import outside
from ..patching import guarded, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("pika.channel", "pika.adapters.blocking_connection", "pika.adapters.base_connection")


def patch(module: ModuleType) -> None:
    if module.__name__ == "pika.channel":
        wrap(module.Channel, "basic_publish", send)
        wrap(module.Channel, "basic_consume", consume)
        wrap(module.Channel, "basic_get", get_later)
    elif module.__name__ == "pika.adapters.blocking_connection":
        wrap(module.BlockingConnection, "__init__", outside)
        wrap(module.BlockingChannel, "basic_publish", send)  # for its span: only here the broker's answer is known
        wrap(module.BlockingChannel, "basic_consume", consume)
        wrap(module.BlockingChannel, "basic_get", get)
        wrap(module.BlockingChannel, "consume", iterate)
        for name in ("cancel", "close"):
            wrap(module.BlockingChannel, name, close)
    else:
        wrap(module.BaseConnection, "__init__", outside)


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    exchange, routing_key = call["exchange"], call["routing_key"]
    key = {"messaging.rabbitmq.destination.routing_key": routing_key}
    with messaging.send("rabbitmq", exchange or routing_key, **key):
        given = call.get("properties")
        headers = (given.headers if given is not None else None) or {}
        added = messaging.headers(messaging.getter(headers)) if isinstance(headers, dict) else []
        if added:
            # Copies: properties and headers stay the caller's, who may use them for the next message.
            properties = copy.copy(given) if given is not None else sys.modules["pika.spec"].BasicProperties()
            properties.headers = {**headers, **dict(added)}
            call["properties"] = properties
        yield


def consume(call: Call) -> Generator[None, Any, None]:
    call["on_message_callback"] = working(call["on_message_callback"], call["queue"])
    yield


def get_later(call: Call) -> Generator[None, Any, None]:
    call["callback"] = working(call["callback"], call["queue"])
    yield


def working(callback: Any, queue: str) -> Any:
    """The callback with its message's unit of work; what is no function, or pika's own, is left to pika."""
    if not callable(callback) or (getattr(callback, "__module__", None) or "").startswith("pika."):
        return callback
    return messaging.working(callback, lambda call: ("rabbitmq", queue, call.args[2].headers), "pika callback")


def get(call: Call) -> Generator[None, Any, None]:
    messaging.asked(call.instance)
    method, properties, _ = yield
    if method is not None:  # None: the queue is empty
        messaging.received(call.instance, "rabbitmq", [(call["queue"], properties.headers)])


def iterate(call: Call) -> Generator[None, Any, Any]:
    messages = yield
    return iterating(messages, call.instance, call["queue"])


def iterating(messages: Generator[Any, Any, Any], channel: Any, queue: str) -> Iterator[Any]:
    try:
        for message in messages:
            begin(channel, queue, message)
            yield message
            end(channel)
    finally:
        messages.close()


@guarded
def begin(channel: Any, queue: str, message: tuple[Any, Any, Any]) -> None:
    method, properties, _ = message
    if method is not None:  # None: nothing came for a while
        messaging.received(channel, "rabbitmq", [(queue, properties.headers)])


@guarded
def end(channel: Any) -> None:
    messaging.asked(channel)


def close(call: Call) -> Generator[None, Any, None]:
    messaging.closed(call.instance)
    yield
