"""Pyramid: each request is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

import sys

from .. import wsgi
from ..later import errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("pyramid.router", "pyramid.view")


def patch(module: ModuleType) -> None:
    if module.__name__ == "pyramid.router":
        wsgi.serve_calls(module.Router)
        wrap(module.Router, "handle_request", name_span)
    else:
        wrap(module.ViewMethodsMixin, "invoke_exception_view", answered_by_view)


def name_span(call: Call) -> Generator[None, Any, None]:
    request = call["request"]
    try:
        yield
    finally:  # a subrequest was named before: the outermost request, which ends last, has the last word
        route = getattr(request, "matched_route", None)
        if route is not None:
            wsgi.name_by_route(request.environ, request.method, route.pattern)


def answered_by_view(call: Call) -> Generator[None, Any, None]:
    error = (call.get("exc_info") or sys.exc_info())[1]
    response = yield
    status = getattr(response, "status_int", 0)  # any WSGI application may stand there
    if error is not None and status >= 500 and not is_retried(call.get("request") or call["self"], error):
        errors.record(error)


def is_retried(request: Any, error: BaseException) -> bool:
    retry = sys.modules.get("pyramid_retry")
    return retry is not None and bool(retry.is_error_retryable(request, error))
