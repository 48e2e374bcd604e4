"""werkzeug's development server: each request is served as a unit of work, whatever the application is."""

from __future__ import annotations

import functools

from .. import wsgi
from ..patching import on_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

MODULES = ("werkzeug.serving", "werkzeug.wrappers.response")


def patch(module: ModuleType) -> None:
    if hasattr(module, "BaseWSGIServer"):
        on_read(module.BaseWSGIServer, "app", module.WSGIRequestHandler.run_wsgi, wsgi.called)
    elif hasattr(module, "_iter_encoded"):  # its answers, whoever serves them
        encoding = module._iter_encoded.__code__  # noqa: SLF001
        wsgi.know_whole(module.ClosingIterator, functools.partial(is_whole, module.Response.close, encoding))


def is_whole(closing: Any, encoding: Any, body: Any) -> bool:
    """Whether a body is of one part that is there, and is closed and encoded by werkzeug alone, with nothing to do."""
    try:
        _, close = body._callbacks  # noqa: SLF001
        answer = close.__self__
        parts = answer.response
        return (
            close.__func__ is closing
            and type(parts) is list
            and len(parts) == 1
            and type(parts[0]) is bytes  # text may fail to be encoded
            and not answer._on_close  # noqa: SLF001
            and body._next.args[0].gi_code is encoding  # noqa: SLF001
        )
    except (
        AttributeError,
        IndexError,
        ValueError,
    ):  # another version's, or an application's own way to end its answers
        return False
