"""The headers that go out with a call: the present unit's ids and trace, to whom the settings allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import config, context, guard, propagation
from .origins import TracingOrigins

if TYPE_CHECKING:
    from collections.abc import Callable

    from .recording import Span

_origins = TracingOrigins.parse(config.get().tracing_origins)
_LONGEST_VALUE = 1024  # more than any of ours has
_SIGNED = ("aws4-", "aws ")  # SigV4, with one region or several, and SigV2
_PRESIGNED = ("x-amz-signature=", "awsaccesskeyid=")


def everywhere() -> bool:
    """Whether every host may have the ids: then they may be left to what follows redirects by itself."""
    return _origins.everywhere


def headers(
    scheme: str,
    host: str,
    port: int | None,
    has: Callable[[str], str | None],
    url: str = "",
    span: Span | None = None,
) -> list[tuple[str, str]]:
    """The headers to add to a call, by lower-case names; none outside a unit of work.

    `has` returns the value of a header (lower case) that the call has already, or None: such a one stays as it is.
    `span` is the call's own where that is not the current one. Call this for each hop: after a redirect the host is
    another.
    """
    unit = context.current()
    if unit is None or context.suppressed():
        return []
    if not _origins.allows(scheme, host, port):
        if guard.debugging:
            guard.debug(f"call to {host}: no ids, {_origins.reason(scheme, host, port)}")
        return []
    if (has("authorization") or "").lower().startswith(_SIGNED) or ("?" in url and _is_presigned(url.lower())):
        guard.debug(f"call to {host}: no ids, the request is signed")
        return []
    found = pairs(span)
    given = [name for name, _ in found if has(name) is not None]
    if given:
        if "traceparent" in given:  # the state belongs to that one
            given.append("tracestate")
        found = [(name, value) for name, value in found if name not in given]
    if guard.debugging:
        guard.debug(f"call to {host}: {', '.join(name for name, _ in found) or 'no ids, it has them already'}")
    return found


def _is_presigned(url: str) -> bool:
    return any(part in url for part in _PRESIGNED)


def pairs(span: Span | None = None) -> list[tuple[str, str]]:
    """The present unit's ids and trace as header lines, whoever they are for; also for messages and metadata."""
    unit = context.current()
    if unit is None:
        return []
    found = []
    if unit.ids is not None:
        found.append((propagation.HEADER, propagation.format(unit.ids)))
    sender = span or context.current_span()
    ids = context.span_ids(sender)
    if ids is not None:
        found.append(("traceparent", propagation.format_traceparent(*ids)))
        state = context.trace_state(sender)
        if state:
            found.append(("tracestate", state))
    return [pair for pair in found if _is_sound(pair[1])]


def _is_sound(value: str) -> bool:
    """Whether a value can stand in any header: what a library refuses would be the application's failure."""
    return isinstance(value, str) and len(value) <= _LONGEST_VALUE and value.isascii() and value.isprintable()
