"""The matrix of versions: `nox -s matrix` runs all of it, `nox -s "matrix(flask-2.2.0)"` a row of it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from tests import environment  # noqa: E402
from tests.matrix import versions  # noqa: E402

nox.needs_version = ">=2026.10.20"  # the one whose sessions in parallel were seen to work
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True
nox.options.parallel = 2
nox.options.sessions = ["matrix"]
environment.every_python()
ROWS = {str(row): row for row in versions.rows()}


@nox.session(allow_parallel=True)
@nox.parametrize(["python", "name"], [nox.param(row.python, name, id=name) for name, row in ROWS.items()])
def matrix(session: nox.Session, name: str) -> None:
    """Run the tests of one library in one version."""
    row = ROWS[name]
    folder = Path(session.virtualenv.location)
    seen = versions.SEEN / name
    seen.unlink(missing_ok=True)
    # As on that day, so that the same is tested again: what is not pinned as well.
    session.install(f"--exclude-newer={versions.resolved_on()}", "--editable", ".", *row.requirements)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(row.constraints))
    env = {"TESTS_BESIDE": str(folder), "PIP_CONSTRAINT": str(constraints)}
    for arguments in row.tests:
        session.run("pytest", "-q", "-p", "no:cacheprovider", *shlex.split(arguments), *session.posargs, env=env)
    seen.parent.mkdir(exist_ok=True)
    seen.touch()
