"""The body of a request: read, unpacked and parsed within limits, whoever sent it."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, NoReturn

from starlette.requests import ClientDisconnect

from .refusal import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_BYTES = 64 * 1024 * 1024  # of a body, as it comes and unpacked
MOST_AT_ONCE = 4 * MOST_BYTES  # of all requests that are being read or worked on
MOST_VALUES = 3_000_000  # of a JSON text: each takes a hundred bytes of memory for perhaps two of the text's
MOST_MEMBERS = 100  # of gzip data: one is usual
DEEPEST = 200  # lists and objects in each other


class Room:
    """The memory that bodies may take together; who finds none is told to come again."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Reserve some bytes."""
        if size > self._left:
            raise Refusal(503, "too much is coming at once; send it again later")
        self._left -= size

    def give_back(self, size: int) -> None:
        """They are free again."""
        self._left += size


async def read(request: Request, room: Room) -> bytes:
    """The body as it came. Its bytes stay reserved in `room` until the caller gives `len(body)` back."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 15 or int(declared) > MOST_BYTES):
        raise Refusal(413, _too_large())
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            if size + len(part) > MOST_BYTES:
                raise Refusal(413, _too_large())  # noqa: TRY301
            room.take(len(part))
            size += len(part)
            parts.append(part)
    except ClientDisconnect:
        room.give_back(size)
        raise Refusal(400, "the body ended too early") from None  # said to nobody
    except BaseException:
        room.give_back(size)
        raise
    return b"".join(parts)


def unpacked(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding."""
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise Refusal(415, "Content-Encoding must be gzip, or none")
    return gunzip(body)


def gunzip(packed: bytes) -> bytes:
    """The content of a gzip file, of which more than MOST_BYTES is never held."""
    parts: list[bytes] = []
    size = 0
    try:
        members = 0
        while packed:
            members += 1
            if members > MOST_MEMBERS:  # what is left is copied for each
                raise Refusal(400, "gzip data in too many pieces")
            member = zlib.decompressobj(wbits=31)
            while not member.eof:
                part = member.decompress(packed, MOST_BYTES - size + 1)
                size += len(part)
                if size > MOST_BYTES:
                    raise Refusal(413, _too_large())
                if not (part or member.eof or member.unconsumed_tail):
                    raise Refusal(400, "the gzip data ends too early")
                parts.append(part)
                packed = member.unconsumed_tail
            packed = member.unused_data.lstrip(b"\0")
    except zlib.error:
        raise Refusal(400, "not gzip data") from None
    return b"".join(parts)


def from_json(text: bytes | str) -> Any:
    """A JSON text as Python's values."""
    comma, list_, object_ = (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")
    if text.count(comma) + text.count(list_) + text.count(object_) > MOST_VALUES:  # type: ignore[arg-type]
        raise Refusal(413, f"JSON of more than {MOST_VALUES} values")
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise Refusal(400, "JSON that is nested too deeply") from None
    except ValueError:
        raise Refusal(400, "not valid JSON") from None
    if _depth(value) > DEEPEST:
        raise Refusal(400, "JSON that is nested too deeply")
    return value


def to_json(value: Any) -> str:
    """Python's values as a JSON text: ASCII, so that lone surrogates are no matter."""
    return json.dumps(value, separators=(",", ":"))


def clean(text: str) -> str:
    """A text that SQLite can hold: no lone surrogates, and no NUL, at which its functions would end."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _depth(value: Any) -> int:
    depth = 0
    level = [value] if isinstance(value, (dict, list)) else []
    while level and depth <= DEEPEST:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return depth


def _finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0:  # 1e999, which could not be said again
        raise ValueError(digits)
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _too_large() -> str:
    return f"more than {MOST_BYTES // 1024 // 1024} MiB"
