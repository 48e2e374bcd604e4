"""The document of `--check` as a text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ALWAYS = ("project_id", "endpoint", "service_name")  # of the settings: shown also where they have their defaults
_MARGIN = 11


def text(document: dict[str, Any]) -> str:
    """The whole report; its last line says `ready`, or what stops it."""
    parts = [
        _part("command", _command(document["command"])),
        _part("python", _python(document["python"])),
        _part("agent", _agent(document["agent"])),
        _part("settings", _settings(document["settings"])),
        _part("libraries", _libraries(document["libraries"])),
        _part("export", _exports(document["exports"], document["settings"]["project_id"]["value"])),
        _part("notes", _problems(document["notes"])),
        _part("problems", _problems(document["stops"])),
    ]
    return "\n".join([*filter(None, parts), _verdict(document["stops"]) + "\n"])


def plain(line: str) -> str:
    """A line in which nothing steers a terminal: paths, versions and answers are strangers' words."""
    if line.isprintable():
        return line
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def _part(title: str, lines: Iterable[str]) -> str:
    """Lines with a title before the first."""
    titles = [title]
    return "".join(f"{titles.pop() if titles else '':<{_MARGIN}}{plain(line)}".rstrip() + "\n" for line in lines)


def _table(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Rows in columns, the last of which may be as long as it is."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    for row in cells:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])


def _command(command: dict[str, Any]) -> Iterator[str]:
    yield " -> ".join(command["found"] or [command["name"]])


def _python(python: dict[str, Any] | None) -> Iterator[str]:
    if python is None:
        yield "not known"
        return
    name = {"cpython": "CPython"}.get(python["implementation"], python["implementation"])
    flags = [f"-{flag}" for flag, is_set in python["flags"].items() if is_set]
    yield f"{name} {python['version']}, {' '.join([python['executable'], *flags])}"


def _agent(agent: dict[str, Any] | None) -> Iterator[str]:
    if agent is None:
        yield "not known"
    elif not agent["installed"]:
        yield "not installed" if agent["installed"] is False else "not loaded"
    else:
        where = f"{agent['version'] or ''} in {agent['folder']}".strip()
        yield f"{'loaded' if agent['loaded'] else 'not loaded'}, {where}"
        if agent["loaded"] and len(agent["sitecustomize"]) > 1:
            yield f"runs this first, which it shadows: {agent['sitecustomize'][1]}"


def _settings(settings: dict[str, Any]) -> Iterator[str]:
    shown = {name: each for name, each in settings.items() if each["source"] != "default" or name in _ALWAYS}
    yield from _table(
        (name, "-" if each["value"] is None else _value(each["value"]), each["source"]) for name, each in shown.items()
    )
    yield f"the other {len(settings) - len(shown)} have their defaults (--json tells them)"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _libraries(libraries: list[dict[str, Any]] | None) -> Iterator[str]:
    if libraries is None:
        yield "not known"
        return
    rows = []
    of_python: dict[str, list[str]] = {}
    for each in libraries:
        by = "instrumented" if each["by"] == "highlight" else "instruments its library"
        said = "; ".join(filter(None, (by if each["instrumented"] else "no", each["reason"])))
        if each["distribution"] == "Python":
            of_python.setdefault(said, []).append(each["name"])
        else:
            name = each["name"] if each["by"] == "highlight" else each["distribution"]
            same = each["distribution"].replace("-", "_").lower() == name.lower() or each["by"] != "highlight"
            rows.append((name, each["version"] if same else f"{each['distribution']} {each['version']}", said))
    yield from _table(rows)
    for said, names in of_python.items():
        yield f"of Python itself ({said}): {', '.join(names)}"


def _exports(exports: list[dict[str, Any]] | None, project: str | None) -> Iterator[str]:
    if exports is None:
        yield "not tried, the agent is switched off"
        return
    yield from _table((each["signal"], each["url"], f"{each['answer']}, {each['milliseconds']} ms") for each in exports)
    if project and all(each["ok"] for each in exports):
        yield f"the answer is the same whether or not there is a project {project}"


def _problems(problems: list[dict[str, str]]) -> Iterator[str]:
    for problem in problems:
        yield problem["what"]
        if problem["fix"]:
            yield f"  -> {problem['fix']}"


def _verdict(stops: list[dict[str, str]]) -> str:
    if not stops:
        return "ready"
    more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
    return plain(f"not ready: {stops[0]['what']}{more}")
