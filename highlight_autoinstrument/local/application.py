"""The server's application: what comes in, and the routes of what is asked."""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from . import bodies, browser, otlp, pages
from .api import Api, Json
from .protection import Protection
from .refusal import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from .launchers import Launchers
    from .live import Live
    from .store import Store

_DECODERS = 2  # threads: while one waits for the other there is nothing to be gained by more
_RETRY = {"retry-after": "1"}


class Ingestion:
    """The paths that bring data. They answer when it is committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._room = bodies.Room()
        self._decoders = ThreadPoolExecutor(_DECODERS, "decoder")

    async def export(self, request: Request) -> Response:
        """OTLP/HTTP."""
        signal = request.url.path.rpartition("/")[2]
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in (otlp.PROTOBUF, otlp.JSON):
            return _line(415, f"Content-Type must be {otlp.PROTOBUF} or {otlp.JSON}")
        encoding = _encoding(request)

        def decode(body: bytes) -> otlp.Decoded:
            return otlp.decode(signal, content_type, bodies.unpacked(body, encoding))

        try:
            decoded = await self._stored(request, decode)
        except Refusal as refusal:
            if refusal.status == 415:
                return _line(refusal.status, refusal.line)
            body = otlp.refusal(content_type, refusal.line)
            return Response(body, refusal.status, _headers(refusal), media_type=content_type)
        return Response(otlp.answer(signal, content_type, decoded.rejected, decoded.reason), media_type=content_type)

    async def public(self, request: Request) -> Response:
        """The browser client's GraphQL."""
        user_agent = request.headers.get("user-agent")
        encoding = _encoding(request)

        def decode(body: bytes) -> browser.Handled:
            return browser.handle(bodies.unpacked(body, encoding), user_agent, time.time_ns())

        try:
            handled = await self._stored(request, decode)
        except Refusal as refusal:
            return Json({"errors": [{"message": refusal.line}]}, refusal.status, _headers(refusal))
        return Json(handled.answer)

    async def _stored(self, request: Request, decode: Any) -> Any:
        body = await bodies.read(request, self._room)
        size = len(body)
        try:
            loop = asyncio.get_running_loop()
            try:
                found = await loop.run_in_executor(self._decoders, decode, body)
            except (MemoryError, RecursionError):
                raise Refusal(400, "it is nested too deeply, or too large") from None
            del body
            batch = found.batch
            if batch.size and any((batch.spans, batch.logs, batch.errors, batch.sessions)):
                await asyncio.wrap_future(self._store.put(batch))
        except Refusal:
            raise
        except Exception as error:
            print(f"highlight-local: a request could not be stored: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
            raise Refusal(500, "it could not be stored; the server has said why") from error
        else:
            return found
        finally:
            self._room.give_back(size)


def application(store: Store, live: Live, token: str | None, launchers: Launchers | None) -> ASGIApp:
    """All of it, behind the protection."""
    ingestion = Ingestion(store)
    routes = [
        *[Route(f"/v1/{signal}", ingestion.export, methods=["POST"]) for signal in otlp.SIGNALS],
        Route("/public", ingestion.public, methods=["POST"]),
        *Api(store, live, launchers).routes(),
        *pages.routes(),
    ]
    return Protection(Starlette(routes=routes), token)


def _encoding(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _headers(refusal: Refusal) -> dict[str, str] | None:
    return _RETRY if refusal.status == 503 else None


def _line(status: int, line: str) -> Response:
    return PlainTextResponse(f"{line}\n", status)
