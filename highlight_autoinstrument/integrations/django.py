"""Django, under WSGI and ASGI: each request is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

import sys

from .. import asgi, wsgi
from ..later import errors, spans
from ..patching import guarded, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = (
    "django.core.signals",
    "django.core.handlers.base",
    "django.core.handlers.wsgi",
    "django.core.handlers.asgi",
    "django.http.response",
)

ATTRIBUTE = "_highlight"  # of a response that goes out as it is


def patch(module: ModuleType) -> None:
    if module.__name__ == "django.core.signals":
        module.got_request_exception.connect(record_error, weak=False)
    elif module.__name__ == "django.core.handlers.base":
        wrap(module.BaseHandler, "resolve_request", name_span)
        wrap(module.BaseHandler, "process_exception_by_middleware", answered_by_middleware)
    elif module.__name__ == "django.core.handlers.wsgi":
        wsgi.serve_calls(module.WSGIHandler, answer)
    elif module.__name__ == "django.http.response":
        wrap(module.HttpResponseBase, "close", close)
    else:
        asgi.serve_calls(module.ASGIHandler)


def answer(body: wsgi.Body) -> Any:
    response = body.answer
    if getattr(response, "streaming", True):
        return body
    # Middleware around the application reads the response's status and headers, which no iterable of ours has.
    vars(response)[ATTRIBUTE] = body.let_go()
    return response


def close(call: Call) -> Generator[None, Any, None]:
    held = vars(call.instance).pop(ATTRIBUTE, None)
    if held is not None:
        yield from held.close()


def name_span(call: Call) -> Generator[None, Any, None]:
    match = yield
    # A regular expression's anchors say nothing that the reader of a span's name would miss.
    route = match.route.removeprefix("^").removesuffix("$")
    root = sys.modules["django.urls"].get_script_prefix()  # also where FORCE_SCRIPT_NAME says it
    spans.set_route(call["request"].method, wsgi.below(root, route))


def answered_by_middleware(call: Call) -> Generator[None, Any, None]:
    response = yield
    if response is not None and response.status_code >= 500:  # None: no middleware wants it
        errors.record(call["exception"])


@guarded
def record_error(**_: Any) -> None:
    error = sys.exc_info()[1]
    if error is not None:
        errors.record(error)
