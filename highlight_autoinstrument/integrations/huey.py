"""huey: a task carries the ids beside its arguments, and its run is a span under them."""

from __future__ import annotations

from collections import OrderedDict

from .. import active, messaging
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("huey.api", "huey.registry")

HEADERS = "_highlight_headers"  # in the __dict__ of a task, and of what stands for its keyword arguments on the way

# How a task says that it did not run, or is to run again; by name, since some are younger than others.
CONTROL = ("CancelExecution", "RateLimitExceeded", "RetryTask", "TaskLockedException")


def patch(module: ModuleType) -> None:
    if module.__name__ == "huey.registry":
        wrap(module.Registry, "create_message", pack)
        wrap(module.Registry, "create_task", unpack)
        wrap(module.Registry, "register", register)
    else:
        wrap(module.Huey, "enqueue", send)
        # Private: `execute` also looks at tasks that are not due, have expired or were revoked.
        wrap(module.Huey, "_execute", process)


def send(call: Call) -> Generator[None, Any, None]:
    task = call["task"]
    # A group or a chord comes here again with each of its tasks, and a task that is tried again has its ids.
    if active.current() is None or not hasattr(task, "revoke_id") or HEADERS in vars(task):
        return
    with messaging.send("huey", call["self"].name, task_name(task)):
        vars(task)[HEADERS] = dict(messaging.headers())
        yield


def pack(call: Call) -> Generator[None, Any, Any]:
    headers = vars(call["task"]).get(HEADERS)
    message = yield
    if not headers:
        return None
    # A message has no place for headers, and a worker without the agent has to be able to read it: an OrderedDict is
    # the standard library's dict that is pickled with its attributes. Other serializers take it for a dict.
    kwargs = OrderedDict(message.kwargs or {})
    vars(kwargs)[HEADERS] = headers
    return message._replace(kwargs=kwargs)


def unpack(call: Call) -> Generator[None, Any, None]:
    message = call["message"]
    packed = hasattr(message.kwargs, HEADERS)
    if packed:
        call["message"] = message._replace(kwargs=dict(message.kwargs))
    task = yield
    if packed:
        vars(task)[HEADERS] = getattr(message.kwargs, HEADERS)


def process(call: Call) -> Generator[None, Any, None]:
    task = call["task"]
    # Without ids as well: what is tried again is not sent anew.
    headers = vars(task).setdefault(HEADERS, {})
    with messaging.process("huey", call["self"].name, headers, task_name(task)):
        yield


def register(call: Call) -> Generator[None, Any, None]:
    yield
    wrap(call["task_class"], "execute", run)


def run(call: Call) -> Generator[None, Any, None]:
    task = call["self"]
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in CONTROL or not type(error).__module__.startswith("huey."):
            messaging.failed(error, again=bool(task.retries))
        raise


def task_name(task: Any) -> str:
    return f"{type(task).__module__}.{type(task).__name__}"
