"""What is installed from a wheel is what the README names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from tests.environment import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def build(folder: Path, path: str = os.environ["PATH"]) -> tuple[Path, str]:
    """A wheel of what git knows, and what was said meanwhile."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for file in tracked.stdout.split("\0"):
        if file and not file.startswith("tests/"):
            (folder / "source" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / "source" / file)
    command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "--wheel-dir", str(folder), "./source"]
    env = {**os.environ, "PATH": path}
    ended = subprocess.run(command, cwd=folder, env=env, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel, ended.stdout + ended.stderr


def test_without_npm_a_line_says_that_there_are_no_pages_and_all_else_is_there(tmp_path):
    (tmp_path / "bin").mkdir()
    wheel, said = build(tmp_path, str(tmp_path / "bin"))

    assert said.count("highlight-local will have no pages: npm is not installed") == 1
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert "highlight_autoinstrument/local/command.py" in names
    assert not [name for name in names if "/static/" in name]


def test_the_wheel_holds_the_drop_in_the_wrapper_of_lambda_and_the_pages(tmp_path):
    wheel, said = build(tmp_path)

    assert "no pages" not in said
    with zipfile.ZipFile(wheel) as opened:
        index = opened.read("highlight_autoinstrument/local/static/index.html").decode()
        names = set(opened.namelist())
        wrapper = opened.getinfo("highlight_autoinstrument/lambda_wrapper")
        entry_points = opened.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert wrapper.external_attr >> 16 & 0o111 == 0o111, "not executable"
    assert {
        "highlight_autoinstrument/py.typed",
        "sitecustomize_template/README.md",
        "sitecustomize_template/sitecustomize.py",
    } <= names
    loaded = re.findall(r'(?:src|href)="/([^"]+)"', index)
    assert len(loaded) == 3  # icon, script and style
    exported = ["export/export.js", "export/export.css"]
    assert {f"highlight_autoinstrument/local/static/{file}" for file in [*loaded, *exported]} <= names
    integrations = {f"highlight_autoinstrument/integrations/{file.name}" for file in
                    (ROOT / "highlight_autoinstrument" / "integrations").glob("*.py")}  # fmt: skip
    assert integrations <= names
    assert "highlight_autoinstrument/local/command.py" in names
    assert {name.partition("/")[0] for name in names} - {f"{wheel.name.partition('-py3')[0]}.dist-info"} == {
        "highlight_autoinstrument",
        "sitecustomize_template",
    }
    assert entry_points.count(" = highlight_autoinstrument.") == 4
