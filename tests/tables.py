"""The README's tables, made from the code that they describe, and what `--check` knows of the versions that are tested.

`python3 tests/tables.py` writes them anew.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from highlight_autoinstrument.config import SETTINGS  # noqa: E402
from tests.matrix import versions  # noqa: E402

README = ROOT / "README.md"
INTEGRATIONS = ROOT / "highlight_autoinstrument" / "integrations"
TESTED = ROOT / "highlight_autoinstrument" / "tested.py"


def settings() -> str:
    """One row for each setting: its variables, the first that is set winning, and its meaning."""
    rows = ["| variable | meaning |", "|---|---|"]
    for setting in SETTINGS:
        variables = ", else ".join(f"`{name}`" for name in setting.variables)
        rows.append(f"| {variables} | {setting.meaning} |")
    return "\n".join(rows)


def integrations() -> str:
    """One row for each file: its name, by which it can be disabled, its first sentence, and the versions tested."""
    tested = versions.supported()
    rows = ["| name | what it does | tested with | lines |", "|---|---|---|---|"]
    for file in sorted(INTEGRATIONS.glob("[!_]*.py")):
        source = file.read_text()
        sentence = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
        rows.append(f"| `{file.stem}` | {sentence} | {tested[file.stem]} | {len(source.splitlines())} |")
    return "\n".join(rows)


TABLES = {"settings": settings, "integrations": integrations}


def with_tables(text: str) -> str:
    """A text with its tables made anew, between `<!-- name -->` and `<!-- end -->`."""
    for name, make in TABLES.items():
        table = make()
        text = re.sub(
            rf"(<!-- {name} -->\n)(?:(?!<!--).)*(\n<!-- end -->)",
            lambda match, table=table: match[1] + table + match[2],
            text,
            flags=re.DOTALL,
        )
    return text


def versions_module() -> str:
    """The module that `highlight-run --check` reads: the matrix is no part of what is installed."""
    rows = "\n".join(f"    ({', '.join(map(json.dumps, row))})," for row in versions.tested())
    return f'''"""The versions that each integration is tested with; written by `python3 tests/tables.py`."""

from __future__ import annotations

# The integration, a distribution that it is for, and the oldest and the newest version of that.
TESTED = (
{rows}
)
'''


if __name__ == "__main__":
    TESTED.write_text(versions_module())
    README.write_text(with_tables(README.read_text()))
