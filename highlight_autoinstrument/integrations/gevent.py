"""gevent: requests to its WSGI server are units of work; greenlets and threads work under the one that spawned them."""

from __future__ import annotations

from .. import active, wsgi
from ..later import context, errors
from ..patching import guarded, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("gevent", "gevent.hub", "gevent.threadpool", "gevent.pywsgi")


def patch(module: ModuleType) -> None:
    if module.__name__ == "gevent":
        module.Greenlet.add_spawn_callback(spawned)  # its methods cannot be replaced: it is compiled
    elif module.__name__ == "gevent.hub":
        wrap(module.Hub, "handle_error", record_error)
    elif module.__name__ == "gevent.threadpool":
        wrap(module.ThreadPool, "spawn", hand_over)
    else:
        wrap(module.WSGIHandler, "run_application", serve)


@guarded
def spawned(greenlet: Any) -> None:
    if active.current() is not None:
        context.give(greenlet)


def record_error(call: Call) -> Generator[None, None, None]:
    if isinstance(call["value"], BaseException):
        errors.record_uncaught(call["value"])
    yield


def hand_over(call: Call) -> Generator[None, None, None]:
    if active.current() is not None:
        call["func"] = context.Carried(call["func"], context.snapshot())
        yield


def serve(call: Call) -> Generator[None, None, None]:
    handler = call.instance  # one connection's, which takes the application from its server anew for each request
    handler.application = wsgi.application(handler.application)
    yield
