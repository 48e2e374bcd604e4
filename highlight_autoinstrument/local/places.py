"""Where an error happened: the frames of a traceback of Python or JavaScript, and the application's innermost."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_PYTHON = re.compile(r'^\s*File "([^"\n]+)", line (\d+), in (.+)$')
_NODE = re.compile(r"^\s*at (?:(?P<function>[^(\n]+?) \()?(?P<file>[^()\n]+?):(?P<line>\d+):\d+\)?$")
_FIREFOX = re.compile(r"^(?P<function>[^@\n]*)@(?P<file>[^\n]+?):(?P<line>\d+):\d+$")
_ORIGIN = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*")
_BEGIN = "Traceback (most recent call last):"
_LONGEST = 300_000  # characters of a traceback that are read, the end of it
_MOST_FRAMES = 500

_OTHERS = (
    "/site-packages/",
    "/dist-packages/",
    "/lib/python3",
    "/node_modules/",
    "node:",
    "<frozen ",
    "<anonymous>",
    "webpack/runtime",
    "chrome-extension://",
    "moz-extension://",
)
_OTHERS_OF_WINDOWS = re.compile(r"\\Lib\\(?!site-packages)|\\site-packages\\", re.IGNORECASE)


class Frame(NamedTuple):
    """A call in a traceback; `own` are the application's, as far as its file tells."""

    file: str
    line: int
    function: str
    source: str
    own: bool


def frames(stack: str) -> list[Frame]:
    """The frames of the exception that was seen in the end, the innermost first; empty if none can be told."""
    stack = stack[-_LONGEST:]
    if 'File "' in stack:
        return _of_python(stack)
    found = []
    for line in stack.splitlines()[:_MOST_FRAMES]:
        match = _NODE.match(line[:2000]) or _FIREFOX.match(line[:2000])
        if match:
            file = match["file"]
            found.append(Frame(file, _number(match["line"]), match["function"] or "", "", _own(file)))
    return found


def innermost(stack: str) -> Frame | None:
    """The place of an error: the application's innermost frame, or the innermost of all where it has none."""
    found = frames(stack)
    return next((frame for frame in found if frame.own), found[0] if found else None)


def group(type_: str, message: str, place: Frame | None) -> str:
    """The id of all errors of one type and place. Where no place is known, the message stands for it."""
    if place is None:
        where = re.sub(r"\d+|0x[0-9a-f]+", "#", message[:200])
    else:
        where = f"{_ORIGIN.sub('', place.file).partition('?')[0]}\n{place.function}"
    return hashlib.blake2b(f"{type_}\n{where}".encode("utf-8", "replace"), digest_size=8).hexdigest()


def _of_python(stack: str) -> list[Frame]:
    lines = stack.rpartition(_BEGIN)[2].splitlines()
    found = []
    for number, line in enumerate(lines):
        match = _PYTHON.match(line)
        if match:
            source = lines[number + 1].strip() if number + 1 < len(lines) else ""
            source = "" if source.startswith('File "') else source
            found.append(Frame(match[1], _number(match[2]), match[3].strip(), source, _own(match[1])))
    return found[: -_MOST_FRAMES - 1 : -1]


def _own(file: str) -> bool:
    return not any([part in file for part in _OTHERS]) and not _OTHERS_OF_WINDOWS.search(file)  # noqa: C419 - faster


def _number(digits: str) -> int:
    return int(digits[:9])
