"""Who may ask what: the names this server answers to, the origins of pages, and a token where others can reach it.

A page that is open in the browser can send requests here as well. It may bring data, as the browser client does, and
read nothing: what it asks for elsewhere is refused, and so is a name that was made to point here (DNS rebinding).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

INGESTION = frozenset({"/v1/traces", "/v1/logs", "/v1/metrics", "/public"})
COOKIE = "highlight_local_token"
HEADER = "x-highlight-local-token"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PREFLIGHT_SECONDS = "7200"


class Protection:
    """The application, for those who may use it."""

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        ingestion = scope["path"] in INGESTION
        refused = self._refused(scope, headers, origin)
        if refused is None and ingestion and scope["method"] == "OPTIONS":
            refused = _preflight(headers)  # which carries neither cookie nor token
        elif refused is None and self._token is not None:
            refused = _without_token(scope, headers, self._token)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                given["x-content-type-options"] = "nosniff"
                if ingestion:
                    _allow(given, origin)
                else:
                    given["cross-origin-resource-policy"] = "same-origin"
                    given["x-frame-options"] = "DENY"
                    given.setdefault("cache-control", "no-store")
            await send(message)

        await (refused or self._app)(scope, receive, answer)

    def _refused(self, scope: Scope, headers: Headers, origin: str | None) -> Response | None:
        """The answer to what must not be asked."""
        host = headers.get("host", "")
        # With a token, a name that points here is of no use to a page: it has no cookie of ours.
        if self._token is None and _name(host) not in _LOOPBACK:
            return PlainTextResponse("this server answers to localhost and 127.0.0.1 only\n", 421)
        if scope["path"] in INGESTION:
            return None
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("pages of other origins may not ask this\n", 403)
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            followed = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
            if not followed or headers.get("sec-fetch-dest") != "document" or scope["path"].startswith("/api/"):
                return PlainTextResponse("pages of other origins may not ask this\n", 403)
        return None


def _without_token(scope: Scope, headers: Headers, token: str) -> Response | None:
    """The answer to whoever has no token. A link with `?token=` gives the browser its cookie."""
    given = [headers.get(HEADER, ""), headers.get("authorization", "").removeprefix("Bearer ")]
    given.append(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
    if any([hmac.compare_digest(one.encode(), token.encode()) for one in given]):  # noqa: C419 - all of them
        return None
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    if scope["method"] == "GET" and hmac.compare_digest(query.pop("token", "").encode(), token.encode()):
        rest = f"?{urlencode(query)}" if query else ""
        answer = RedirectResponse(f"/{scope['path'].lstrip('/')}{rest}", 303)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer
    return PlainTextResponse(f"the token is missing: send it as the header {HEADER}\n", 401)


def _preflight(headers: Headers) -> Response:
    allowed = {
        "access-control-allow-methods": "POST, OPTIONS",
        "access-control-max-age": _PREFLIGHT_SECONDS,
    }
    asked = headers.get("access-control-request-headers")
    if asked:
        allowed["access-control-allow-headers"] = asked
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=allowed)


def _allow(headers: MutableHeaders, origin: str | None) -> None:
    """Let the page read the answer; the client's beacons come with its cookies, so `*` would not do."""
    headers.add_vary_header("Origin")
    if origin is not None:
        headers["access-control-allow-origin"] = origin
        headers["access-control-allow-credentials"] = "true"


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
