"""Builds the pages of highlight-local with npm, if it is there; everything else about the project is in setup.cfg."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(ROOT, "pages")
BUILT = os.path.join(ROOT, "highlight_autoinstrument", "local", "static", "export", "export.js")  # the last one


class build_with_pages(build_py):  # noqa: N801 - as setuptools names commands
    """`build_py`, after the pages are built: only what is there then is copied."""

    def run(self) -> None:
        """Without npm, and where it fails, the agent is installed all the same."""
        problem = build_pages()
        if problem:
            print(f"highlight-local will have no pages: {problem}", file=sys.stderr)
        super().run()


def build_pages() -> str:
    """Build them, unless they are newer than their source; returns what has hindered it, else an empty text."""
    if not os.path.isfile(os.path.join(SOURCE, "package.json")) or is_newer(BUILT):
        return ""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed; install Node.js 20.19 or later, then install this again"
    # Scripts of packages are not run: none is needed.
    for command in (["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        ended = subprocess.run([npm, *command], cwd=SOURCE, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            return f"'npm {command[0]}' in {SOURCE} said: {' '.join((ended.stderr or ended.stdout).split())[-500:]}"
    return ""


def is_newer(built: str) -> bool:
    """Whether a file is newer than all of the source."""
    if not os.path.isfile(built):
        return False
    files = [os.path.join(SOURCE, name) for name in os.listdir(SOURCE) if not name.startswith(".")]
    for folder in ("src", "public"):
        files += [os.path.join(at, name) for at, _, names in os.walk(os.path.join(SOURCE, folder)) for name in names]
    return os.path.getmtime(built) >= max(os.path.getmtime(file) for file in files if os.path.isfile(file))


setup(cmdclass={"build_py": build_with_pages})
