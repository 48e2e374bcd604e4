"""Bottle: each request is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

from .. import wsgi
from ..later import errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("bottle",)


def patch(bottle: ModuleType) -> None:
    wsgi.serve_calls(bottle.Bottle)
    # Hooks and plugins are the application's, and run before a route is known or not at all: these two see every one.
    wrap(bottle.Router, "match", name_span)
    wrap(bottle.Bottle, "_cast", answer)


def name_span(call: Call) -> Generator[None, Any, None]:
    route, _ = yield
    environ, rule = call["environ"], getattr(route, "rule", None)  # a router of one's own gives whatever it was given
    if rule is not None:
        wsgi.name_by_route(environ, environ["REQUEST_METHOD"], rule)


def answer(call: Call) -> Generator[None, Any, None]:
    """Report what is about to become an answer: an exception that was raised, or the error made of one."""
    error = getattr(call["out"], "exception", None) or call["out"]
    if isinstance(error, BaseException) and error.__traceback__ is not None and call["out"].status_code >= 500:
        errors.record(error)
    yield
