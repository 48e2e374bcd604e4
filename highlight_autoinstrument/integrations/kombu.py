"""kombu: a message carries the ids in its headers, and whoever works on it works under them."""

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

MODULES = ("kombu.messaging", "kombu.message", "kombu.pidbox", "kombu.simple")


def patch(module: ModuleType) -> None:
    if module.__name__ == "kombu.messaging":
        wrap(module.Producer, "publish", publish)
        # Not `receive`, which a consumer with `on_message` does not call.
        wrap(module.Consumer, "_receive_callback", work)
    elif module.__name__ == "kombu.message":
        messaging.describe(module.Message, lambda message: ("kombu", destination_of(message), message.headers))
    elif module.__name__ == "kombu.pidbox":
        # Remote control of workers: commands and replies, which are nobody's work.
        wrap(module.Mailbox, "_publish", outside)
        wrap(module.Mailbox, "_publish_reply", outside)
    else:
        for name in ("get", "get_nowait"):
            wrap(module.SimpleBase, name, receive)
        wrap(module.SimpleBase, "close", close)


def publish(call: Call) -> Generator[None, Any, None]:
    given = call.get("headers")
    if active.current() is None or not (given is None or hasattr(given, "keys")):
        return
    given = given or {}
    producer = call.instance
    exchange, routing_key = call.get("exchange"), call.get("routing_key")
    destination = destination_in(
        producer.exchange if exchange is None else exchange,
        producer.routing_key if routing_key is None else routing_key,
    )
    task = given.get("task")  # where Celery says which one a message is for
    if isinstance(task, str):
        sending = messaging.send("celery", destination, task)
    else:
        sending = messaging.send("kombu", destination)
    has = {name.lower(): True for name in given if isinstance(name, str)}  # also what is no text stays as it is
    with sending:
        call["headers"] = {**given, **dict(messaging.headers(has.get))}
        yield


def destination_in(exchange: Any, routing_key: Any) -> str:
    """The exchange; where that is the default one, the queue."""
    name = exchange if isinstance(exchange, str) else getattr(exchange, "name", None)
    return str(name or routing_key or "")


def destination_of(message: Any) -> str:
    """Where a message was sent."""
    info = getattr(message, "delivery_info", None) or {}
    return destination_in(info.get("exchange"), info.get("routing_key"))


def work(call: Call) -> Generator[None, Any, None]:
    consumer, message = call.instance, call["message"]
    callbacks = [consumer.on_message] if consumer.on_message else consumer.callbacks
    if all(is_librarys(callback) for callback in callbacks):
        return
    # The transport's own kind of message, which the call translates.
    with messaging.process("kombu", destination_of(message), getattr(message, "headers", None)):
        yield


def is_librarys(callback: Any) -> bool:
    """Whether a callback is kombu's or Celery's own, which handles results, events, commands, or a task by itself."""
    callback = getattr(callback, "func", callback)  # that of a partial
    return str(getattr(callback, "__module__", "")).partition(".")[0] in ("kombu", "celery")


def receive(call: Call) -> Generator[None, Any, None]:
    messaging.asked(call.instance)
    message = yield
    messaging.received(call.instance, "kombu", [(destination_of(message), message.headers)])


def close(call: Call) -> Generator[None, Any, None]:
    messaging.closed(call.instance)
    yield
