"""dramatiq: a message carries the ids in its options, and the actor's run of it is a span under them."""

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

MODULES = ("dramatiq.actor", "dramatiq.broker", "dramatiq.worker")


def patch(module: ModuleType) -> None:
    if module.__name__ == "dramatiq.actor":
        wrap(module.Actor, "send_with_options", send)
        wrap(module.Actor, "message_with_options", create)
    elif module.__name__ == "dramatiq.broker":
        # No middleware of our own: the list is the application's to look at, or to replace.
        wrap(module.Broker, "emit_after", processed)
    else:
        wrap(module.Worker, "start", outside)  # its threads live on, in whatever test or request it is started
        messaging.echoes.add("dramatiq.worker.WorkerThread")
        wrap(module._WorkerThread, "process_message", process)  # noqa: SLF001 - nothing else has a message's whole run


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    actor = call["self"]
    with messaging.send("dramatiq", actor.queue_name, actor.actor_name):
        yield


def create(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    call.kwargs = {**call.kwargs, **dict(messaging.headers(call.kwargs.get))}
    yield


def process(call: Call) -> Generator[None, Any, None]:
    message = call["message"]
    with messaging.process("dramatiq", message.queue_name, message.options, message.actor_name):
        yield


def processed(call: Call) -> Generator[None, Any, None]:
    error = call.get("exception")
    if call["signal"] != "process_message" or error is None:
        return
    broker, message = call["self"], call.args[2]
    retries = message.options.get("retries", 0)
    yield
    actor = broker.actors.get(message.actor_name)
    expected = message.options.get("throws") or (actor and actor.options.get("throws"))
    if not (expected and isinstance(error, expected)):
        again = not message.failed and message.options.get("retries", 0) != retries
        messaging.failed(error, again=again)
