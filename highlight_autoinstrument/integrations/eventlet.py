"""eventlet: its WSGI server's requests are units of work, and green threads work under the one that spawned them."""

from __future__ import annotations

from .. import active, wsgi
from ..later import context, errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

    from ..patching import Call

MODULES = ("eventlet.greenthread", "eventlet.tpool", "eventlet.wsgi")


def patch(module: ModuleType) -> None:
    if module.__name__ == "eventlet.greenthread":
        wrap(module.GreenThread, "__init__", made)
        wrap(module.GreenThread, "main", work)
        wrap(module, "_spawn_n", spawned)
    elif module.__name__ == "eventlet.tpool":
        wrap(module, "execute", hand_over)
    else:
        wrap(module.HttpProtocol, "handle_one_response", serve)


def made(call: Call) -> Generator[None, None, None]:
    yield
    if active.current() is not None:
        context.give(call.instance)


def spawned(call: Call) -> Generator[None, tuple[object, object], None]:
    _, greenlet = yield
    if active.current() is not None:
        context.give(greenlet)


def work(call: Call) -> Generator[None, None, None]:
    try:
        yield
    except Exception as error:
        errors.record_uncaught(error)
        raise


def hand_over(call: Call) -> Generator[None, None, None]:
    if active.current() is not None:
        call["meth"] = context.Carried(call["meth"], context.snapshot())
        yield


def serve(call: Call) -> Generator[None, None, None]:
    handler = call.instance  # one connection's, which takes the application from its server anew for each request
    handler.application = wsgi.application(handler.application)
    yield
