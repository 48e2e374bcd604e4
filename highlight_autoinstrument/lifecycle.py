"""The ends of a process: what happens to records and errors at a fork, an exit, SIGTERM, an uncaught exception."""

from __future__ import annotations

import os
import sys

from . import config, guard, loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType


def start(*, before_program: bool = False) -> None:
    """Install the hooks; each costs nothing until it is called. `before_program`: the application has not begun."""
    import atexit

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=loading.before_fork,
            after_in_parent=loading.after_fork_in_parent,
            after_in_child=_after_fork,
        )
    # What is registered first runs last: the application's own functions may still log.
    atexit.register(_at_exit)
    _chain_excepthook()
    _chain_unraisablehook()
    _handle_sigterm(before_program=before_program)


def close(interrupted: FrameType | None = None) -> None:
    """Send what has been recorded, because the process is about to end; bounded in time.

    `interrupted` is where a signal has come. In the middle of an import, modules are half there, those that we need
    perhaps among them: what others have left is for another process then.
    """
    # Where nothing was recorded, the pipeline has not been loaded. Another thread may be in the midst of loading it.
    pipeline = sys.modules.get(f"{__package__}.pipeline")
    end_messages = getattr(sys.modules.get(f"{__package__}.messaging"), "end_all", None)
    try:
        if end_messages is not None:
            end_messages()
        if not hasattr(pipeline, "close") and _importing(interrupted):
            return
        if pipeline is not None or _is_left():
            loading.load("pipeline").close(look=pipeline is None)
    except Exception as error:  # noqa: BLE001 - the guard
        guard.failed("export at exit", error)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _is_left() -> bool:
    """Whether errors of a process that was killed are to be sent, although this one has recorded nothing."""
    settings = config.get()
    folder = settings.spool_dir
    if folder is None or not settings.enabled or not os.path.isdir(folder):
        return False
    left: bool = loading.load("leftovers").is_left(settings)
    return left


def _after_fork() -> None:
    loading.after_fork_in_child()
    # Modules that are not loaded hold nothing that would have to be renewed.
    for name in ("pipeline", "recording", "metrics"):
        module = sys.modules.get(f"{__package__}.{name}")
        if module is not None:
            module.after_fork()


def _at_exit() -> None:
    if sys.excepthook is not _excepthook:
        # The application's own hook may not have called ours: here Python has left what ended the program.
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if isinstance(error, BaseException):
            _guarded_record("sys.excepthook", error)
    close()


_previous_excepthook = sys.excepthook
_previous_unraisablehook = sys.unraisablehook


def _chain_excepthook() -> None:
    global _previous_excepthook  # noqa: PLW0603 - once in a process
    _previous_excepthook = sys.excepthook
    sys.excepthook = _excepthook


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    _guarded_record("sys.excepthook", error)
    _previous_excepthook(kind, error, traceback)


def _chain_unraisablehook() -> None:
    global _previous_unraisablehook  # noqa: PLW0603 - once in a process
    _previous_unraisablehook = sys.unraisablehook
    sys.unraisablehook = _unraisablehook


def _unraisablehook(unraisable: sys.UnraisableHookArgs) -> None:
    if unraisable.exc_value is not None:
        _guarded_record("sys.unraisablehook", unraisable.exc_value, foreign=True)
    _previous_unraisablehook(unraisable)


def _guarded_record(hook: str, error: BaseException, *, foreign: bool = False) -> None:
    # No error. And to load what records one would change the exit status: Python forgets that Ctrl-C has ended the
    # program when a text is compiled after it, as named tuples do.
    if issubclass(type(error), KeyboardInterrupt):
        return
    try:
        errors = loading.load("errors")
        # A garbage collection runs wherever it happens to: the unit of work here need not be the one that failed.
        if foreign:
            errors.record_aside(None, error)
        else:
            errors.record_uncaught(error)
    except Exception as failure:  # noqa: BLE001 - the guard
        guard.failed(hook, failure)


def _handle_sigterm(*, before_program: bool) -> None:
    """Flush when SIGTERM ends the process by its default action; the exit status stays that of the signal.

    Installed while starting, since only the main thread may; a handler that the application sets takes our place. One
    that is there before the program has begun is another agent's, as ddtrace's, which ends the process: it runs after.
    """
    # The module `signal` loads `enum`; the built-in beneath it is there already.
    import _signal  # type: ignore[import-not-found]

    try:
        before = _signal.getsignal(_signal.SIGTERM)
        if before == _signal.SIG_DFL:
            _signal.signal(_signal.SIGTERM, _on_sigterm)
        elif before_program and callable(before):
            _signal.signal(_signal.SIGTERM, _flushing_before(before))
    except ValueError:  # not the main thread, or a sub-interpreter
        pass


def _flushing_before(handler: Callable[..., object]) -> Callable[[int, FrameType | None], None]:
    def on_sigterm(number: int, frame: FrameType | None) -> None:
        try:
            # Not all that is done at the end: whether this is one, the other handler decides.
            if f"{__package__}.pipeline" in sys.modules:
                loading.load("pipeline").flush()
        except Exception as error:  # noqa: BLE001 - the guard
            guard.failed("export at SIGTERM", error)
        handler(number, frame)

    return on_sigterm


def _on_sigterm(number: int, interrupted: FrameType | None) -> None:
    import _signal

    try:
        close(interrupted)
    finally:
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
