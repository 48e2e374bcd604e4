"""The pages: one HTML file that shows every view, and its scripts and styles, built from `pages/` in the source."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import Message, Receive, Scope, Send

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "static")
INDEX = os.path.join(FOLDER, "index.html")
VIEWS = (
    "/",
    "/errors",
    "/errors/{id}",
    "/error/{id}",
    "/sessions",
    "/sessions/{id}",
    "/traces",
    "/traces/{id}",
    "/logs",
)
NOT_BUILT = (
    "it has no pages, because npm was missing or failed when it was installed from its source;"
    " install Node.js 20.19 or later, then install this again, or install a wheel"
)
# A replay shows what a stranger's page was: its frame has no scripts, and neither it nor anything else may load what
# is not from here. A page's own styles come with it, as elements and attributes.
POLICY = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; "
    "font-src 'self' data:; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {"content-security-policy": POLICY, "referrer-policy": "same-origin"}


def are_built() -> bool:
    """Whether there are pages."""
    return os.path.isfile(INDEX)


def routes() -> list[BaseRoute]:
    """The views, and the files that they load."""
    found: list[BaseRoute] = [Route(view, _index, methods=["GET"]) for view in VIEWS]
    if are_built():
        found.append(Mount("/assets", _Assets(directory=os.path.join(FOLDER, "assets"))))
        found.append(Route("/icon.svg", _icon, methods=["GET"]))
    return found


async def _index(request: Request) -> Response:
    if not are_built():
        return PlainTextResponse(f"highlight-local: {NOT_BUILT}\n", 501)
    return FileResponse(INDEX, headers=_HEADERS)


async def _icon(request: Request) -> Response:
    return FileResponse(os.path.join(FOLDER, "icon.svg"), headers=_HEADERS)


class _Assets(StaticFiles):
    """Files whose names hold a digest of what is in them: they never change."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"] = [*message["headers"], (b"cache-control", b"private, max-age=31536000, immutable")]
            await send(message)

        await super().__call__(scope, receive, answer)
