"""A long outage: the receiver goes away for ten minutes while an application works on, and comes back.

    python3 tests/long/outage.py [--seconds 600] [--rate 20]

Each unit of work leaves a span and a log, every tenth an error as well. All errors must arrive, once, and of the rest
what is newest within the bound; what was dropped must have been said, once a minute, and be what is missing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests import environment
from tests.long import REQUIREMENTS

QUEUE = 10_000  # records, the default
AROUND_SECONDS = 5  # how long the receiver is there before
PATIENCE_SECONDS = 90  # to come back to a receiver: the longest pause is 30 s, with jitter

PROGRAM = """
import logging, os, sys, time
from highlight_autoinstrument import trace

log = logging.getLogger("app")
log.propagate = False
log.addHandler(logging.NullHandler())
pause = 1 / float(sys.argv[1])
number = 0
while not os.path.exists("stop"):
    with trace("work", session_secure_id=f"session{number}"):
        log.warning("line %s", number)
        if number % 10 == 0:
            try:
                raise LookupError(f"failed {number}")
            except LookupError:
                log.exception("failed")
    number += 1
    time.sleep(pause)
print(number)
"""


class Said:
    """What the agent says, with the time at which it does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[tuple[float, str]] = []
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append((time.monotonic(), line.rstrip()))

    def of(self, pattern: str) -> list[tuple[float, re.Match[str]]]:
        """The lines that match."""
        found = ((when, re.search(pattern, line)) for when, line in list(self.lines))
        return [(when, match) for when, match in found if match]


def main() -> int:
    environment.enter(environment.ROOT / f".venv-long-3.{sys.version_info.minor}", REQUIREMENTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=20, help="units of work a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(Path(folder), options.seconds, options.rate)
    print("\n".join(wrong) or "all errors arrived, and all that is missing was said")
    return int(bool(wrong))


def run(folder: Path, seconds: float, rate: float) -> list[str]:
    """Have the outage; print what happened, and return what is wrong with it."""
    from tests.support.services import LAUNCHER, agent_environment, free_port, wait_until
    from tests.support.sink import Sink

    port = free_port()
    file = folder / "exports"
    sink = Sink(file, port)
    (folder / "app.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [str(LAUNCHER), sys.executable, "app.py", str(rate)],
        cwd=folder,
        env=agent_environment(sink.url, HIGHLIGHT_SPOOL_DIR=str(folder / "spool"), HIGHLIGHT_DEBUG="true"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = Said(process)
    try:
        time.sleep(AROUND_SECONDS)
        sink.close()
        went = time.monotonic()
        before = file.stat().st_size
        time.sleep(seconds)
        sink = Sink(file, port)
        came = time.monotonic()
        wait_until(lambda: sink.size > before, PATIENCE_SECONDS, "for the agent to come back")
        back = time.monotonic() - came
        time.sleep(AROUND_SECONDS)
        (folder / "stop").touch()
        assert process.stdout is not None
        units = int(process.stdout.read())
        status = process.wait(30)
    finally:
        process.kill()
        process.wait()
        sink.close()
    attempts = [when for when, _ in said.of(r"export of \d+ \w+: Connection") if when < came]
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    print(f"the receiver was away for {came - went:.0f} s, {units:,} units of work in all, {rate:g} a second")
    print(f"{len(attempts)} attempts meanwhile, the pauses: {', '.join(f'{pause:.1f}' for pause in pauses)} s")
    print(f"{back:.1f} s after it came back the first export arrived")
    drops = said.of(r"(\d+) records were dropped")
    for when, match in drops:
        print(f"    said after {when - went:.0f} s: {match[1]} records were dropped")
    return [
        *([f"the program ended with {status}"] if status else []),
        *check_pace(pauses, [when for when, _ in drops]),
        *check_records(sink, units, sum(int(match[1]) for _, match in drops)),
    ]


def check_pace(pauses: list[float], drops: list[float]) -> list[str]:
    """What is wrong with the times of the attempts, and of what was said."""
    wrong = [f"a pause of {pause:.1f} s" for pause in pauses if pause > 40]
    if len(pauses) > 8 and len({round(pause, 1) for pause in pauses[-4:]}) == 1:
        wrong.append("the pauses have no jitter")
    # The last is said at the end of the program, whenever that is.
    often = [f"{b - a:.0f} s" for a, b in pairwise(drops[:-1]) if b - a < 59]
    return wrong + [f"drops were said again after {often}"] * bool(often)


def check_records(sink: object, units: int, dropped: int) -> list[str]:
    """What is wrong with the records that have arrived; prints how many they are."""
    from tests.support.records import decode_logs, decode_traces
    from tests.support.sink import Sink

    assert isinstance(sink, Sink)
    spans, lines, failures = [], [], []
    for signal, body in sink.exports():
        if signal == "traces":
            spans += [span.session for span in decode_traces(body)]
        if signal == "logs":
            for log in decode_logs(body):
                error = log.attributes.get("exception.message")
                (failures if error else lines).append((error or log.body, log.session))
    errors = [(f"failed {number}", f"session{number}") for number in range(0, units, 10)]
    wrong = [f"error {error} has arrived {count} times" for error, count in Counter(failures).items() if count > 1]
    wrong += [f"error {error} is missing" for error in errors if error not in set(failures)]
    wrong += [f"{body} has {session}" for body, session in lines if body.replace("line ", "session") != session]
    missing = 2 * units + len(errors) - len(spans) - len(lines) - len(failures)
    print(f"arrived: {len(failures):,} of {len(errors):,} errors, {len(lines):,} of {units:,} logs, ", end="")
    print(f"{len(spans):,} of {units:,} spans; {missing:,} missing, {dropped:,} said to be dropped")
    if missing != dropped:
        wrong.append(f"{missing} are missing, and {dropped} were said to be dropped")
    numbers = sorted(int(body.split()[1]) for body, _ in lines)
    gaps = [later for earlier, later in pairwise(numbers) if later > earlier + 1]
    if len(gaps) > 1 or len(set(numbers)) < len(numbers):
        wrong.append(f"the logs that arrived are not the newest, each once: there are gaps before {gaps[:10]}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
