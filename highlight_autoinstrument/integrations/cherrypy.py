"""CherryPy: each request is a server span named by its handler's place, with what becomes a 5xx on it."""

from __future__ import annotations

import sys

from .. import wsgi
from ..later import errors, spans
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("cherrypy._cptree", "cherrypy._cpdispatch", "cherrypy._cprequest", "cherrypy._cperror")


def patch(module: ModuleType) -> None:
    if module.__name__ == "cherrypy._cptree":
        wsgi.serve_calls(module.Application)
    elif module.__name__ == "cherrypy._cpdispatch":
        wrap(module.Dispatcher, "find_handler", name_span)
    elif module.__name__ == "cherrypy._cprequest":
        wrap(module.Request, "handle_error", handle_error)
    else:
        wrap(module.HTTPError, "set_response", answer)


def name_span(call: Call) -> Generator[None, Any, None]:
    handler, rest = yield
    if handler is None:  # a 404 is coming
        return
    request = sys.modules["cherrypy"].serving.request
    segments = [segment for segment in call["path"].strip("/").split("/") if segment]
    place = static(request.app.root, segments[: len(segments) - len(rest)], call.instance.translate)
    names = parameters(handler if callable(handler) else getattr(handler, request.method.upper(), None))
    names += ["*"] * (len(rest) - len(names))
    spans.set_route(request.method, "/".join([request.script_name.rstrip("/"), *place, *names[: len(rest)]]))


def static(node: Any, segments: list[str], translate: Any) -> list[str]:
    """A path's segments, with a star for each that is not an attribute's name: an id, which a method has taken."""
    import inspect

    found = []
    for segment in segments:
        child = inspect.getattr_static(node, segment.translate(translate), None)
        found.append("*" if child is None else segment)
        node = node if child is None else child
    return found


def parameters(handler: Any) -> list[str]:
    code = getattr(handler, "__code__", None)
    if code is None:
        return []
    first = 1 if getattr(handler, "__self__", None) is not None else 0
    return [f"{{{name}}}" for name in code.co_varnames[first : code.co_argcount]]


def handle_error(call: Call) -> Generator[None, Any, None]:
    error = sys.exc_info()[1]
    # Unless the application answers in another way it is an HTTPError's set_response that does; the log comes first.
    answer = getattr(call.instance.error_response, "__self__", None)
    if error is not None and getattr(answer, "code", 0) >= 500:
        errors.record(error)
    yield
    if error is not None and int(str(sys.modules["cherrypy"].serving.response.status)[:3]) >= 500:
        errors.record(error)


def answer(call: Call) -> Generator[None, Any, None]:
    error = call.instance
    if error.code >= 500 and error.__traceback__ is not None:  # None: it was not raised
        errors.record(error)
    yield
