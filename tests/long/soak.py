"""The right session: very many requests, a hundred at a time, and the session of every record that they leave.

    python3 tests/long/soak.py [--requests 100000] [--server uvicorn ...]

Every request has a session of its own, and a tenth of them none. Each logs, hands work to a pool and to a task, and
calls another service; some fail, some time out, some send their answer in pieces, and the client leaves some before or
in the midst of their answer. One record with a wrong session, one missing or one too many is a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests import environment
from tests.long import REQUIREMENTS

MOST_SHOWN = 20


def main() -> int:
    environment.enter(environment.ROOT / f".venv-long-3.{sys.version_info.minor}", REQUIREMENTS)
    from tests.support.soak import SERVERS, WORKERS

    every = [*SERVERS, *WORKERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--server", nargs="*", choices=every, default=every)
    options = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}, {os.cpu_count()} cores")
    failed = [server for server in options.server if not run(server, options.requests)]
    print(f"failed: {', '.join(failed)}" if failed else "every record with its own session, or none")
    return int(bool(failed))


def run(server: str, requests: int) -> bool:
    """Run one server, and print what came; False if anything of it is wrong."""
    from tests.support import brokers
    from tests.support.soak import WORKERS, soak

    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        broker = next(stack.enter_context(brokers.redis(folder))) if server in WORKERS else ""
        result = soak(server, requests, folder, broker)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(result.load.outcomes.items()))
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(result.checked.records.items()))
    print(f"{server}: {requests:,} in {result.load.seconds:.0f} s: {outcomes}")
    print(f"    {result.checked.total:,} records: {kinds}")
    print(
        f"    {len(result.checked.wrong_sessions)} with a wrong session, {len(result.checked.wrong_records)} requests"
    )
    print("    with too few records or too many", flush=True)
    for line in [*result.wrong[:MOST_SHOWN], *(["..."] if len(result.wrong) > MOST_SHOWN else [])]:
        print("       ", line, flush=True)
    for text, count in result.checked.without_number.most_common(5):
        print(f"    {count} x {text}")
    return not result.wrong


if __name__ == "__main__":
    sys.exit(main())
