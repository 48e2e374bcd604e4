"""highlight-run --check: whether a command would have the agent and be heard, and what stops it.

The document of `--json` has these keys. What is not known is null.

`ready`: whether the exit status is 0. `stops`: what is in the way, and `notes`: what is worth knowing, each with `what`
and `fix`. `launcher`: the `version`, `python` and `folder` of `highlight-run` itself. `command`: the `name` that was
asked for, the programs that it leads to (`found`), and how its Python is started (`python`). `python`: `executable`,
`implementation`, `version`, `prefix`, `flags` (`E`, `I`, `S`), `pythonpath`. `agent` in that Python: whether it is
`loaded`, `installed`, its `version` and `folder`, and the `sitecustomize` files on the path, of which Python runs the
first and ours the next. `settings`, by their names: `value`, and its `source` (an option, a variable, or `default`).
`libraries` that are installed: `name` (as in HIGHLIGHT_DISABLED_INTEGRATIONS), `distribution`, `version`,
`instrumented`, `by` (`highlight`, or a package of OpenTelemetry's), `tested` (the oldest and the newest version), and
`reason` why not, or what is special. `exports`: for each signal the `url`, whether it is `ok`, the `answer`,
`milliseconds`, and the `fix`; null if the agent is off.

Nothing is changed, no record is sent, and the command is not run.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__, bootstrap, check_command, check_report, cli, config, ecosystem, tested

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from typing import TextIO

OLDEST_PYTHON = (3, 10)
PROBE_SECONDS = 40.0  # the exports included
_NAME = "highlight-autoinstrument"
_LATER = "run the program with a later Python"


class Problem(NamedTuple):
    """What is in the way, and what to do."""

    what: str
    fix: str


class Probed(NamedTuple):
    """What another Python has said of itself."""

    facts: dict[str, Any]
    exports: list[dict[str, Any]] | None
    agent_off: str  # what our sitecustomize has said there


def main(command: list[str], settings: Mapping[str, str], environ: MutableMapping[str, str], *, as_json: bool) -> int:
    """Check a command; returns the exit status."""
    environ.update(settings)
    document = check(command, settings, environ)
    _write(sys.stdout, json.dumps(document, indent=2) + "\n" if as_json else check_report.text(document))
    return 0 if document["ready"] else 1


def _write(stream: TextIO | None, text: str) -> None:
    """Print past the buffer, so that a reader who has gone does not change the exit status."""
    if stream is None:
        return
    left = text.encode(stream.encoding, "backslashreplace")
    try:
        while left:
            left = left[os.write(stream.fileno(), left) :]
    except (OSError, ValueError):  # closed
        pass


def check(command: list[str], options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Find out all that the document has."""
    stops: list[Problem] = []
    folder = cli.template_folder()
    launched = dict(environ)
    stops += [Problem(*problem) for problem in [cli.problem_of(folder)] if problem[0]]
    if not stops:
        cli.add_to_path(launched, folder)
    found, probed = _ask(command, launched, stops)
    settings = config.Config(probed.facts["environ"] if probed else found.environ)
    if probed:
        stops += _why_not_loaded(probed, folder)
    stops += _why_not_sent(settings)
    exports = probed.exports if probed else None
    if exports is None and settings.enabled:
        exports = _round_trips(settings)
    stops += _why_not_heard(exports or [])
    return {
        "ready": not stops,
        "stops": [problem._asdict() for problem in stops],
        "notes": [problem._asdict() for problem in _notes(settings, probed, exports)],
        "launcher": {"version": __version__, "python": sys.executable, "folder": folder},
        "command": {"name": command[0], "found": found.steps, "python": found.python or None},
        "python": _python(probed.facts) if probed else None,
        "agent": _agent(probed.facts) if probed else None,
        "settings": _settings(settings, options, probed.facts["environ"] if probed else found.environ),
        "libraries": list(_libraries(settings, probed.facts)) if probed else None,
        "exports": exports,
    }


# The Python


def _ask(
    command: list[str], environ: dict[str, str], stops: list[Problem]
) -> tuple[check_command.Found, Probed | None]:
    """Find the command's Python, and have it say what it is; what stops that goes to `stops`."""
    try:
        found = check_command.find(command, environ)
    except check_command.NotKnownError as error:
        stops.append(Problem(error.why, error.fix))
        return check_command.Found([], error.environ, error.steps), None
    probed = _probe(found)
    if isinstance(probed, Problem):
        stops.append(probed)
        return found, None
    return found, probed


def _probe(found: check_command.Found) -> Probed | Problem:
    source = (pkgutil.get_data(__package__, "check_probe.py") or b"").decode()
    mark = f"highlight-{os.urandom(8).hex()}:"
    python = check_report.plain(" ".join(found.python))
    fix = "see that it starts as it is, without highlight-run"
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter of the user's command
            [*found.python, "-c", source, mark],
            env=found.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=PROBE_SECONDS,
        )
        out, error = done.stdout, done.stderr
    except subprocess.TimeoutExpired as expired:
        out, error = expired.stdout or b"", expired.stderr or b""
    except OSError as failure:
        return Problem(f"{python} does not start: {failure.strerror or failure}", fix)
    said = error.decode("utf-8", "replace").splitlines()
    lines = out.decode("utf-8", "replace").splitlines()
    answers = [json.loads(line[len(mark) :]) for line in lines if line.startswith(mark)]
    if not answers:
        last = next((line for line in reversed(said) if line.strip()), "no answer")
        if last.startswith("SyntaxError"):
            return Problem(f"{python} is too old: the agent needs Python {_dotted(OLDEST_PYTHON)} or later", _LATER)
        return Problem(f"{python} could not be asked: {last.strip()[:300]}", fix)
    off = [line for line in said if line.startswith("highlight: the agent is off")]
    return Probed(answers[0], answers[1] if len(answers) > 1 else None, off[0].partition(": ")[2] if off else "")


def _why_not_loaded(probed: Probed, folder: str) -> Iterator[Problem]:
    facts = probed.facts
    python, flags, agent = facts["executable"], facts["flags"], facts["agent"]
    pythonpath = facts["environ"].get("PYTHONPATH", "")
    on_path = folder in pythonpath.split(os.pathsep)
    if tuple(facts["version"]) < OLDEST_PYTHON:
        yield Problem(
            f"{python} is Python {_dotted(facts['version'])}, and the agent needs {_dotted(OLDEST_PYTHON)} or later",
            _LATER,
        )
        return
    if probed.agent_off:
        what, _, fix = probed.agent_off.partition("; ")
        yield Problem(what, fix)
        return
    if facts["loaded"]:
        yield from _missing_parts(facts)
        return
    for flag in ("I", "E", "S"):
        if flags[flag]:
            reads = "does not run sitecustomize" if flag == "S" else "does not read PYTHONPATH"
            yield Problem(
                f"{python} is started with -{flag} and so {reads}", f"leave -{flag} out (also of a first line)"
            )
    if not on_path and not any(flags.values()):
        yield Problem(
            f"PYTHONPATH is {pythonpath!r} where Python starts: the agent's folder has been taken out on the way",
            f"keep what is there and add to it (PYTHONPATH=...:$PYTHONPATH), or add {folder}",
        )
    if agent is None and not flags["S"]:  # with -S there is nothing that was installed
        yield Problem(f"the agent is not installed for {python}", f"{python} -m pip install {_NAME}")
    elif agent is not None and on_path and not any(flags.values()):
        first = facts["sitecustomize"][:1]
        if first and os.path.dirname(first[0]) != folder:
            yield Problem(f"{first[0]} is run in place of the agent's", f"put {folder} before it on PYTHONPATH")
        else:
            yield Problem("the agent has not started, and has not said why", "run the command with --debug")


def _missing_parts(facts: Mapping[str, Any]) -> Iterator[Problem]:
    """What the agent needs and will not find, which would be seen at the first request only."""
    path = facts["path"]
    for line in _requirements(path):
        requirement, _, condition = line.partition(";")
        end = next((place for place, sign in enumerate(requirement) if not (sign.isalnum() or sign in "-_.")), None)
        name = requirement[:end]
        if "extra" not in condition and _version(name, path) is None:
            python = facts["executable"]
            yield Problem(
                f"{name}, which the agent needs, is not installed for {python}", f"{python} -m pip install {name}"
            )


def _requirements(path: list[str]) -> list[str]:
    found = next(iter(metadata.Distribution.discover(name=_NAME, path=path)), None)
    return (found.requires or []) if found is not None else []


def _python(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: facts[name] for name in ("executable", "implementation", "prefix", "flags")},
        "version": _dotted(facts["version"]),
        "pythonpath": facts["environ"].get("PYTHONPATH"),
    }


def _agent(facts: Mapping[str, Any]) -> dict[str, Any]:
    agent = facts["agent"] or {}
    return {
        "loaded": facts["loaded"],
        "installed": True if agent else None if facts["flags"]["S"] else False,
        "version": agent.get("version") or (_version(_NAME, facts["path"]) if agent else None),
        "folder": agent.get("folder"),
        "sitecustomize": list(dict.fromkeys(facts["sitecustomize"])),
    }


# The settings, and whether anything is sent


def _settings(settings: config.Config, options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    by_option = {
        variable: option
        for option, _, variable, _ in cli.OPTIONS
        if variable in options and environ.get(variable) == options[variable]
    }
    found = {}
    for setting in config.SETTINGS:
        source = settings.sources[setting.field]
        value = config.printable(setting, getattr(settings, setting.field))
        found[setting.field] = {"value": value, "source": by_option.get(source, source)}
    return found


def _why_not_sent(settings: config.Config) -> Iterator[Problem]:
    if not settings.enabled:
        variable = settings.sources["enabled"]
        yield Problem(f"the agent is switched off by {variable}", f"unset {variable}")
        return
    problem = config.project_id_problem(settings.project_id)
    if problem:
        what, _, fix = problem.rpartition("; ")
        yield Problem(what, fix)


def _round_trips(settings: config.Config) -> list[dict[str, Any]]:
    """Try from here what could not be tried from there."""
    from . import check_export

    return [dict(each) for each in check_export.round_trips(settings)]


def _why_not_heard(exports: list[dict[str, Any]]) -> Iterator[Problem]:
    signals: dict[tuple[str, str], list[str]] = {}
    for each in exports:
        if not each["ok"]:
            signals.setdefault((each["answer"], each["fix"]), []).append(each["signal"])
    for (answer, fix), names in signals.items():
        yield Problem(f"the export of {', '.join(names)} fails: {answer}", fix)


def _notes(settings: config.Config, probed: Probed | None, exports: list[dict[str, Any]] | None) -> Iterator[Problem]:
    for problem in settings.problems:
        if problem != config.project_id_problem(settings.project_id):
            yield Problem(problem, "correct it")
    if probed:
        version = _agent(probed.facts)["version"]
        if version not in (None, __version__):
            yield Problem(f"the agent there is {version}, and highlight-run {__version__}", "install the same version")
        if probed.facts["implementation"] != "cpython":
            yield Problem(f"{probed.facts['implementation']} is not among the Pythons that are tested", "try CPython")
        unknown = settings.disabled_integrations.difference(
            bootstrap.integrations(), _names_of_opentelemetry(probed.facts["path"]), ("opentelemetry",)
        )
        if unknown and settings.sources["disabled_integrations"].startswith("HIGHLIGHT_"):
            names = ", ".join(sorted(unknown))[:200]
            yield Problem(f"HIGHLIGHT_DISABLED_INTEGRATIONS: no library here has the name {names}", "correct it")
    if exports and (probed is None or probed.exports is None):
        yield Problem("the exports were tried from highlight-run's own Python", "")


# The libraries


def _libraries(settings: config.Config, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    path, disabled = facts["path"], settings.disabled_integrations
    off = "" if facts["loaded"] else "the agent is not loaded"
    off = off or ("" if settings.enabled else f"switched off by {settings.sources['enabled']}")
    covered = bootstrap.integrations()
    for name, distribution, oldest, newest in tested.TESTED:
        version = _dotted(facts["version"]) if distribution == "Python" else _version(distribution, path)
        if version is None:
            continue
        reason = off or (f"disabled by {settings.sources['disabled_integrations']}" if name in disabled else "")
        yield {
            "name": name,
            "distribution": distribution,
            "version": version,
            "instrumented": not reason,
            "by": "highlight",
            "tested": [oldest, newest],
            "reason": reason or _beyond(version, oldest, newest),
        }
    for entry in sorted(entry for _, entry in ecosystem.installed(path)):
        name, version = ecosystem.name_of(entry), entry.removesuffix(".dist-info").rpartition("-")[2]
        reason = off or ecosystem.why_not(name, covered, disabled)
        if "opentelemetry" in disabled:
            reason = reason or f"disabled by {settings.sources['disabled_integrations']}"
        package = entry.partition("-")[0].replace("_", "-")
        yield {
            "name": name,
            "distribution": package,
            "version": version,
            "instrumented": not reason,
            "by": "opentelemetry",
            "tested": None,
            "reason": reason or None,
        }


def _beyond(version: str, oldest: str, newest: str) -> str | None:
    """What is to be said of a version that is outside of those that are tested; the last number does not count."""
    if _numbers(version) < _numbers(oldest):
        return f"older than {oldest}, the oldest that is tested"
    if _numbers(version)[:2] > _numbers(newest)[:2]:
        return f"newer than {newest}, the newest that is tested"
    return None


def _numbers(version: str) -> list[int]:
    """The numbers that a version begins with: of `2.10rc1`, 2 and 10."""
    found = []
    for part in version.split("."):
        digits = part[: next((place for place, sign in enumerate(part) if not sign.isdecimal()), None)]
        if not digits:
            break
        found.append(int(digits))
        if digits != part:
            break
    return found


def _names_of_opentelemetry(path: list[str]) -> set[str]:
    return {ecosystem.name_of(entry) for _, entry in ecosystem.installed(path)}


def _version(distribution: str, path: list[str]) -> str | None:
    found = next(iter(metadata.Distribution.discover(name=distribution, path=path)), None)
    version: str | None = found.version if found is not None else None
    return version


def _dotted(version: Any) -> str:
    return ".".join(map(str, version))
