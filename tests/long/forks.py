"""Forks at any moment, while other threads record, log, export, import and look names up: no deadlock, no record twice.

    python3 tests/long/forks.py [--forks 1000]

Children of `os.fork`, of `multiprocessing` and of `subprocess` with a `preexec_fn`, in turns. Each logs with a session
of its own, and reports an error; one that hangs dies by an alarm. So does the program.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests import environment
from tests.long import REQUIREMENTS

PROGRAM = """
import importlib, logging, multiprocessing, os, signal, socket, subprocess, sys, threading
from highlight_autoinstrument import flush, record_exception, trace

forks = int(sys.argv[1])
# Not a stream: a child would inherit the lock of its buffer, held by a thread that is not there.
logging.basicConfig(handlers=[logging.NullHandler()])
log = logging.getLogger("app")
over = threading.Event()
counts = [0, 0]
MODULES = ["colorsys", "wave", "tabnanny", "this_does_not_exist", "sndhdr", "mailcap", "chunk", "filecmp"]

def record(number):
    while not over.wait(0.001):
        with trace("work", session_secure_id=f"thread{number}"):
            log.warning("thread %s", number)
        counts[number] += 1

def handle():  # takes and lets go of the locks of logging
    while not over.wait(0.0005):
        handler = logging.NullHandler()
        log.addHandler(handler)
        log.removeHandler(handler)

def load():
    while not over.wait(0.0005):
        for name in MODULES:
            sys.modules.pop(name, None)
            try:
                importlib.import_module(name)
            except ImportError:
                pass

def look_up():
    while not over.wait(0.0005):
        socket.getaddrinfo("localhost", 80)

def send():
    while not over.wait(0.005):
        flush(1)

def child(number):
    signal.alarm(60)  # a child that hangs dies by it, and is seen
    with trace("child", session_secure_id=f"child{number}"):
        log.warning("child %s", number)
        try:
            raise LookupError(f"failed {number}")
        except LookupError as error:
            record_exception(error)

def before_exec():
    log.warning("preexec")

def main():
    threads = [threading.Thread(target=record, args=(number,), daemon=True) for number in range(2)]
    threads += [threading.Thread(target=each, daemon=True) for each in (handle, load, look_up, send)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    for number in range(forks):
        signal.alarm(120)
        kind = number % 10
        if kind == 8:
            process = context.Process(target=child, args=(number,))
            process.start()
            process.join()
            status = process.exitcode
        elif kind == 9:
            status = subprocess.run([sys.executable, "-S", "-E", "-c", "pass"], preexec_fn=before_exec).returncode
        else:
            pid = os.fork()
            if not pid:
                child(number)
                os._exit(0 if flush(50) else 3)
            status = os.waitpid(pid, 0)[1]
        assert status == 0, (number, status)
    over.set()
    for thread in threads:
        thread.join()
    print(*counts)

if __name__ == "__main__":
    main()
"""


def main() -> int:
    environment.enter(environment.ROOT / f".venv-long-3.{sys.version_info.minor}", REQUIREMENTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forks", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(Path(folder), options.forks)
    print("\n".join(wrong[:20]) or "no deadlock, no record twice, none missing")
    return int(bool(wrong))


def run(folder: Path, forks: int) -> list[str]:
    """Fork so often; print what came, and return what is wrong."""
    from tests.support.services import LAUNCHER, agent_environment
    from tests.support.sink import Sink

    (folder / "app.py").write_text(PROGRAM)
    sink = Sink(folder / "exports")
    settings = {"OTEL_BSP_MAX_QUEUE_SIZE": "1000000", "OTEL_BSP_SCHEDULE_DELAY": "0"}
    began = time.monotonic()
    done = subprocess.run(
        [str(LAUNCHER), sys.executable, "-W", "ignore", "app.py", str(forks)],
        cwd=folder,
        env=agent_environment(sink.url, HIGHLIGHT_SPOOL_DIR=str(folder / "spool"), **settings),
        capture_output=True,
        text=True,
        check=False,
    )
    sink.close()
    print(f"{forks:,} forks in {time.monotonic() - began:.0f} s, {os.cpu_count()} cores")
    if done.returncode or done.stderr:
        return [f"the program ended with {done.returncode}: {done.stderr[-3000:]}"]
    return check(sink, forks, [int(count) for count in done.stdout.split()])


def check(sink: object, forks: int, counts: list[int]) -> list[str]:
    """What is wrong with the records that have come."""
    from tests.support.records import decode_logs, decode_traces, errors_of
    from tests.support.sink import Sink

    assert isinstance(sink, Sink)
    found: Counter[tuple[str, str | None]] = Counter()
    span_ids: Counter[str] = Counter()
    for signal, body in sink.exports():
        spans = decode_traces(body) if signal == "traces" else []
        logs = decode_logs(body) if signal == "logs" else []
        found.update((span.name, span.session) for span in spans)
        found.update((log.body, log.session) for log in logs if log.logger == "app")
        found.update((error.message, error.session) for error in errors_of(spans, logs))
        span_ids.update(span.span_id for span in spans)
    expected: Counter[tuple[str, str | None]] = Counter()
    for number, count in enumerate(counts):
        expected[f"thread {number}", f"thread{number}"] = expected["work", f"thread{number}"] = count
    for number in range(forks):
        if number % 10 != 9:
            for name in ("child", f"child {number}", f"failed {number}"):
                expected[name, f"child{number}"] += 1
    # What a child logs before it becomes another program is lost with it, as all that it has in memory.
    found.pop(("preexec", None), None)
    print(f"{found.total():,} records, {expected.total():,} expected")
    wrong = [f"missing: {count} x {record}" for record, count in (expected - found).items()]
    wrong += [f"too much: {count} x {record}" for record, count in (found - expected).items()]
    return wrong + [f"the span {span_id} has come {count} times" for span_id, count in span_ids.items() if count > 1]


if __name__ == "__main__":
    sys.exit(main())
