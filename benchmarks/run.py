"""What the agent costs, beside the bare program and beside other agents, measured in turns within one run.

    python3 benchmarks/run.py [--quick] [--growth] [--rounds N] [--only WORDS] [--environments NAME,NAME]
                              [--here] [--json FILE] [--markdown FILE]

sets up a virtual environment for each row of `environments.py` (in .venv-bench), starts a process that takes all
exports, and prints medians. README.md tells what each figure means.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import table
from environments import BARE, ENVIRONMENTS, OURS, Environment
from figures import GROWTH, MEMORIES, MODULES, PER_SECOND, SLOWEST, STARTS, TRAFFIC, WORKS, Traffic
from measure import measure, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    parser.add_argument("--growth", action="store_true", help="how the cost grows with routes, paths and threads")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how many rounds count (default {ROUNDS})")
    parser.add_argument("--only", default="", metavar="WORDS", help="only the figures whose names hold these words")
    parser.add_argument("--environments", metavar="NAME,NAME", help="only these, beside the bare programs")
    parser.add_argument("--here", action="store_true", help="in this Python's environment, which has everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary and every measurement there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    arguments = parser.parse_args()

    alone = arguments.growth or arguments.here  # the others have no place in one environment
    environments = chosen(arguments.environments or (OURS.name if alone else ""))
    environments = [environment._replace(here=arguments.here) for environment in environments]
    figures = GROWTH if arguments.growth else (*STARTS, *WORKS, *MEMORIES, *TRAFFIC, *MODULES)
    figures = prepare(environments, [figure for figure in figures if arguments.only in named(figure)])
    if not figures:
        sys.exit(f"no figure has '{arguments.only}' in its name")
    rounds = 1 if arguments.quick else arguments.rounds
    measured = measure(environments, figures, rounds, quick=arguments.quick)

    names = [environment.name for environment in environments]
    rows = table.rows(measured, names)
    compared = table.comparisons(rows)
    title = f"{machine()}; {rounds} rounds; load {os.getloadavg()[0]:.1f}\n{versions(environments)}\n"
    print(title)
    print(table.text(rows, compared))
    if arguments.markdown:
        arguments.markdown.write_text(f"{title}\n{table.markdown(rows, compared, names)}")
    if arguments.json:
        report = {
            "machine": machine(),
            "versions": {environment.name: environment.version() for environment in environments},
            "rounds": rounds,
            "summary": [row._asdict() for row in rows],
            "compared": [{**one._asdict(), "met": one.met} for one in compared],
            "measured": measured.values,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def chosen(names: str) -> list[Environment]:
    """The environments of these names, all for no name; the bare one is always the first."""
    if not names:
        return list(ENVIRONMENTS)
    wanted = {BARE.name, *names.split(",")}
    unknown = wanted - {environment.name for environment in ENVIRONMENTS}
    if unknown:
        sys.exit(f"there is no environment {', '.join(sorted(unknown))}")
    return [environment for environment in ENVIRONMENTS if environment.name in wanted]


def named(figure: Any) -> str:
    """All the names of what is measured at once."""
    if isinstance(figure, Traffic):
        return f"throughput, {PER_SECOND}{figure.name}, {SLOWEST}{figure.name}"
    return figure.name


def machine() -> str:
    return f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def versions(environments: Sequence[Environment]) -> str:
    return ", ".join(f"{environment.name} {environment.version()}".rstrip() for environment in environments)


if __name__ == "__main__":
    main()
