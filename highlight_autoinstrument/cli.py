"""highlight-run: put the folder of our sitecustomize on PYTHONPATH, then become the program."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from typing import TextIO

# Option, its value's name in the help ("" for a switch), the environment variable that it sets, what it means.
OPTIONS = (
    ("--project-id", "ID", "HIGHLIGHT_PROJECT_ID", "the Highlight project that receives the data"),
    ("--service-name", "NAME", "HIGHLIGHT_SERVICE_NAME", "the service's name"),
    ("--service-version", "VERSION", "HIGHLIGHT_SERVICE_VERSION", "its version; a git commit links the source"),
    ("--environment", "NAME", "HIGHLIGHT_ENVIRONMENT", "production, staging, ..."),
    ("--endpoint", "URL", "HIGHLIGHT_OTLP_ENDPOINT", "the OTLP receiver, for a self-hosted Highlight"),
    ("--debug", "", "HIGHLIGHT_DEBUG", "tell on stderr what the agent does"),
)
# Switches that ask for something else than to run the command, or to run it otherwise.
CHECK, AS_JSON, LOCAL = "--check", "--json", "--local"
USAGE = "usage: highlight-run [OPTIONS] [--] COMMAND [ARGS...]"

CANNOT_RUN = 126  # as a shell has it: found, but not to be executed
NOT_FOUND = 127
SHELL = "/bin/sh"


class NoCommandError(Exception):
    """The command line asks for a text instead of a command, or is wrong; holds the exit status and the text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the launcher; returns an exit status only where the program has not taken this process over."""
    try:
        settings, command, switches = parse(sys.argv[1:] if arguments is None else arguments)
    except NoCommandError as no_command:
        _write(sys.stderr if no_command.status else sys.stdout, no_command.text)
        return no_command.status
    if not command[0] and CHECK not in switches:  # a script's variable that is not set; exec would raise otherwise
        return fail(": command not found", NOT_FOUND)
    if LOCAL in switches:
        from . import run_local

        return run_local.main(command, settings, os.environ, check=CHECK in switches, as_json=AS_JSON in switches)
    if CHECK in switches:
        from . import check

        return check.main(command, settings, os.environ, as_json=AS_JSON in switches)
    os.environ.update(settings)
    add_to_path(os.environ, template_folder())
    return (run_child if os.name == "nt" else become)(command)


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str], set[str]]:
    """Split a command line into the variables that its options set, the command, and the switches."""
    options = {option: (value_name, variable) for option, value_name, variable, _ in OPTIONS}
    settings: dict[str, str] = {}
    switches: set[str] = set()
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        argument = rest.pop(0)
        if argument == "--":
            break
        if argument in ("-h", "--help"):
            raise NoCommandError(0, help_text())
        if argument == "--version":
            from . import __version__

            raise NoCommandError(0, f"highlight-run {__version__}\n")
        option, equals, value = argument.partition("=")
        if argument in (CHECK, AS_JSON, LOCAL):
            switches.add(argument)
            continue
        if option not in options:
            raise _wrong(_unknown(argument))
        value_name, variable = options[option]
        settings[variable] = _value(option, value_name, [value] if equals else None, rest)
    if AS_JSON in switches and CHECK not in switches:
        raise _wrong(f"{AS_JSON} goes with {CHECK}: highlight-run {CHECK} {AS_JSON} COMMAND")
    if LOCAL in switches and "HIGHLIGHT_OTLP_ENDPOINT" in settings:
        raise _wrong(f"{LOCAL} sends to this machine: leave --endpoint out")
    if not rest and CHECK not in switches:
        raise NoCommandError(2, f"{USAGE}\nTry 'highlight-run --help'.\n")
    return settings, rest or ["python"], switches


def _value(option: str, value_name: str, given: list[str] | None, rest: list[str]) -> str:
    """An option's value: what stands behind its `=`, or else the next argument; a switch's is `true`."""
    if not value_name:
        if given:
            raise _wrong(f"{option} takes no value")
        return "true"
    if given:
        return given[0]
    if not rest or rest[0].startswith("--"):
        raise _wrong(f"{option} needs a value: {option} {value_name}")
    return rest.pop(0)


def _wrong(problem: str) -> NoCommandError:
    return NoCommandError(2, f"highlight-run: {problem}\n")


def _unknown(argument: str) -> str:
    if argument[1:2] != "-":  # -m, -c, -X, -u: meant for Python
        return f"unknown option {argument}; options of Python go behind it: highlight-run python {argument} ..."
    return f"unknown option {argument}; see highlight-run --help"


def help_text() -> str:
    """What `--help` prints: each option beside its environment variable."""
    lines = [
        USAGE,
        "",
        "Run a Python program with its errors, logs and traces linked to Highlight sessions.",
        "The program, and every Python process that it starts, needs no code change.",
        "",
        "options (or the environment variable, which the option overrides):",
    ]
    for option, value_name, variable, meaning in OPTIONS:
        lines.append(f"  {option + ' ' + value_name:<26} {variable:<26} {meaning}")
    lines += [
        f"  {LOCAL:<53} send to highlight-local on this machine, which is started",
        f"  {'':<53} unless one runs, and ends after the last command that uses it;",
        f"  {'':<53} an error is a line on stderr, with a link: those of the",
        f"  {'':<53} command, and those that came from no such command",
        f"  {CHECK:<53} tell whether the agent would be loaded and heard, and what",
        f"  {'':<53} stops it; runs no command (without one: python)",
        f"  {AS_JSON:<53} the same as JSON, with {CHECK}",
        f"  {'--version':<53} print the version",
        f"  {'-h, --help':<53} print this text",
        f"  {'--':<53} end of the options: what follows is the command",
        "",
        "examples:",
        "  highlight-run --project-id 1jdkoe52 --service-name api python app.py",
        "  highlight-run gunicorn --workers 2 app:app",
        "  HIGHLIGHT_PROJECT_ID=1jdkoe52 highlight-run uvicorn app:app --reload",
        "  highlight-run --local flask run",
        "  highlight-run --check gunicorn app:app",
        "",
    ]
    return "\n".join(lines)


def template_folder() -> str:
    """The folder of our sitecustomize: beside the package, in a checkout as in an installation."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sitecustomize_template")


def add_to_path(environ: MutableMapping[str, str], folder: str) -> None:
    """Put the folder first on PYTHONPATH, once, and leave the user's entries as they are.

    Where that cannot be done one line says so: the program is what matters, and it runs all the same.
    """
    problem, fix = problem_of(folder)
    if problem:
        _say(f"{problem}, so the program runs without it; {fix}")
        return
    path = environ.get("PYTHONPATH", "")
    entries = path.split(os.pathsep) if path else []
    # An empty entry means the current directory. It is the user's, and "." says the same where it can be seen.
    entries = [entry or os.curdir for entry in entries if entry != folder]
    environ["PYTHONPATH"] = os.pathsep.join([folder, *entries])


def problem_of(folder: str) -> tuple[str, str]:
    """Why our folder cannot be put on PYTHONPATH, and what to do; two empty texts if it can."""
    if not os.path.isfile(os.path.join(folder, "sitecustomize.py")):
        fix = f"reinstall it: {sys.executable} -m pip install --force-reinstall highlight-autoinstrument"
        return f"the agent's folder {folder} is missing", fix
    if os.pathsep in folder:
        return f"the agent's folder {folder} has a {os.pathsep!r} in its name", "move it"
    return "", ""


def become(command: list[str]) -> int:
    """Replace this process by the command: same pid, streams, signals and exit code."""
    _restore_signals()
    try:
        os.execvp(command[0], command)  # noqa: S606 - as asked
    except OSError as error:
        script = for_the_shell(command, error)
        if script is not None:
            os.execv(SHELL, script)  # noqa: S606 - as asked
        return cannot_start(command, error)


def run_child(command: list[str]) -> int:
    """Run the command as a child and give its exit status back: on Windows exec would detach from the console."""
    from . import child

    return child.status(child.run(command, os.environ))


def signed(status: int) -> int:
    """A status of Windows as sys.exit() takes it, with a sign: 0xC000013A is the one after Ctrl-C."""
    return status - 2**32 if status >= 2**31 else status


def _restore_signals() -> None:
    """Give the program the default of what Python ignores: a shell pipeline under us must end by SIGPIPE."""
    import signal

    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def for_the_shell(command: list[str], error: OSError) -> list[str] | None:
    """What runs a script without `#!`, which is left to the shell as execvp(3) does; None if it was something else."""
    import errno
    import shutil

    name = command[0]
    is_python = name.endswith(".py") and os.path.isfile(name)
    if error.errno != errno.ENOEXEC or is_python or not os.path.exists(SHELL):
        return None
    return [SHELL, shutil.which(name) or name, *command[1:]]


def cannot_start(command: list[str], error: OSError) -> int:
    """Say in one line why the command did not start."""
    import shutil

    name = command[0]
    python = f"; try: highlight-run python {name}" if name.endswith(".py") and os.path.isfile(name) else ""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        if os.path.dirname(name) and os.path.isfile(name):
            return fail(f"{name}: the interpreter that its first line names is missing{python}", NOT_FOUND)
        return fail(f"{name}: command not found{python}", NOT_FOUND)
    if os.path.dirname(name) and os.path.isdir(name):
        return fail(f"{name}: is a directory", CANNOT_RUN)
    if isinstance(error, PermissionError):
        if shutil.which(name, os.F_OK) is None:  # a folder on PATH is what could not be read
            return fail(f"{name}: command not found{python}", NOT_FOUND)
        return fail(f"{name}: not executable{python}", CANNOT_RUN)
    return fail(f"{name}: {error.strerror or error}{python}", CANNOT_RUN)


def fail(problem: str, status: int) -> int:
    """Say in one line why there is nothing to run; returns the exit status."""
    _say(problem)
    return status


def _say(line: str) -> None:
    _write(sys.stderr, f"highlight-run: {line}\n")


def _write(stream: TextIO | None, text: str) -> None:
    try:
        if stream is not None:
            stream.write(text)
    except (OSError, ValueError):  # closed
        pass


if __name__ == "__main__":
    sys.exit(main())
