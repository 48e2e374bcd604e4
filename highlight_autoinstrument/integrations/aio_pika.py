"""aio-pika: whoever works on a message works under its ids; it is published through aiormq."""

from __future__ import annotations

from .. import active, messaging
from ..later import errors
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = (
    "aio_pika.message",
    "aio_pika.patterns.rpc",
    "aio_pika.queue",
    "aio_pika.robust_connection",
    "aio_pika.robust_queue",
)

# Callbacks of its own, which only hand a message on.
ITS_OWN = ("QueueIterator.on_message", "RPC.on_result_message")


def patch(module: ModuleType) -> None:
    if module.__name__ == "aio_pika.message":
        messaging.describe(module.IncomingMessage, lambda message: ("rabbitmq", place(message), message.headers))
    elif module.__name__ == "aio_pika.patterns.rpc":
        wrap(module.RPC, "execute", serve)
    elif module.__name__ == "aio_pika.queue":
        wrap(module.Queue, "consume", consume)
        wrap(module.Queue, "get", get)
        iterators(module.QueueIterator)
    elif module.__name__ == "aio_pika.robust_connection":
        wrap(module.RobustConnection, "connect", outside)
    elif hasattr(module, "RobustQueueIterator"):
        iterators(module.RobustQueueIterator)


def iterators(kind: type) -> None:
    wrap(kind, "__anext__", receive)
    wrap(kind, "__aexit__", leave)
    wrap(kind, "close", close)


def place(message: Any) -> str:
    return message.exchange or message.routing_key or ""


def consume(call: Call) -> Generator[None, Any, None]:
    callback, queue = call["callback"], call.instance.name
    if callable(callback) and getattr(callback, "__qualname__", None) not in ITS_OWN:
        call["callback"] = messaging.working(
            callback, lambda call: ("rabbitmq", queue, call.args[-1].headers), "aio-pika callback"
        )
    yield


def get(call: Call) -> Generator[None, Any, None]:
    messaging.asked(call.instance)
    message = yield
    if message is not None:
        messaging.received(call.instance, "rabbitmq", [(call.instance.name, message.headers)])


def receive(call: Call) -> Generator[None, Any, None]:
    messaging.asked(call.instance)
    message = yield
    queue = call.instance._amqp_queue.name  # noqa: SLF001 - there is no other way to it
    messaging.received(call.instance, "rabbitmq", [(queue, message.headers)])


def leave(call: Call) -> Generator[None, Any, None]:
    messaging.closed(call.instance, call["exc_val"])
    yield


def close(call: Call) -> Generator[None, Any, None]:
    if len(call.args) == 1:  # else by an older library itself, since the channel closes: the loop may be still at work
        messaging.closed(call.instance)
    yield


def serve(call: Call) -> Generator[None, Any, None]:
    """What a remote procedure raises is answered with, and no one else reports it."""
    try:
        yield
    except Exception as error:
        unit = active.current()
        if unit is not None:
            unit.span.fail(errors.type_name(error))
        errors.record(error)
        raise
