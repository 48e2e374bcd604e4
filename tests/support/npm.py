"""Pages that a package.json builds, once for all who need them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_SOURCES = ("node_modules", "dist")


def built(package: Path, *more: Path) -> Path:
    """Build the package's `dist`, unless it is there already as of these very files; `more`: folders that it reads."""
    dist = package / "dist"
    stamp = dist / "sources"
    with (package / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes may want it at once
        digest = _digest(package, *more)
        if not stamp.exists() or stamp.read_text() != digest:
            stamp.unlink(missing_ok=True)
            _npm(package, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            _npm(package, "run", "build")
            stamp.write_text(digest)
    return dist


def _digest(*folders: Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(_sources(folder)):
            digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.name not in NOT_SOURCES:
            yield from _sources(path)


def _npm(package: Path, *arguments: str) -> None:
    npm = shutil.which("npm")
    assert npm, "the page is built with Node 20.19 or later, whose npm is not on PATH"
    done = subprocess.run(
        [npm, *arguments], cwd=package, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"npm {arguments[0]} in {package}:\n{done.stdout}\n{done.stderr}"
