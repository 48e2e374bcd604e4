"""taskiq: a task carries the ids in its labels, and its run is a span under them."""

from __future__ import annotations

from contextvars import ContextVar

from .. import active, messaging
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("taskiq.kicker", "taskiq.receiver.receiver")

# Whether a message that is made here is to be sent once. One of a schedule would keep these ids for ever.
_sending: ContextVar[bool] = ContextVar("highlight-taskiq-sending", default=False)
# The id of the task that runs here, alone in a list, which a retry empties.
_running: ContextVar[list[str] | None] = ContextVar("highlight-taskiq-running", default=None)


def patch(module: ModuleType) -> None:
    if module.__name__ == "taskiq.kicker":
        wrap(module.AsyncKicker, "kiq", send)
        wrap(module.AsyncKicker, "schedule_by_time", send)
        # Private, but here the labels of one message are its own; a kicker's may be used again.
        wrap(module.AsyncKicker, "_prepare_message", create)
    else:
        messaging.echoes.add("taskiq.receiver.receiver")
        wrap(module.Receiver, "run_task", process)


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    kicker, running = call["self"], _running.get()
    if running and running[0] == kicker.custom_task_id:
        running.clear()
    with messaging.send("taskiq", kicker.task_name):
        token = _sending.set(True)
        try:
            yield
        finally:
            _sending.reset(token)


def create(call: Call) -> Generator[None, Any, None]:
    message = yield
    if _sending.get():
        message.labels.update(messaging.headers(call["self"].labels.get))


def process(call: Call) -> Generator[None, Any, None]:
    message = call["message"]
    # A label that the application sets to None, such as a header that it has not got, comes as its text.
    labels = {name: value for name, value in message.labels.items() if value != "None"}
    with messaging.process("taskiq", message.task_name, labels):
        running = [message.task_id]
        token = _running.set(running)
        try:
            result = yield
        finally:
            _running.reset(token)
        # A task that raises NoResultError wants no result; after a retry that stands for what it has raised.
        if result.error is not None and not (running and type(result.error).__name__ == "NoResultError"):
            messaging.failed(result.error, again=not running)
