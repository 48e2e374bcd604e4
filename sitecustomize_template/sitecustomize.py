"""What Python runs when it starts: first the sitecustomize that this file shadows, then the agent."""

import os
import sys

SLASHES = "/\\"


def run_shadowed() -> None:
    """Run the sitecustomize that Python would have found without this file, and leave it in its place.

    Only the entries after our own are searched: each of several copies of this file finds the next one, and none
    itself again. Nor is one searched whose file is being run: another agent's may have come back to us, by a search of
    its own in all of the path.
    """
    # importlib.machinery and importlib.util are the public names of these; importing them costs a millisecond, and
    # in some versions threading, which must not be loaded before gevent has patched it.
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    here = os.path.dirname(__file__).rstrip(SLASHES)
    ours = [index for index, entry in enumerate(sys.path) if str(entry).rstrip(SLASHES) == here]
    if not ours:  # run by another agent's sitecustomize, which took us from elsewhere
        return
    running = set()
    frame = sys._getframe().f_back  # noqa: SLF001 - inspect is not loaded yet
    while frame is not None:
        folder, _, name = frame.f_code.co_filename.rpartition(os.sep)
        if name == "sitecustomize.py":
            running.add(folder.rstrip(SLASHES))
        frame = frame.f_back
    after = [entry for entry in sys.path[ours[-1] + 1 :] if str(entry).rstrip(SLASHES) not in running]
    spec = PathFinder.find_spec("sitecustomize", after)
    if spec is None or spec.loader is None:  # no loader: a folder of that name
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def start_agent() -> None:
    """Start the agent; whatever goes wrong is one line on stderr, and the program starts all the same."""
    if "highlight_autoinstrument.bootstrap" in sys.modules:  # another copy of this file has been here
        return
    try:
        from highlight_autoinstrument.bootstrap import start

        start()
    except KeyboardInterrupt:  # the user's, not ours
        raise
    except BaseException as error:
        if setting("HIGHLIGHT_RAISE_ERRORS") in ("true", "1", "yes", "on"):
            raise
        if issubclass(type(error), ModuleNotFoundError) and getattr(error, "name", "") == "highlight_autoinstrument":
            say_not_installed()
        else:
            say(
                f"the agent is off: {type(error).__name__}: {text_of(error)}; "
                f"reinstall it: {sys.executable} -m pip install --force-reinstall highlight-autoinstrument"
            )


def text_of(error: BaseException) -> str:
    """An exception's message on one line, if it has one that can be had."""
    try:
        return " ".join(str(error).split())[:300]
    except BaseException:  # noqa: BLE001 - whatever it is, the program starts
        return "(no text)"


def say_not_installed() -> None:
    """Say that this is another environment than the launcher's: once, not by each process that it starts."""
    if setting("HIGHLIGHT_ENABLED") in ("false", "0", "no", "off"):
        return
    if os.environ.get("_HIGHLIGHT_NOT_INSTALLED_SAID") == sys.prefix:
        return
    os.environ["_HIGHLIGHT_NOT_INSTALLED_SAID"] = sys.prefix
    say(
        f"the agent is not installed for {sys.executable}, which runs without it; "
        f"install it there: {sys.executable} -m pip install highlight-autoinstrument"
    )


def setting(name: str) -> str:
    """An environment variable as its switch is compared."""
    return os.environ.get(name, "").strip().lower()


def say(line: str) -> None:
    """Write one line to stderr, which a daemon may have closed and pythonw does not have.

    Past its buffer: what cannot be written would stay there, and turn the program's exit status into 120.
    """
    try:
        if sys.stderr is not None:
            os.write(sys.stderr.fileno(), f"highlight: {line}\n".encode(sys.stderr.encoding, "backslashreplace"))
    except (OSError, ValueError):
        pass


try:
    run_shadowed()
finally:
    start_agent()
