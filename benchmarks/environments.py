"""What the benchmarks compare: one row for each way to run the same unmodified programs."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import environment  # noqa: E402

FOLDER = ROOT / ".venv-bench"
PROGRAMS = ["fastapi", "flask", "httpx", "requests", "uvicorn"]  # what the programs under test are made of


class Environment(NamedTuple):
    """A virtual environment, and what stands before a command in it. `{sink}` is the URL that takes all exports."""

    name: str
    packages: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    project: bool = False  # whether this project is installed in it

    @property
    def bin(self) -> Path:
        return FOLDER / self.name / "bin"

    def prepare(self) -> None:
        """Make the virtual environment, unless it is there as it should be."""
        wanted = json.dumps([PROGRAMS, self.packages, sys.version])
        if self.project:
            wanted += (ROOT / "setup.cfg").read_text()
        digest = hashlib.sha256(wanted.encode()).hexdigest()
        stamp = FOLDER / self.name / "benchmarks"
        if not stamp.exists() or stamp.read_text() != digest:
            environment.make(FOLDER / self.name, [*PROGRAMS, *self.packages], project=self.project)
            stamp.write_text(digest)

    def command(self, words: list[str]) -> list[str]:
        """A command as it is started here: by this environment's programs, behind the launcher."""
        found = [str(self.bin / words[0]) if (self.bin / words[0]).exists() else words[0], *words[1:]]
        return [str(self.bin / self.launcher[0]), *self.launcher[1:], *found] if self.launcher else found

    def environ(self, sink: str) -> dict[str, str]:
        """The environment variables, and none of this shell's that could change what Python does."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        path = f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**kept, "PATH": path, **{name: value.format(sink=sink) for name, value in self.variables}}


BARE = Environment("bare")

ENVIRONMENTS = (
    BARE,  # the first is what the others are compared with
    Environment(
        "highlight",
        launcher=("highlight-run",),
        variables=(("HIGHLIGHT_PROJECT_ID", "1"), ("HIGHLIGHT_OTLP_ENDPOINT", "{sink}")),
        project=True,
    ),
)
