"""Protobuf's wire format, as far as it takes to come by single records without building the whole request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FIELDS = 1_000_000  # of one message that is looked through: a field may be two bytes
_FIXED = {1: 8, 5: 4}  # wire type, size


def messages(data: bytes, field: int, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Where the messages of a field stand in `data`, between two positions of it; other fields are passed over."""
    position, end = start, len(data) if end is None else end
    fields = 0
    try:
        while position < end:
            tag, position = _varint(data, position)
            wire = tag & 7
            fields += 1
            if fields > MOST_FIELDS:
                raise Refusal(413, f"more than {MOST_FIELDS} fields in one message")
            if wire == 2:
                length, position = _varint(data, position)
                if position + length > end:
                    raise _garbage()
                if tag >> 3 == field:
                    yield position, position + length
                position += length
            elif wire == 0:
                _, position = _varint(data, position)
            elif wire in _FIXED:
                position += _FIXED[wire]
            else:
                raise _garbage()
    except IndexError:
        raise _garbage() from None
    if position != end:
        raise _garbage()


def _varint(data: bytes, position: int) -> tuple[int, int]:
    byte = data[position]
    if byte < 128:
        return byte, position + 1
    number, shift = byte & 127, 7
    for position in range(position + 1, position + 10):  # noqa: B020, PLR1704 - it goes on from there
        byte = data[position]
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position + 1
        shift += 7
    raise _garbage()


def _garbage() -> Refusal:
    return Refusal(400, "not valid protobuf")
