"""highlight-autoinstrument: every error and log of a Python backend, attributed to the browser session behind it."""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .api import (
        consume_error,
        flush,
        log,
        message_context,
        parse_headers,
        record_count,
        record_exception,
        record_histogram,
        record_http_error,
        record_incr,
        record_metric,
        record_up_down_counter,
        set_debug_mode,
        trace,
    )
    from .context import HighlightRequest

__all__ = [
    "HighlightRequest",
    "__version__",
    "consume_error",
    "flush",
    "log",
    "message_context",
    "parse_headers",
    "record_count",
    "record_exception",
    "record_histogram",
    "record_http_error",
    "record_incr",
    "record_metric",
    "record_up_down_counter",
    "set_debug_mode",
    "trace",
]


# Starting up imports this package in every Python process: what it offers is loaded when it is asked for.
def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    if name == "HighlightRequest":
        from .context import HighlightRequest

        return HighlightRequest
    from . import api

    return getattr(api, name)
