"""Which Python a command would start, as far as that can be told without starting the command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from . import cli

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE_SECONDS = 20.0
_MOST_STEPS = 20  # scripts whose first lines name each other
_PYTHON = re.compile(r"(python|pypy)w?[\d.]*t?")
_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "ksh", "fish")
# Programs that become the command behind their name.
_PREFIXES = ("nohup", "setsid", "dumb-init", "tini")
# Programs that run the command in an environment of their making.
_RUNNERS = ("conda", "hatch", "mamba", "micromamba", "pdm", "pipenv", "pipx", "pixi", "poetry", "rye", "uvx")
_OTHER_USERS = ("sudo", "su", "doas", "runuser")
_UV_PLAIN = (
    *("--frozen", "--locked", "--no-sync", "--offline", "--exact", "--quiet", "-q", "--verbose", "-v", "--no-progress"),
    *("--dev", "--no-dev", "--all-extras", "--all-groups", "--active", "--no-project", "--python", "-p"),
    *("-m", "--module", "--"),
)
_UV_OPAQUE = ("UV_ENV_FILE", "UV_ISOLATED", "UV_PROJECT", "UV_WORKING_DIRECTORY")
_SHIM = re.compile(r'exec "?([^\s"]*\b(?:pyenv|asdf))"? exec ')
_OWN_FOLDER = '"$(dirname -- "$(realpath -- "$0")")"'  # in the scripts of uv's relocatable environments


class Found(NamedTuple):
    """The Python of a command: how it is started, in which environment, and how it was found."""

    python: list[str]
    environ: dict[str, str]
    steps: list[str]


class NotKnownError(Exception):
    """It cannot be told which Python a command starts: why, what to do, and what has been found until then."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.why = why
        self.fix = fix
        self.steps: list[str] = []
        self.environ: dict[str, str] = {}


def find(command: Sequence[str], environ: Mapping[str, str]) -> Found:
    """Find the Python that the command would start under these variables; NotKnownError if that cannot be told."""
    search = _Search(environ)
    try:
        python = search.resolve(list(command))
    except NotKnownError as error:
        error.steps, error.environ = search.steps, search.environ
        raise
    return Found(python, search.environ, search.steps)


def options(arguments: Sequence[str]) -> list[str]:
    """Of the arguments of a Python, its own options, less those by which it would do something else than run."""
    kept: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        argument = rest.pop(0)
        if argument == "--check-hash-based-pycs":
            kept += [argument, *rest[:1]]
            del rest[:1]
        letters = "" if argument.startswith("--") else argument[1:]
        for place, letter in enumerate(letters, 1):
            if letter in "cm":  # the program begins
                return kept
            if letter in "WX":
                value = argument[place + 1 :] or (rest.pop(0) if rest else "")
                kept.append(f"-{letter}{value}")
                break
            if letter in "bBEIOPRsSu":
                kept.append(f"-{letter}")
    return kept


class _Search:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.steps: list[str] = []

    def resolve(self, command: list[str]) -> list[str]:
        """The interpreter with its options."""
        name = command[0]
        path = shutil.which(name, path=self.environ.get("PATH"))
        if path is None:
            raise self._missing(name)
        self.steps.append(path)
        if len(self.steps) > _MOST_STEPS:
            raise NotKnownError(f"{path}: its first line leads nowhere", "correct the first line of the script")
        base = os.path.basename(name).lower().removesuffix(".exe")
        rest = command[1:]
        if _PYTHON.fullmatch(base):
            return [path, *options(rest)]
        if base == "env":
            return self._env(rest)
        if base == "uv":
            return self._uv(path, rest)
        if base in _SHELLS:
            return self._shell(base, rest)
        if base == "highlight-run":
            return self._launcher(rest)
        if base in _PREFIXES and rest[1 if rest[:1] == ["--"] else 0 :]:
            return self.resolve(rest[1:] if rest[0] == "--" else rest)
        if base in _RUNNERS:
            raise _opaque(f"{base} runs its command in an environment that it chooses itself", f"{base} run")
        if base in _OTHER_USERS:
            raise _opaque(f"{base} does not hand on the variables that highlight-run sets", base)
        return self._script(path, rest)

    def _missing(self, name: str) -> NotKnownError:
        path = self.environ.get("PATH")
        if os.path.isdir(name):
            return NotKnownError(f"{name}: is a directory", "name the command")
        if os.path.dirname(name) or shutil.which(name, os.F_OK, path):
            if not os.path.exists(name) and os.path.dirname(name):
                return NotKnownError(f"{name}: command not found", "correct the path")
            return NotKnownError(f"{name}: not executable", f"python {name}, or chmod +x")
        if name.endswith(".py") and os.path.isfile(name):
            return NotKnownError(f"{name}: command not found", f"highlight-run python {name}")
        if name == "python" and shutil.which("python3", path=path):
            fix = "name the command that you run: highlight-run --check python3 ..."
        else:
            fix = "install it, or put its folder on PATH (activate the virtual environment)"
        return NotKnownError(f"{name}: command not found", fix)

    def _env(self, arguments: list[str]) -> list[str]:
        """`env [OPTIONS] NAME=VALUE... COMMAND`; a simple command of a shell has the same form."""
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument in ("-", "-i", "--ignore-environment"):
                self.environ.clear()
            elif argument in ("-u", "--unset") and rest:
                self.environ.pop(rest.pop(0), None)
            elif argument.startswith("--unset="):
                self.environ.pop(argument.partition("=")[2], None)
            elif argument in ("-S", "--split-string") and rest:
                rest[:1] = _words(rest[0])
            elif argument.startswith("-S"):
                rest[:0] = _words(argument[2:])
            elif argument.startswith("-") and argument != "--":
                raise _opaque(f"what env does with {argument.partition('=')[0]} is not known here", "env ...")
            elif "=" in argument:
                name, _, value = argument.partition("=")
                self.environ[name] = value
            elif argument != "--":
                return self.resolve([argument, *rest])
        raise NotKnownError("env has no command to run", "name the command")

    def _shell(self, shell: str, arguments: list[str]) -> list[str]:
        if arguments and os.path.isfile(arguments[0]):
            return self._shell_script(arguments[0])
        if len(arguments) > 1 and arguments[0] == "-c":
            words = _simple_command(arguments[1])
            if words:
                return self._env(words)
            raise _opaque(f"which Python is started by what {shell} runs cannot be told", f"{shell} -c '", "'")
        raise _opaque(f"which Python {shell} starts cannot be told", "")

    def _shell_script(self, path: str) -> list[str]:
        text = _head(path)
        for line in text.splitlines()[1:2]:
            if line.startswith("'''exec' "):  # as installers write it where a first line would be too long
                folder = shlex.quote(os.path.dirname(os.path.realpath(path)))
                words = _words(line[len("'''exec' ") :].replace(_OWN_FOLDER, folder))
                if words:
                    return self.resolve([*words[: words.index("$0") if "$0" in words else None], path])
        shim = _SHIM.search(text)
        if shim is not None:
            return self.resolve([self._ask([shim[1], "which", os.path.basename(path)])])
        raise _opaque(f"{path} is a shell's script, and which Python it starts cannot be told", "")

    def _script(self, path: str, arguments: list[str]) -> list[str]:
        head = _head(path)
        if os.path.basename(os.path.realpath(path)) == "mise":  # its shims are links to itself
            return self.resolve([self._ask([os.path.realpath(path), "which", os.path.basename(path)])])
        if not head.startswith("#!"):
            raise _opaque(f"{path} is no script of Python's, and which Python it uses cannot be told", "")
        first = head.partition("\n")[0][2:].strip().split(None, 1)  # so the system has it: one argument at most
        if not first:
            raise NotKnownError(f"{path}: its first line names no interpreter", "correct the first line of the script")
        if shutil.which(first[0]) is None:
            raise NotKnownError(
                f"{path}: the interpreter that its first line names, {first[0]}, is missing",
                "install the package of that script anew in its environment",
            )
        return self.resolve([*first, path, *arguments])

    def _uv(self, uv: str, arguments: list[str]) -> list[str]:
        if arguments[:1] != ["run"]:
            raise _opaque("of uv's commands only `uv run` is known here", "uv ...")
        rest = arguments[1:]
        used = self._uv_options(rest)
        if not rest:
            raise NotKnownError("uv run has no command to run", "name the command")
        request = used.get("--python") or used.get("-p")
        project = None if "--no-project" in used else _project()
        if project is None:
            plain = ["--no-project"] if "--no-project" in used else []
            request = request or self.environ.get("UV_PYTHON")
            python = self._ask([uv, "python", "find", "--no-python-downloads", *plain, *filter(None, [request])])
        else:
            python = self._python_of(project, active="--active" in used)
            if request:
                raise _opaque("with --python, uv run may make the project's environment anew", "uv run ...")
        folder = os.path.dirname(python)
        self.environ["PATH"] = os.pathsep.join(filter(None, (folder, self.environ.get("PATH"))))
        of_python = options(rest[1:]) if rest[0] == "python" else []
        if not (used.keys() & {"-m", "--module"} or rest[0] in ("-", "python")):
            if not (rest[0].endswith((".py", ".pyw")) and os.path.isfile(rest[0])):
                return self.resolve(rest)
            if "# /// script" in _head(rest[0]):
                raise _opaque(f"uv makes an environment for {rest[0]} from what stands in it", "")
        self.steps.append(python)
        return [python, *of_python]

    def _python_of(self, project: str, *, active: bool) -> str:
        """The Python of a project's environment, which may be that of the workspace around it."""
        folders = [self.environ.get("UV_PROJECT_ENVIRONMENT"), self.environ.get("VIRTUAL_ENV") if active else None]
        places = [os.path.join(project, folder) for folder in folders if folder]
        for folder in places or (os.path.join(above, ".venv") for above in _upwards(project)):
            python = os.path.join(folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
            if os.path.isfile(python):
                return python
        raise NotKnownError("the project has no environment yet: uv makes it at the first run", "uv sync")

    def _uv_options(self, rest: list[str]) -> dict[str, str]:
        """Take the options of `uv run` out of what is given to it."""
        used: dict[str, str] = {}
        opaque = [name for name in _UV_OPAQUE if self.environ.get(name)]
        while rest and rest[0].startswith("-") and rest[0] != "-" and "--" not in used:
            option, equals, value = rest.pop(0).partition("=")
            if option in ("-p", "--python") and not equals and rest:
                value = rest.pop(0)
            used[option] = value
            opaque += [] if option in _UV_PLAIN else [option]
        if opaque:
            raise _opaque(f"with {opaque[0]}, uv run chooses its environment anew", f"uv run {opaque[0]} ...")
        return used

    def _launcher(self, arguments: list[str]) -> list[str]:
        try:
            settings, command, _ = cli.parse(arguments)
        except cli.NoCommandError as error:
            raise NotKnownError("highlight-run: " + error.text.partition("\n")[0], "name the command") from None
        self.environ.update(settings)
        cli.add_to_path(self.environ, cli.template_folder())
        return self.resolve(command)

    def _ask(self, command: list[str]) -> str:
        """What a tool answers on one line."""
        tool = os.path.basename(command[0])
        try:
            done = subprocess.run(  # noqa: S603 - the tool that the command itself goes through
                command,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=PATIENCE_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotKnownError(
                f"{tool} could not be asked: {type(error).__name__}", f"see that {tool} works"
            ) from None
        if done.returncode:
            said = os.fsdecode(done.stderr).strip().splitlines()
            raise NotKnownError(f"{tool} does not find it: {said[-1] if said else ''}", f"see that {tool} works")
        return os.fsdecode(done.stdout).strip()


def _opaque(why: str, before: str, after: str = "") -> NotKnownError:
    place = f"{before}{'' if before.endswith(chr(39)) or not before else ' '}"
    return NotKnownError(why, f"check what it starts: {place}highlight-run --check COMMAND{after}")


def _head(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(8192).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an open quotation
        return []


def _simple_command(text: str) -> list[str]:
    """The words of a shell's command that is one command and nothing more; none for all else."""
    words = [] if any(sign in text for sign in ";&|<>()$`*?[]{}~#\\\n!") else _words(text)
    return words[1:] if words[:1] == ["exec"] else words


def _project() -> str | None:
    """The folder of the project that uv would take."""
    return next((each for each in _upwards(os.getcwd()) if os.path.isfile(os.path.join(each, "pyproject.toml"))), None)


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        yield folder
