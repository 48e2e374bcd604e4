"""The one guard: a failure of the agent is said once, in one line, and goes no further; in tests it raises."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Global state: whether failures raise (tests), whether debugging tells all, where lines go, and what was said already.
raises = False
debugging = False
_sink: Callable[[str], object] | None = None
_said: set[str] = set()

_MOST_OWN_FRAMES = 100  # that the agent ever needs on top of the application's
# An exception may be of a class that answers these itself.
_get_traceback = BaseException.__dict__["__traceback__"].__get__
_get_name = type.__dict__["__name__"].__get__


def say(line: str) -> None:
    """Write one line for the operator: to stderr, or to the logger that was given to `set_debug_mode`.

    Never raises: stderr may be closed, missing (`pythonw`) or a full pipe. It is written past its buffer, where a line
    that cannot be written would stay, and turn the program's exit status into 120.

    Paths, hosts and answers are strangers' words: what would begin a line of its own, or steer a terminal, is escaped.
    """
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    try:
        if _sink is not None:
            _sink(line)
        elif sys.stderr is not None:
            line = f"highlight: {line}\n"
            if type(getattr(sys.stderr, "buffer", None)).__module__ == "mod_wsgi":  # Apache's log has no descriptor
                sys.stderr.write(line)
            else:
                os.write(sys.stderr.fileno(), line.encode())
    except Exception:  # noqa: BLE001, S110 - there is no place left to say it
        pass


def say_once(line: str) -> None:
    """Write a line that would otherwise repeat, the first time only."""
    if line not in _said and len(_said) < 1000:
        _said.add(line)
        say(line)


def debug(line: str) -> None:
    """Write one line if `HIGHLIGHT_DEBUG` asks for it; check `debugging` first where building the line costs."""
    if debugging:
        say(line)


def set_debug(sink: Callable[[str], object] | None, *, on: bool = True) -> None:
    """Switch the debug lines on or off, and say where all lines go (None: stderr)."""
    global debugging, _sink
    debugging, _sink = on, sink


def failed(part: str, error: BaseException, fix: str = "") -> None:
    """Report that a part of the agent failed and is off from now on; raise instead where tests ask for it.

    `part` is the name that the user knows (an integration, a setting); `fix` says what to do about it.
    """
    if sys.is_finalizing():
        return  # modules are being taken apart: nothing can be expected to work
    if raises:
        raise error
    try:
        line = f"{part} is off: {summary(error)}{origin(error)}"
        if fix:
            line += f"; {fix}"
        say_once(line)
    except Exception:  # noqa: BLE001, S110 - there is nobody left to tell
        pass


def broken(part: str, error: BaseException) -> None:
    """Report the failure of a part that stays on, unless the application's stack or memory is used up."""
    try:
        if not exhausted(error):
            failed(part, error)
    except RecursionError as deeper:
        if deeper is error:
            raise
    finally:
        del error  # as in exhausted()


def exhausted(error: BaseException) -> bool:
    """Whether the application's stack or memory is used up: no failure of ours, and the next time all is well again.

    A recursion that goes on and on in what we ourselves called is a failure. What a signal's handler of the
    application's has raised, wherever the signal came, is raised again: it is on its way to the application.
    """
    kind = type(error)
    if issubclass(kind, MemoryError):
        return True
    if not issubclass(kind, RecursionError):
        try:
            if is_of_a_signal(error):
                raise error
        finally:
            del error  # whose traceback has this frame
        return False
    frames = 0
    traceback = _get_traceback(error)
    while traceback is not None:
        frames += 1
        traceback = traceback.tb_next
    return frames < _MOST_OWN_FRAMES


def is_of_a_signal(error: BaseException) -> bool:
    """Whether an exception came through a handler of signals: one is called with the frame that it interrupts."""
    traceback = _get_traceback(error)
    caller = None
    while traceback is not None:
        frame = traceback.tb_frame
        code = frame.f_code
        if caller is not None and "highlight_autoinstrument" not in code.co_filename:
            # All parameters, and `*args`, which comes after those that are given by name.
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4)]
            values = frame.f_locals
            for name in names:
                value = values.get(name)
                if value is caller or (type(value) is tuple and any(each is caller for each in value)):
                    return True
        caller = frame
        traceback = traceback.tb_next
    return False


def summary(error: BaseException) -> str:
    """Type and message of an exception on one line, whatever its `__str__` does."""
    try:
        text = " ".join(str(error).split())[:300]
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # a __str__ that raises
        if is_of_a_signal(failure):
            raise
        text = ""
    name = _get_name(type(error))
    return f"{name}: {text}" if text else name


def origin(error: BaseException) -> str:
    """Name the place of ours that raised, ` (file.py:12)`, so that one line is enough for a bug report."""
    traceback = _get_traceback(error)
    place = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if "highlight_autoinstrument" in code.co_filename:
            place = f" ({code.co_filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place
