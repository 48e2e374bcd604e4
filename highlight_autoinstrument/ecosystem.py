"""OpenTelemetry's instrumentation packages: one that is installed is activated when its library is imported."""

from __future__ import annotations

import os
import sys

from . import guard, imports, loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from typing import Any

PREFIX = "opentelemetry_instrumentation_"

# Packages whose own name says neither the library's nor that of our integration for it.
ALIASES = {
    "aiohttp_client": "aiohttp",
    "aiohttp_server": "aiohttp",
    "boto": "botocore",
    "boto3sqs": "botocore",
    "kafka_python": "kafka",
}

# Global state: the instrumentors that were activated here, by their class's name.
activated: dict[str, Any] = {}


def names() -> set[str]:
    """The names of the packages that are installed, as they are disabled by."""
    return {name_of(entry) for _, entry in installed(sys.path)}


def start(covered: Container[str], disabled: Container[str]) -> None:
    """Watch for the libraries of the packages that are installed, unless an integration of ours covers them.

    Where none is installed, this has listed the folders of `sys.path`, and nothing more.
    """
    for folder, entry in installed(sys.path):
        name = name_of(entry)
        reason = why_not(name, covered, disabled)
        if reason:
            guard.debug(f"{entry.partition('-')[0]}: not activated, {reason}")
        else:
            _watch(name, os.path.join(folder, entry))


def why_not(name: str, covered: Container[str], disabled: Container[str]) -> str:
    """Why a package that is installed is not activated; empty if it is."""
    if name in covered:
        return f"the integration {name} covers its library"
    return f"{name} is disabled" if name in disabled else ""


def name_of(entry: str) -> str:
    """The name by which a package is disabled, from that of its metadata's folder."""
    name = entry[len(PREFIX) :].partition("-")[0]
    return ALIASES.get(name, name)


def installed(path: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The packages in these folders: each one's folder, and its metadata's in that."""
    seen = set()
    for folder in path:
        if "-packages" not in folder:  # site-packages, dist-packages: a program's own folder may be anything
            continue
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        for entry in entries:
            if entry.startswith(PREFIX) and entry.endswith(".dist-info") and entry not in seen:
                seen.add(entry)
                yield folder, entry


def _watch(name: str, folder: str) -> None:
    """Have the package's instrumentors activated once one of its libraries has been imported."""
    try:
        targets = _entry_points(folder)
        libraries = _libraries(folder) or ([name] if name in sys.stdlib_module_names else [])
    except OSError as error:
        guard.failed(f"OpenTelemetry's instrumentation {name}", error)
        return
    done: list[str] = []

    def imported(_: object) -> None:
        if not done:
            done.append(name)
            for target in targets:
                _activate(name, target)

    for library in libraries if targets else ():
        imports.watch(library, imported)


def _entry_points(folder: str) -> list[str]:
    """What the package offers under `opentelemetry_instrumentor`: `module:Class`."""
    targets = []
    section = ""
    for line in _lines(folder, "entry_points.txt"):
        if line.startswith("["):
            section = line
        elif section == "[opentelemetry_instrumentor]" and "=" in line:
            targets.append(line.partition("=")[2].strip())
    return targets


def _libraries(folder: str) -> list[str]:
    """The modules of the distributions that the package says it instruments."""
    found = []
    for line in _lines(folder, "METADATA"):
        if not line:  # the headers end here
            break
        if line.startswith("Requires-Dist:") and "extra ==" in line and "instruments" in line.partition("extra ==")[2]:
            distribution = line[len("Requires-Dist:") :].strip()
            end = next((i for i, letter in enumerate(distribution) if not (letter.isalnum() or letter in "-_.")), None)
            found += _modules(os.path.dirname(folder), distribution[:end].lower().replace("-", "_").replace(".", "_"))
    return list(dict.fromkeys(found))


def _modules(site: str, distribution: str) -> list[str]:
    """The top-level modules of an installed distribution, by what it says itself or else by what it has put there."""
    for entry in os.listdir(site):
        name, _, rest = entry.partition("-")
        if rest.endswith(".dist-info") and name.lower().replace(".", "_") == distribution:
            folder = os.path.join(site, entry)
            said = [line for line in _lines(folder, "top_level.txt") if line and not line.startswith("_")]
            if said:
                return said
            paths = (line.partition(",")[0] for line in _lines(folder, "RECORD"))
            return sorted({path.partition("/")[0] for path in paths if path.count("/") == 1 and path.endswith(".py")})
    return []


def _lines(folder: str, file: str) -> list[str]:
    path = os.path.join(folder, file)
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as opened:
        return [line.strip() for line in opened]


def _activate(name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    try:
        with loading.Held():
            __import__(module)
        instrumentor = getattr(sys.modules[module], attribute)()
        if not getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
            instrumentor.instrument(raise_exception_on_conflict=True)
            activated[attribute] = instrumentor
            guard.debug(f"{name}: OpenTelemetry's {attribute} is active")
    except Exception as error:  # noqa: BLE001 - the guard
        guard.say_once(
            f"OpenTelemetry's instrumentation of {name} is off: {guard.summary(error)}; "
            f"the application runs on without it (HIGHLIGHT_DISABLED_INTEGRATIONS={name} silences this)"
        )
