"""An exception as text: its type, message and traceback, in the forms that the backends can read."""

from __future__ import annotations

import json
import linecache
import os
import re
import stat
import time
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from . import guard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, TracebackType

    _Section = tuple[str, list[TracebackType]]

MAX_MESSAGE_CHARACTERS = 10_000
MAX_BYTES = 60_000  # the backend cuts a longer attribute at its tail
MAX_EXCEPTIONS = 64  # that are told of in one error: links of a chain, members of a group
MAX_MEMBERS = 50  # of one group
MAX_LINE_CHARACTERS = 500
MAX_STRUCTURED_FRAMES = 64
MAX_STRUCTURED_FRAMES_EACH = 20
CONTEXT_LINES = 5

_HEADER = "Traceback (most recent call last):\n"
_CHAINED = "\nDuring handling of the above exception, another exception occurred:\n\n"
_NO_SOURCE = "(source not available)"
_REMOTE_FRAME = re.compile(r'^ +File "(.{1,4096})", line ([0-9]{1,9}), in (.{1,300})\n(?:    .*\n)*', re.MULTILINE)
_MAX_REMOTE_CHARACTERS = 500_000
_MAX_FRAMES = MAX_BYTES // 30  # no frame's two lines are shorter
_MAX_NAME_CHARACTERS = 300
_MAX_SOURCE_BYTES = 4_000_000
_MAX_CACHED_FRAMES = 1000
_RECHECK_SECONDS = 2.0


class ErrorText(NamedTuple):
    """What is sent of an exception; all of it can be encoded in UTF-8."""

    type: str
    message: str
    stacktrace: str
    structured: str


def describe(error: BaseException) -> ErrorText:
    """Put an exception into words, whatever it is; it is neither changed nor kept.

    The traceback reads as Python's does: causes before the exception, the members of a group after it, and the error
    itself on the last line. Whatever exceeds `MAX_BYTES` is missing at the beginning. The structured frames run the
    other way, since there the end is what would be dropped; each carries the `Class: message` of its exception.
    """
    try:
        name = type_name(error)
        message = _message(error)
        sections = _sections(error, _error_line(name, message, MAX_MESSAGE_CHARACTERS))
        now = time.monotonic()
        return ErrorText(
            name, message or name.rpartition(".")[2] or name, _stacktrace(sections, now), _structured(sections, now)
        )
    except RecursionError:  # the application's stack is all but used up: what follows calls next to nothing
        name = _get_qualname(type(error))
        if not name or not name.isprintable():
            name = "Exception"
        return ErrorText(name, name, f"{_HEADER}{name}\n", "[]")


def _sections(error: BaseException, last_line: str) -> list[_Section]:
    """The error line and the frames of each exception to tell of; last first, and innermost first."""
    exceptions = _in_reverse(error)
    sections: list[_Section] = []
    if exceptions[0] is not error:  # a group's members come after it, and then its own line once more
        sections.append((last_line, []))
    for exception in exceptions:
        remote = _remote_sections(exception)
        if remote:
            sections += remote
            continue
        line = last_line
        if sections:
            line = _harmless(_error_line(type_name(exception), _message(exception), MAX_LINE_CHARACTERS))
        sections.append((line, _innermost_first(_get_traceback(exception))))
    return sections


def _remote_sections(error: BaseException) -> list[_Section]:
    """The tracebacks of another process, which pools give as a text in a cause of the exception."""
    text = attribute(error, "tb") if _get_qualname(type(error)).endswith("RemoteTraceback") else None
    if type(text) is not str:
        return []
    sections: list[_Section] = []
    if len(text) > _MAX_REMOTE_CHARACTERS:  # the head is cut
        text = _HEADER + text[-_MAX_REMOTE_CHARACTERS:].partition("\n")[2]
    for part in reversed(text.split(_HEADER)[1:]):
        frames = list(_REMOTE_FRAME.finditer(part))
        rest = part[frames[-1].end() :] if frames else part
        lines = [line for line in rest.splitlines() if line[:1].strip(' "')]
        if lines:
            links: Any = [_remote_link(frame) for frame in reversed(frames[-_MAX_FRAMES:])]
            sections.append((_harmless(_one_line(lines[0])[:MAX_LINE_CHARACTERS]) + "\n", links))
    return sections


def _remote_link(frame: re.Match[str]) -> SimpleNamespace:
    """What a traceback's link would say."""
    number = int(frame[2])
    code = SimpleNamespace(co_filename=frame[1], co_name=frame[3], co_firstlineno=number)
    return SimpleNamespace(tb_lineno=number, tb_frame=SimpleNamespace(f_code=code, f_globals={}))


def _stacktrace(sections: list[_Section], now: float) -> str:
    parts: list[str] = []  # the last first, so that it is the beginning for which no room is left
    room = MAX_BYTES
    for line, links in sections:
        fixed = len(_HEADER) + _size(line) + (len(_CHAINED) if parts else 0)
        if fixed > room:
            break
        room -= fixed
        if parts:
            parts.append(_CHAINED)
        parts.append(line)
        for link in links:
            frame = _frame(link, now)
            if frame.size > room:
                room = 0
                break
            room -= frame.size
            parts.append(frame.text)
        parts.append(_HEADER)
    parts.reverse()
    return "".join(parts)


def _structured(sections: list[_Section], now: float) -> str:
    frames: list[str] = []
    room = MAX_BYTES - 2
    for line, links in sections:
        # On every frame, as the backend has it where it parses the text itself.
        end = f',"error":{_quote(line[:MAX_LINE_CHARACTERS].rstrip())}}}'
        end_size = _size(end) + 1
        for link in links[:MAX_STRUCTURED_FRAMES_EACH]:
            frame = _frame(link, now)
            room -= frame.structured_size + end_size
            if room < 0 or len(frames) == MAX_STRUCTURED_FRAMES:
                return f"[{','.join(frames)}]"
            frames.append(frame.structured + end)
    return f"[{','.join(frames)}]"


# --- the exception itself

# What the interpreter itself reads: a class may shadow these names with anything.
_get_traceback = BaseException.__dict__["__traceback__"].__get__
_get_cause = BaseException.__dict__["__cause__"].__get__
_get_context = BaseException.__dict__["__context__"].__get__
_get_suppress_context = BaseException.__dict__["__suppress_context__"].__get__
_get_module = type.__dict__["__module__"].__get__
_get_qualname = type.__dict__["__qualname__"].__get__


def type_name(error: BaseException) -> str:
    """`package.module.Class`; without the module where that is `builtins` or no text."""
    cls = type(error)
    name = _get_qualname(cls)
    module = _get_module(cls)
    if issubclass(type(module), str) and module and module != "builtins":
        name = f"{str.__str__(module)}.{name}"
    return _clean(name[:_MAX_NAME_CHARACTERS]).replace("\n", " ").replace("\t", " ") or "Exception"


def _message(error: BaseException) -> str:
    """The exception's text and its notes; empty if there are none."""
    try:
        text = _head(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # strangers' code: it raises what it likes
        if guard.is_of_a_signal(failure):
            raise
        text = f"(no text: __str__ raised {type_name(failure)})"
    notes = attribute(error, "__notes__")
    if type(notes) is list or type(notes) is tuple:
        room = MAX_MESSAGE_CHARACTERS - len(text)
        for note in notes:
            if room <= 0:
                break
            if issubclass(type(note), str):  # isinstance() would ask the object itself
                head = _head(note)
                text += f"\n{head}" if text else head
                room -= len(head) + 1
    text = _clean(text)[:MAX_MESSAGE_CHARACTERS]
    return "" if text.isspace() else text


def attribute(error: BaseException, name: str) -> object:
    """An attribute of an exception; None where it has none, or its class raises whatever it likes."""
    try:
        return getattr(error, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # as in _message
        if guard.is_of_a_signal(failure):
            raise
        return None


def _head(text: str) -> str:
    """Cut an enormous text before anything is done to it; a subclass of str becomes a str."""
    return str.__getitem__(text, slice(MAX_MESSAGE_CHARACTERS))


def _in_reverse(error: BaseException) -> list[BaseException]:
    """The exceptions to tell of, last first: a cause comes before its exception, the members of a group after it."""
    found: list[BaseException] = []
    seen: dict[int, BaseException] = {}  # holds each of them, so that no id can be used again meanwhile
    to_do = [(error, False)]
    while to_do:
        exception, is_expanded = to_do.pop()
        if is_expanded:
            found.append(exception)
        elif id(exception) not in seen and len(seen) < MAX_EXCEPTIONS:
            seen[id(exception)] = exception
            cause = _get_cause(exception)
            if cause is None and not _get_suppress_context(exception):
                cause = _get_context(exception)
            if cause is not None:
                to_do.append((cause, False))
            to_do.append((exception, True))
            members = attribute(exception, "exceptions")
            if type(members) is list or type(members) is tuple:
                to_do += [
                    (member, False) for member in members[:MAX_MEMBERS] if issubclass(type(member), BaseException)
                ]
    return found


# --- its frames

_OUR_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


def _innermost_first(traceback: TracebackType | None) -> list[TracebackType]:
    """The frames without ours, unless they are all ours."""
    links = list(deque(_links(traceback), _MAX_FRAMES))
    links.reverse()
    return [link for link in links if not link.tb_frame.f_code.co_filename.startswith(_OUR_FOLDER)] or links


def _links(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


class _Source:
    """One source file: the path to show, and what tells whether it has changed."""

    __slots__ = ("checked", "path", "signature")

    def __init__(self, filename: str, signature: tuple[int, int] | None, now: float) -> None:
        path = filename
        if not _is_pseudo(filename):
            try:
                path = os.path.abspath(filename)
            except (OSError, ValueError):  # the working directory is gone; a NUL in the name
                pass
        self.path = _one_line(path) or "<unknown>"
        self.signature = signature
        self.checked = now


class _Frame(NamedTuple):
    text: str
    size: int
    structured: str  # a JSON object that is still open, for the error
    structured_size: int


# Global state: what was made of files and of single frames; only text, bounded, and dropped together.
_sources: dict[str, _Source] = {}
_frames: dict[tuple[_Source, int | None, str], _Frame] = {}


def _frame(traceback: TracebackType, now: float) -> _Frame:
    code = traceback.tb_frame.f_code
    source = _sources.get(code.co_filename)
    if source is None or now - source.checked > _RECHECK_SECONDS:
        source = _check(code.co_filename, source, now)
    key = (source, traceback.tb_lineno, code.co_name)
    frame = _frames.get(key)
    if frame is None:
        if len(_frames) >= _MAX_CACHED_FRAMES:
            _frames.clear()
            _sources.clear()
        lines = _lines(code.co_filename, source, traceback.tb_frame.f_globals)
        frame = _frames[key] = _make_frame(source.path, traceback.tb_lineno, code, lines)
    return frame


def _check(filename: str, source: _Source | None, now: float) -> _Source:
    """Look at the file again, now and then: development servers edit modules and templates under us."""
    signature = _signature(filename)
    if source is not None and (signature == source.signature or signature is None) and not _is_pseudo(filename):
        source.checked = now  # the same, or vanished: what was read of it still holds
        return source
    if source is not None:
        linecache.checkcache(filename)
    source = _sources[filename] = _Source(filename, signature, now)
    return source


def _signature(filename: str) -> tuple[int, int] | None:
    """Size and time of a file that may be read; None for what is no file, and (-1, 0) for one that must not be."""
    if _is_pseudo(filename):
        return None
    try:
        status = os.stat(filename)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_SOURCE_BYTES:
        return (-1, 0)  # reading a pipe might never end, and enormous files are no source code
    return (status.st_size, status.st_mtime_ns)


def _is_pseudo(filename: str) -> bool:
    return filename.startswith("<") and filename.endswith(">")


def _lines(filename: str, source: _Source, module: dict[str, Any]) -> list[str]:
    if filename not in linecache.cache:
        if source.signature is None:
            # No file: its loader may have the source (zip files). Without one, linecache would search sys.path.
            try:
                if not linecache.lazycache(filename, module):
                    return []
            except Exception:  # noqa: BLE001 - the module's globals are anybody's
                return []
        elif source.signature[0] < 0:
            return []
    elif filename in ("<string>", "<stdin>"):
        return []  # the name of many sources, of which at most one is known
    try:
        return linecache.getlines(filename)
    except Exception:  # noqa: BLE001 - a loader's get_source() may raise anything
        return []


def _make_frame(path: str, line_number: int | None, code: CodeType, lines: list[str]) -> _Frame:
    if line_number is None or line_number < 0:  # an instruction that belongs to no line
        line_number = max(code.co_firstlineno, 0)
    before: list[str] = []
    after: list[str] = []
    content = ""
    if 0 < line_number <= len(lines):
        first = max(line_number - 1 - CONTEXT_LINES, 0)
        before = [_source_line(line) for line in lines[first : line_number - 1]]
        content = _source_line(lines[line_number - 1])
        after = [_source_line(line) for line in lines[line_number : line_number + CONTEXT_LINES]]
    source_line = _harmless(_one_line(content)) or _NO_SOURCE
    # Angle brackets and letters beyond ASCII would hide the frame from the backend's expression.
    name = _NOT_WORD.sub("_", code.co_name.strip("<>")[:_MAX_NAME_CHARACTERS]) or "unknown"
    text = f'  File "{path}", line {line_number}, in {name}\n    {source_line}\n'
    structured = (
        f'{{"fileName":{_quote(path)},"lineNumber":{line_number}'
        f',"functionName":{_quote(_one_line(code.co_name[:_MAX_NAME_CHARACTERS]))}'
        f',"linesBefore":{_quote(chr(10).join(before))}'
        f',"lineContent":{_quote(content)}'
        f',"linesAfter":{_quote(chr(10).join(after))}'
    )
    return _Frame(text, _size(text), structured, _size(structured))


def _source_line(line: str) -> str:
    return _clean(line[:MAX_LINE_CHARACTERS].rstrip("\r\n")).replace("\n", " ")[:MAX_LINE_CHARACTERS]


# --- its characters

_quote = json.JSONEncoder(ensure_ascii=False).encode
_NOT_WORD = re.compile(r"\W+", re.ASCII)
# Controls but newline and tab, whatever else str.splitlines() splits at, and halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What the backend's expressions for other languages (and for a traceback within the text) would take for a frame.
_TRAPS = re.compile(r'File(?= ")|\.js(?=:\d)|(?:^|    )at(?= )|^runtime\.gopanic$|^[\^~]+$')


def _clean(text: str) -> str:
    """Write the characters that a line, a log or UTF-8 cannot hold as escapes."""
    if text.isprintable():
        return text
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n").replace("\r", "\n"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _one_line(text: str) -> str:
    text = _clean(text)
    if "\n" in text:
        text = " ".join(filter(None, map(str.strip, text.split("\n"))))
    return text.replace("\t", " ").strip()


def _error_line(name: str, message: str, max_characters: int) -> str:
    message = _one_line(message)[:max_characters]
    return f"{name}: {message}\n" if message else f"{name}\n"


def _harmless(line: str) -> str:
    """Make a line that is no frame unlike one; it reads as before."""
    return _TRAPS.sub("\\g<0>\u00a0", line)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
