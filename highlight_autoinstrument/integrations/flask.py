"""Flask: each request is a server span named by its route, with what becomes a 5xx on it."""

from __future__ import annotations

from .. import active, wsgi
from ..later import errors
from ..patching import guarded, hide_frame, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("flask",)


def patch(flask: ModuleType) -> None:
    wsgi.serve_calls(flask.Flask)
    # Not by the signal before it: other agents take whoever hears a signal for a step of the application's.
    replace(flask.Flask, "full_dispatch_request", naming)
    wrap(flask.Flask, "handle_user_exception", answered_by_handler)
    # Extensions that answer exceptions themselves send it as well. Held: a weak receiver may go away so late at the
    # program's end that blinker complains.
    try:
        flask.got_request_exception.connect(record_error, weak=False)
    except RuntimeError:  # before 2.3, signals need blinker, which may not be there; the method is what sends this one
        wrap(flask.Flask, "handle_exception", unanswered)


def naming(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    """What `Flask.full_dispatch_request` is replaced by: it names a request's span, where one will be sent."""

    def full_dispatch_request(*args: Any, **kwargs: Any) -> Any:
        if active.span() is not None:
            name_span()
        try:
            return dispatch(*args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return full_dispatch_request


@guarded
def name_span() -> None:
    from flask import request as proxy

    # Once; the proxy would do so for each attribute.
    request = proxy._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    rule = request.url_rule
    if rule is not None:  # None: no route matched, a 404 is coming
        wsgi.name_by_route(request.environ, request.method, rule.rule)


@guarded
def record_error(app: Any, exception: BaseException, **_: Any) -> None:
    if app.config["PROPAGATE_EXCEPTIONS"] and app.config["TRAP_HTTP_EXCEPTIONS"]:
        return  # Connexion's way: Flask answers none at all, whoever is outside makes a 4xx or a 5xx of each
    errors.record(exception)


def unanswered(call: Call) -> Generator[None, Any, None]:
    record_error(call.instance, call["e"])
    yield


def answered_by_handler(call: Call) -> Generator[None, Any, None]:
    answer = yield
    if status(answer) >= 500:
        errors.record(call["e"])


def status(answer: Any) -> int:
    """The status of what an error handler may return: a response, an HTTPException, a tuple, or a body alone."""
    if isinstance(answer, tuple):
        given = answer[1] if len(answer) > 1 else None
        if isinstance(given, int):
            return given
        if isinstance(given, str):  # "503 Service Unavailable"
            return int(given[:3]) if given[:3].isdigit() else 200
        answer = answer[0]
    return getattr(answer, "status_code", None) or getattr(answer, "code", None) or 200
