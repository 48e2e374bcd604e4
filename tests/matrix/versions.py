"""What versions.toml says, row by row: a library in one version, and what its tests need there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SEEN = Path(__file__).resolve().parent.parent.parent / ".nox" / "seen"  # a file for each row that has passed
FILE = Path(__file__).with_name("versions.toml")
OLD_PYTHON, NEW_PYTHON = "3.10", "3.13"
# What the receiver and the fixtures use, in whatever environment.
SUPPORT = ["grpcio", "hypothesis", "opentelemetry-exporter-otlp-proto-http", "pytest>=7.4", "websockets"]


@dataclass(frozen=True)
class Row:
    """A library in one version."""

    name: str  # of the distribution
    version: str
    python: str
    tests: list[str]  # arguments of pytest, one run each
    requirements: list[str]  # what the environment has beside the project
    constraints: list[str]  # what an environment of the tests' own (`environment.beside`) has to keep to

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"


def read() -> dict[str, dict]:
    """The libraries, by the names of their distributions."""
    return {name: table for name, table in tomllib.loads(FILE.read_text()).items() if isinstance(table, dict)}


def resolved_on() -> str:
    """The day whose newest releases fill what is not pinned."""
    return tomllib.loads(FILE.read_text())["resolved_on"]


def rows() -> list[Row]:
    """All of the matrix."""
    return [_row(name, table, version) for name, table in read().items() for version in table["versions"]]


def supported() -> dict[str, str]:
    """For each integration, the versions that its libraries are tested with, as the README tells them."""
    found: dict[str, list[str]] = {}
    for name, table in read().items():
        for integration in integrations_of(name, table):
            libraries = found.setdefault(integration, [])
            same = name.replace("-", "_").lower() == integration
            told = span([version for version in table["versions"] if version in table["seen"]])
            libraries.append(told if same else f"{name} {told}")
    return {integration: ", ".join(libraries) for integration, libraries in found.items()}


def tested() -> list[tuple[str, str, str, str]]:
    """For each integration and each of its libraries, the oldest and the newest version that has passed."""
    rows = [
        (integration, name, table["seen"][0], table["seen"][-1])
        for name, table in read().items()
        for integration in integrations_of(name, table)
        if table["seen"]
    ]
    return sorted(rows)


def integrations_of(name: str, table: dict) -> list[str]:
    """The integrations that a library's table is about."""
    return table.get("integrations", [name.replace("-", "_")])


def span(versions: list[str]) -> str:
    """Versions as the README tells them: `2.2 - 3.1`."""
    if not versions:
        return "none yet"
    oldest = versions[0].removesuffix(".0") if versions[0].count(".") > 1 else versions[0]
    newest = ".".join(versions[-1].split(".")[:2])
    if oldest.startswith(f"{newest}."):
        newest = versions[-1]
    return oldest if oldest == newest else f"{oldest} \N{EN DASH} {newest}"


def _row(name: str, table: dict, version: str) -> Row:
    tests = table.get("tests") or [f"tests/integrations/test_{integrations_of(name, table)[0]}.py"]
    python = _for(version, table.get("python", {}))
    if name == "Python":
        return Row(name, version, version, tests, [*SUPPORT, *table.get("needs", [])], [])
    newest = version == table["versions"][-1]
    python = python[0] if python else NEW_PYTHON if newest else OLD_PYTHON
    pins = [f"{each}=={version}" for each in [name, *table.get("together", [])]]
    pins += _for(version, table.get("with", {}))
    if "beside" in table:
        return Row(name, version, python, tests, [*SUPPORT, *table.get("needs", [])], pins)
    return Row(name, version, python, tests, [*SUPPORT, *table.get("needs", []), *pins], [])


def _for(version: str, table: dict) -> list[str]:
    """What is said for a version, or for all that begin so: `"2."`."""
    found = []
    for key, value in table.items():
        if version == key or (key.endswith(".") and version.startswith(key)):
            found += value if isinstance(value, list) else [value]
    return found
