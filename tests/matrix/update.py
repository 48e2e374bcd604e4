"""Write versions.toml anew.

python3 tests/matrix/update.py [LIBRARY ...]   asks the package index for newer releases
python3 tests/matrix/update.py --seen          notes what has passed in `nox -s matrix`
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.matrix.versions import FILE, SEEN, read


def choose(releases: list[str], oldest: str) -> list[str]:
    """The oldest, the newest of each major between, and the newest.

    Below 1.0 there are no majors; there the newest release of the minor in the middle stands for what is between.
    """
    newer = sorted((each for each in releases if key(each) > key(oldest)), key=key)
    chosen = {oldest, *newer[-1:]}
    majors: dict[int, str] = {key(each)[0]: each for each in newer}  # sorted: the newest of each stays
    if 0 in majors:
        minors = {key(each)[1]: each for each in newer if key(each)[0] == 0}
        majors[0] = list(minors.values())[(len(minors) - 1) // 2]
    return sorted({*chosen, *majors.values()}, key=key)


def key(version: str) -> tuple[int, ...]:
    """What versions are sorted by."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def releases(distribution: str) -> list[str]:
    """What the index has, without pre-releases."""
    command = [sys.executable, "-m", "pip", "index", "versions", distribution, "--python-version", "3.13"]
    answer = subprocess.run(
        [*command, "--only-binary=:all:", "--disable-pip-version-check"], capture_output=True, text=True, check=False
    ).stdout
    if "Available versions:" not in answer:  # no wheels at all
        answer = subprocess.run(command[:-2], capture_output=True, text=True, check=True).stdout
    return re.search(r"Available versions: (.*)", answer)[1].split(", ")


def main() -> None:
    """Write the versions of all libraries, or of those that are named; or which of them have been seen to pass."""
    if sys.argv[1:] == ["--seen"]:
        write("seen", {name: passed(name, table) for name, table in read().items()})
        return
    names = sys.argv[1:] or [name for name in read() if name != "Python"]
    write("versions", {name: of_library(name, read()[name]) for name in names})
    text = FILE.read_text()
    today = datetime.now(timezone.utc).date()
    FILE.write_text(re.sub(r"^resolved_on = .*$", f'resolved_on = "{today}"', text, flags=re.MULTILINE))


def of_library(name: str, table: dict) -> list[str]:
    """The versions that the matrix has of a library."""
    below = table.get("below")
    return choose([each for each in releases(name) if not below or key(each) < key(below)], table["oldest"])


def passed(name: str, table: dict) -> list[str]:
    """The versions of a library that have passed, here or before."""
    here = [version for version in table["versions"] if (SEEN / f"{name}-{version}").exists()]
    return sorted({*here, *set(table["seen"]).intersection(table["versions"])}, key=key)


def write(field: str, found: dict[str, list[str]]) -> None:
    """Write one line of some libraries' tables."""
    text = FILE.read_text()
    for name, versions in found.items():
        print(name, *versions, flush=True)
        line = f"{field} = [" + ", ".join(f'"{version}"' for version in versions) + "]"
        table = rf"(^\[{re.escape(name)}\]\n(?:[^\[\n].*\n)*?){field} = .*$"
        text, count = re.subn(table, lambda match, line=line: match[1] + line, text, flags=re.MULTILINE)
        assert count == 1, name
    FILE.write_text(text)


if __name__ == "__main__":
    main()
