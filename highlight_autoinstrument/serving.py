"""An incoming request, for a framework with a server of its own: what WSGI and ASGI would have told of it."""

from __future__ import annotations

import sys

from . import active, config
from .later import cors, errors, incoming, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_ALLOWED = "access-control-allow-headers"


class Request:
    """A request that is being answered; inside its unit of work, `current` finds it.

    `get` returns the value of a header (lower case), or None. `shown` is what the application is to see of
    `Access-Control-Request-Headers`, where `asked` is not empty.
    """

    __slots__ = ("_origin", "asked", "ended_ns", "raised", "shown", "work")

    def __init__(
        self,
        method: str,
        scheme: str,
        path: str,
        query: str,
        client: str | None,
        get: Callable[[str], str | None],
    ) -> None:
        get = _readable(get)
        host = get("host") or ""

        def attributes() -> dict[str, Any]:
            return spans.http_server(method, scheme, host, path, query, client, get("user-agent"))

        self.work = incoming.begin(method, spans.SERVER, get, attributes)
        self.work.unit.request = self
        self.work.unit.asked = method, host, path
        self.raised: BaseException | None = None  # the last exception that an answer was made of
        self.ended_ns: int | None = None  # where something goes on after the answer
        self.asked: tuple[str, ...] = ()
        self.shown: str | None = None
        self._origin: str | None = None
        if method == "OPTIONS" and config.get().cors and get("access-control-request-method"):
            self.shown, self.asked = cors.hide(get("access-control-request-headers") or "")
            self._origin = get("origin")

    def answer(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Note the status and the headers that the client gets; what a 5xx was made of is an error."""
        spans.set_status_code(self.work.unit.span, status)
        spans.note_headers(self.work.unit.span, headers)
        if status >= 500 and self.raised is not None:
            errors.record_in(self.work.unit, self.raised)

    def allowed(self, headers: Iterable[tuple[str, str]], status: int) -> str | None:
        """The new `Access-Control-Allow-Headers` of a preflight's answer; None to leave it as it is."""
        changed = cors.allow(list(headers), self.asked, self._origin, status) if self.asked else None
        return None if changed is None else [value for name, value in changed if name.lower() == _ALLOWED][-1]

    def end(self) -> None:
        """End the request."""
        self.raised = self.work.unit.request = None
        self.work.unit.span.end(self.ended_ns)


def _readable(get: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """The same without surrogates, by which some servers stand for bytes that are no UTF-8; as latin-1, like others."""

    def readable(name: str) -> str | None:
        value = get(name)
        if value is None or value.isascii():
            return value
        return value.encode("utf-8", "surrogateescape").decode("latin-1")

    return readable


def current() -> Request | None:
    """The request that is being answered here."""
    unit = active.current()
    return None if unit is None else unit.request


def note_raised(status: Any) -> None:
    """Remember the exception that is being handled while an answer with this status is made."""
    if isinstance(status, int) and status >= 500:
        request, error = current(), sys.exc_info()[1]
        if request is not None and error is not None:
            request.raised = error
