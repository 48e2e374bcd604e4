"""What other programs say of a request's ids: the `x-highlight-request` header, baggage, cookies and `traceparent`."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

from .context import HighlightRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADER = "x-highlight-request"

_LONGEST_VALUE = 256
_LONGEST_LIST = 65_536  # characters of a baggage or cookie header; what is longer is ignored whole
_SESSION_DATA_MS = 15 * 60 * 1000

# What a forwarding line makes of a header that was not there.
_NO_ID = frozenset(("", "null", "undefined"))

# The pairs of baggage keys, best first; the first of all holds both ids in one value.
_BAGGAGE_PAIRS = (
    ("highlight.session_id", "highlight.trace_id"),
    ("launchdarkly.session_id", "launchdarkly.request_id"),
)
BAGGAGE = frozenset((HEADER, *(name for pair in _BAGGAGE_PAIRS for name in pair)))  # keys of it that are ids
# One pass over the whole list, however many entries of others stand in it.
_BAGGAGE_ENTRY = re.compile(
    r"(?:^|,)[ \t]*((?i:x-highlight-request)|highlight\.session_id|highlight\.trace_id"
    r"|launchdarkly\.session_id|launchdarkly\.request_id)[ \t]*=([^,;]*)",
)

# Other applications have a cookie of the name `sessionID` too, and theirs may be a password. The browser client's are
# 28 letters and digits; what is longer or has other characters is not one of its ids and must not be sent anywhere.
_PLAIN_SESSION = re.compile(r"[A-Za-z0-9]{1,28}")

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]{0,256})?",
)
_KNOWN_TRACE_FLAGS = 0b11  # sampled, random trace id; the others must be sent as zero

_TRACESTATE_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_TRACESTATE_ENTRY = re.compile(rf"({_TRACESTATE_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")
_TRACESTATE_ENTRIES = 32
_TRACESTATE_LENGTH = 512


class Names(NamedTuple):
    """How a carrier spells the headers that are read."""

    request: str
    baggage: str
    cookie: str
    traceparent: str
    tracestate: str


NAMES = Names(HEADER, "baggage", "cookie", "traceparent", "tracestate")


def parse(value: str | bytes | None) -> HighlightRequest | None:
    """The ids in one `x-highlight-request` header; None stands for no header, and for one that says nothing.

    `S/R`, `S/`, `/R` and `S` are read. On every XHR the browser client sends `S/R1, S/R2`: the first is the one that
    its own recording knows. A value with control characters, not ASCII or over 256 characters is ignored whole.
    """
    if not isinstance(value, str):
        if not isinstance(value, (bytes, bytearray)):
            return None
        value = value.decode("latin-1")
    # isprintable: in ASCII, everything but the control characters.
    if len(value) > _LONGEST_VALUE or not (value.isascii() and value.isprintable()):
        return None
    session, _, rest = value.partition(",")[0].partition("/")
    session = session.strip()
    request = rest.partition("/")[0].strip()
    if session in _NO_ID:
        return None if request in _NO_ID else HighlightRequest(None, request)
    return HighlightRequest(session, None if request in _NO_ID else request)


def format(request: HighlightRequest) -> str:  # noqa: A001 - read as propagation.format
    """The header's value: `S/R`, `S/` or `/R`."""
    return f"{request.session_id or ''}/{request.request_id or ''}"


def from_ids(session_id: str | None, request_id: str | None) -> HighlightRequest | None:
    """The two ids from anywhere but the header, by the header's rules; None if nothing is left of them.

    An id with a slash or a comma would be read as another one at the next service, so it makes the pair void.
    """
    ids = [value if isinstance(value, str) else "" for value in (session_id, request_id)]
    if any("/" in value or "," in value for value in ids):
        return None
    return parse("/".join(ids))


def parse_baggage(value: str) -> HighlightRequest | None:
    """The ids in a W3C `baggage` header, as .NET and Python, else Ruby, else LaunchDarkly's Ruby put them there."""
    if not isinstance(value, str) or len(value) > _LONGEST_LIST:
        return None
    entries: dict[str, str] = {}
    for match in _BAGGAGE_ENTRY.finditer(value):
        name, text = match[1].lower(), _percent_decoded(match[2].strip(" \t"))
        if name == HEADER:
            request = parse(text)
            if request is not None:
                return request
        elif from_ids(text, None) is not None:
            entries.setdefault(name, text)
    for session, request_name in _BAGGAGE_PAIRS:
        request = from_ids(entries.get(session), entries.get(request_name))
        if request is not None:
            return request
    return None


def parse_cookies(value: str, now_ms: int) -> HighlightRequest | None:
    """The session that the browser client left in cookies, which alone reach a server on page loads and form posts.

    `now_ms` is the present Unix time: session data that was written over 15 minutes before belongs to an earlier visit.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_LIST or "session" not in value:
        return None
    cookies = list(_cookies(value))
    for name, text in cookies:
        if name == "sessionSecureID":
            request = from_ids(_percent_decoded(text), None)
            if request is not None:
                return request
    for name, text in cookies:
        if name == "sessionID" and _PLAIN_SESSION.fullmatch(text) and text not in _NO_ID:
            return HighlightRequest(text, None)
    return _newest_session_data(cookies, now_ms)


def extract(
    get: Callable[[str], str | None],
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    names: Names = NAMES,
) -> HighlightRequest | None:
    """The ids of an incoming request, from its header, else its baggage, else its cookies.

    `get` is asked for the names: in lower case, unless others are given. The first carrier that says anything is the
    only one: after a header `/R` no session is looked for elsewhere, since the browser client that sent it has none. A
    header that says nothing (`null`, or a malformed one) counts as missing.
    """
    request = parse(get(names.request))
    if request is not None:
        return request
    baggage = get(names.baggage)
    if baggage:
        request = parse_baggage(baggage)
        if request is not None:
            return request
    cookie = get(names.cookie)
    return parse_cookies(cookie, now_ms()) if cookie else None


def parse_traceparent(value: str | None) -> tuple[int, int, int] | None:
    """Trace id, span id and flags of a W3C `traceparent`; None where it has to be ignored.

    Later versions may have more fields at the end; version 00 may not.
    """
    match = _TRACEPARENT.fullmatch(value.strip(" \t")) if isinstance(value, str) else None
    if match is None or (match[5] is not None and match[1] == "00"):
        return None
    return int(match[2], 16), int(match[3], 16), int(match[4], 16)


def format_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """The header's value, of version 00."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags & _KNOWN_TRACE_FLAGS:02x}"


def parse_tracestate(value: str | None) -> str | None:
    """A W3C `tracestate`, at most 512 characters of it; None if there is nothing to send on.

    One malformed or repeated entry makes the whole of it void, as W3C asks. What is too long loses whole entries from
    its end, where the oldest are.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_LIST:
        return None
    entries: dict[str, str] = {}
    for part in value.split(","):
        entry = part.strip(" \t")
        if not entry:
            continue
        match = _TRACESTATE_ENTRY.fullmatch(entry)
        if match is None or match[1] in entries or len(entries) == _TRACESTATE_ENTRIES:
            return None
        entries[match[1]] = entry
    kept = ",".join(entries.values())
    while len(kept) > _TRACESTATE_LENGTH:
        kept = kept.rpartition(",")[0]
    return kept or None


def _percent_decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)  # bytes that are no UTF-8 become a character that is not ASCII: parse() refuses it


def _cookies(value: str) -> Iterator[tuple[str, str]]:
    for part in value.split(";"):
        name, equals, text = part.partition("=")
        if equals:
            text = text.strip(" \t")
            if len(text) > 1 and text[0] == text[-1] == '"':
                text = text[1:-1]
            yield name.strip(" \t"), text


def _newest_session_data(cookies: list[tuple[str, str]], now_ms: int) -> HighlightRequest | None:
    newest: HighlightRequest | None = None
    newest_ms: float = now_ms - _SESSION_DATA_MS
    for name, text in cookies:
        if not name.startswith("sessionData_"):
            continue
        data = _json_object(_percent_decoded(text))
        pushed_ms = data.get("lastPushTime")
        # "not <": a NaN is never new enough
        if not isinstance(pushed_ms, (int, float)) or not pushed_ms >= newest_ms:
            continue
        session = data.get("sessionSecureID") or _percent_decoded(name.removeprefix("sessionData_"))
        request = from_ids(session, None) if isinstance(session, str) else None
        if request is not None:
            newest, newest_ms = request, pushed_ms
    return newest


def _json_object(text: str) -> dict[str, object]:
    import json

    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # what a browser sends may be anything, and nested as deep
        return {}
    return data if isinstance(data, dict) else {}
