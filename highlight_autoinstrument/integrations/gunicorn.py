"""gunicorn: each request that one of its workers takes is served as a unit of work, whatever the application is."""

from __future__ import annotations

from .. import asgi, wsgi
from ..patching import on_read, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

    from ..patching import Call

# Each worker by itself, and not their base: others build on that, such as uvicorn's, whose application is no WSGI one.
# The gevent_pywsgi worker hands the application to gevent's own server.
MODULES = (
    "gunicorn.workers.sync",
    "gunicorn.workers.gthread",
    "gunicorn.workers.base_async",
    "gunicorn.asgi.protocol",
)
WORKERS = ("SyncWorker", "ThreadWorker", "AsyncWorker")


def patch(module: ModuleType) -> None:
    if module.__name__ == "gunicorn.asgi.protocol":
        wrap(module.ASGIProtocol, "__init__", connection_made)
    for name in WORKERS:
        worker = getattr(module, name, None)
        if worker is not None and worker.__module__ == module.__name__:
            # `post_worker_init` and the like find the application as it is.
            on_read(worker, "wsgi", (worker.handle_request, getattr(worker, "handle_http2_request", None)), wsgi.called)


def connection_made(call: Call) -> Generator[None, None, None]:
    yield
    # Not the worker's own: that one serves the lifespan as well.
    call.instance.app = asgi.application(call.instance.app)
