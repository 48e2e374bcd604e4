"""The JSON API under `/api/`, and the stream that says when it is worth asking again. For its answers see `queries`.

    GET /api/state                     how much there is
    GET /api/services                  the names of services
    GET /api/errors                    groups; text, service, session
    GET /api/errors/GROUP              one group
    GET /api/errors/GROUP/occurrences  its errors
    GET /api/error/ID                  one error with all around it
    GET /api/arrived                   errors as they came: since=ID, launcher=NAME, limit
    GET /api/sessions                  text, failed=1
    GET /api/sessions/ID               one session
    GET /api/sessions/ID/events        its rrweb events, one JSON list, streamed; since=CHUNK for what came after
    GET /api/sessions/ID/network       its browser's requests, with what happened behind them
    GET /api/sessions/ID/network/ROW   one of them as it was recorded, with headers and bodies
    GET /api/sessions/ID/console       what its pages wrote to the console
    GET /api/sessions/ID/errors        its errors, the oldest first
    GET /api/traces                    text, service, session, failed=1, slower=MS
    GET /api/traces/ID                 one trace
    GET /api/logs                      text, level, service, session, trace, after, before (ms), since=ID
    GET /api/live                      server-sent events: {"rows": {"logs": 3}, "sessions": ["..."]};
                                       stay=1 of a launcher, which uses the server as long as it listens

Lists take limit and cursor.
"""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, compile_path

from . import queries, schema
from .bodies import to_json
from .queries import Asked
from .refusal import Refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

    from .launchers import Launchers
    from .live import Live
    from .store import Store

    Question = Callable[[sqlite3.Connection, Request], Any]

_EVENTS = "text/event-stream"
_LONGEST_TEXT = 1000  # characters that are searched for
_READERS = 3  # threads, each with a connection of its own


class Json(Response):
    """An answer in ASCII: what was recorded may hold halves of characters, which are no UTF-8."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return to_json(content).encode()


class _Staying(StreamingResponse):
    """The stream of a launcher."""

    def __init__(self, events: AsyncIterator[str], launchers: Launchers) -> None:
        super().__init__(events, media_type=_EVENTS)
        self._launchers = launchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream, and count the launcher as long as it listens."""
        with self._launchers.one():
            await super().__call__(scope, receive, send)


class Api:
    """The routes, and the connections that answer them."""

    def __init__(self, store: Store, live: Live, launchers: Launchers | None) -> None:
        self._path = store.path
        self._live = live
        self._launchers = launchers
        self._readers = ThreadPoolExecutor(_READERS, "reader")
        self._of_thread = threading.local()

    def routes(self) -> list[Route]:
        """All of them."""
        found = [Route(f"/api/{path}", self._answering(question), methods=["GET"]) for path, question in _QUESTIONS]
        found.append(Route("/api/sessions/{id}/events", self._events, methods=["GET"]))
        found.append(Route("/api/live", self._live_events, methods=["GET"]))
        return found

    def _answering(self, question: Question) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                found = await self._read(question, request)
            except Refusal as refusal:
                return Json({"error": refusal.line}, refusal.status)
            if found is None:
                return Json({"error": "there is none, or it was too old to be kept"}, 404)
            return Json(found)

        return answer

    async def _events(self, request: Request) -> Response:
        session_id = request.path_params["id"]
        try:
            since = _number(request, "since")
        except Refusal as refusal:
            return Json({"error": refusal.line}, refusal.status)
        last, since_chunk = await self._read(queries.replay, session_id, int(since or 0))

        async def stream() -> AsyncIterator[bytes]:
            yield b"["
            between = b""
            position = None
            while (found := await self._read(queries.chunks, session_id, since_chunk, position)) is not None:
                position, lists = found
                yield between + b",".join(events[1:-1] for events in lists)
                between = b","
            yield b"]"

        return StreamingResponse(stream(), media_type="application/json", headers={"x-last-chunk": str(last)})

    async def _live_events(self, request: Request) -> Response:
        launchers = self._launchers
        if launchers is None or not _flag(request, "stay"):
            return StreamingResponse(self._live.events(), media_type=_EVENTS)
        if launchers.ended:
            return Json({"error": "the server is ending"}, 503)
        return _Staying(self._live.events(), launchers)

    async def _read(self, question: Callable[..., Any], *arguments: Any) -> Any:
        def ask() -> Any:
            connection = getattr(self._of_thread, "connection", None)
            if connection is None:
                connection = self._of_thread.connection = schema.open_for_reading(self._path)
            return question(connection, *arguments)

        return await asyncio.get_running_loop().run_in_executor(self._readers, ask)


def answer(connection: sqlite3.Connection, path: str) -> Any:
    """The answer to a path without parameters, for whoever reads the database without a server; None for a 404."""
    for pattern, question in _QUESTIONS:
        expression, _, converters = compile_path(f"/api/{pattern}")
        match = expression.match(unquote(path))
        if match:
            found = {name: converters[name].convert(value) for name, value in match.groupdict().items()}
            return question(connection, Request({"type": "http", "path_params": found, "query_string": b""}))
    return None


def _groups(connection: sqlite3.Connection, request: Request) -> Any:
    given = request.query_params
    reach = {"service": given.get("service"), "session": given.get("session")}
    return queries.error_groups(connection, _asked(request), _text(request), **reach)


def _group(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.error_group(connection, request.path_params["id"])


def _occurrences(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.errors(connection, _asked(request), group_id=request.path_params["id"])


def _error(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.error(connection, request.path_params["id"])


def _arrived(connection: sqlite3.Connection, request: Request) -> Any:
    since = _number(request, "since")
    launcher = request.query_params.get("launcher")
    return queries.arrived(connection, _asked(request), None if since is None else int(since), launcher)


def _sessions(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.sessions(connection, _asked(request), _text(request), failed=_flag(request, "failed"))


def _session(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.session(connection, request.path_params["id"])


def _network(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.network(connection, _asked(request), request.path_params["id"])


def _network_request(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.request(connection, request.path_params["id"], request.path_params["row"])


def _console(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.console(connection, _asked(request), request.path_params["id"])


def _session_errors(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.errors(connection, _asked(request), ascending=True, session_id=request.path_params["id"])


def _traces(connection: sqlite3.Connection, request: Request) -> Any:
    given = request.query_params
    return queries.traces(
        connection,
        _asked(request),
        _text(request),
        _number(request, "slower"),
        failed=_flag(request, "failed"),
        service=given.get("service"),
        session_id=given.get("session"),
    )


def _trace(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.trace(connection, request.path_params["id"])


def _logs(connection: sqlite3.Connection, request: Request) -> Any:
    given = request.query_params
    since = _number(request, "since")
    return queries.logs(
        connection,
        _asked(request),
        _text(request),
        given.get("level"),
        None if since is None else int(since),
        after=_number(request, "after"),
        before=_number(request, "before"),
        service=given.get("service"),
        session_id=given.get("session"),
        trace_id=given.get("trace"),
    )


def _services(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.services(connection)


def _state(connection: sqlite3.Connection, request: Request) -> Any:
    return queries.state(connection)


_QUESTIONS: tuple[tuple[str, Question], ...] = (
    ("state", _state),
    ("services", _services),
    ("errors", _groups),
    ("errors/{id}", _group),
    ("errors/{id}/occurrences", _occurrences),
    ("error/{id:int}", _error),
    ("arrived", _arrived),
    ("sessions", _sessions),
    ("sessions/{id}", _session),
    ("sessions/{id}/network", _network),
    ("sessions/{id}/network/{row:int}", _network_request),
    ("sessions/{id}/console", _console),
    ("sessions/{id}/errors", _session_errors),
    ("traces", _traces),
    ("traces/{id}", _trace),
    ("logs", _logs),
)


def _asked(request: Request) -> Asked:
    limit = _number(request, "limit")
    return Asked(queries.PAGE if limit is None else int(limit), request.query_params.get("cursor"))


def _number(request: Request, name: str) -> float | None:
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1e15:
        raise Refusal(400, f"{name} must be a number")
    return number


def _text(request: Request) -> str | None:
    given = request.query_params.get("text")
    return None if given is None else given[:_LONGEST_TEXT]


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name) in ("1", "true")
