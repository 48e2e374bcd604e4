"""curl_cffi, sync and async: each call is one client span, and has the ids if all that it may reach may have them."""

from __future__ import annotations

import sys

from .. import active, guard
from ..later import outgoing, spans
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("curl_cffi.requests.session", "curl_cffi.aio")


def patch(module: ModuleType) -> None:
    if module.__name__ == "curl_cffi.aio":
        wrap(module.AsyncCurl, "__init__", outside)  # it starts tasks, for all the calls to come
    else:
        wrap(module.Session, "request", request)
        wrap(module.AsyncSession, "request", request)
        wrap(module, "set_curl_options", add_headers)


def request(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    base = getattr(call.instance, "base_url", None)
    with spans.http_client(call.get("method"), call.get("url"), base) as span:
        try:
            response = yield
        except BaseException as error:
            answered = getattr(getattr(error, "response", None), "status_code", None)
            spans.set_status_code(span, answered or None)  # 0: there was none
            raise
        spans.set_status_code(span, getattr(response, "status_code", None))


def add_headers(call: Call) -> Generator[None, Any, None]:
    result = yield
    if active.outside(None, lambda: spans.split_url(result[0].url)[1]):
        return
    options = sys.modules["curl_cffi.const"].CurlOpt
    follows = call.get("allow_redirects", True) or options.FOLLOWLOCATION in (call.get("curl_options") or ())
    if follows and not outgoing.everywhere():
        guard.debug("call by curl_cffi: no ids, libcurl would take them along wherever it is redirected")
        return
    request = result[0]
    scheme, host, port, _ = spans.split_url(request.url)
    added = outgoing.headers(scheme, host, port, request.headers.get, request.url)
    if added:
        # To the lines that are there already: it is a list of libcurl's.
        call["curl"].setopt(options.HTTPHEADER, [f"{name}: {value}".encode("ascii") for name, value in added])
