"""What is installed from a wheel is what the README names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

from tests.environment import ROOT


def test_the_wheel_holds_the_drop_in_and_the_wrapper_of_lambda(tmp_path):
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for file in tracked.stdout.split("\0"):
        if file and not file.startswith("tests/"):
            (tmp_path / "source" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / "source" / file)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), "./source"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        wrapper = opened.getinfo("highlight_autoinstrument/lambda_wrapper")
        entry_points = opened.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert wrapper.external_attr >> 16 & 0o111 == 0o111, "not executable"
    assert {
        "highlight_autoinstrument/py.typed",
        "sitecustomize_template/README.md",
        "sitecustomize_template/sitecustomize.py",
    } <= names
    integrations = {f"highlight_autoinstrument/integrations/{file.name}" for file in
                    (ROOT / "highlight_autoinstrument" / "integrations").glob("*.py")}  # fmt: skip
    assert integrations <= names
    assert "highlight_autoinstrument/local/command.py" in names
    assert {name.partition("/")[0] for name in names} - {f"{wheel.name.partition('-py3')[0]}.dist-info"} == {
        "highlight_autoinstrument",
        "sitecustomize_template",
    }
    assert entry_points.count(" = highlight_autoinstrument.") == 4
