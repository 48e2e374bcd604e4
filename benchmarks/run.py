"""What the agent costs: every figure beside that of the bare program, measured in turns within one run.

    python3 benchmarks/run.py [--quick] [--rounds N] [--only WORDS] [--json FILE]

sets up a virtual environment for each row of `environments.py` (in .venv-bench), starts a process that takes all
exports, and prints medians. The times are CPU milliseconds and microseconds (user and system, all threads) as the
kernel counts them for a whole process that has ended: background threads and the last export are in them, waiting is
not.

- `start` is a program from its start to its end, without the launcher, which has a line of its own: that is paid once
  for a command, whatever number of processes it starts. What an agent loads when the first request comes is in the line
  with the first requests.
- `per ...` is what the process used from its first counted request to its end, divided by the number of units.
- `memory` is the most that the process had resident.

`added` is the median of the differences to the bare program that ran in the same round, with its quartiles: where these
are far apart something else was running. `--quick` sees that everything works; its numbers say nothing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from environments import BARE, ENVIRONMENTS, Environment

PROGRAMS = Path(__file__).resolve().parent / "programs"
READY = "import flask, requests; app = flask.Flask('shop')"
WSGI = ["python", str(PROGRAMS / "wsgi_client.py")]
ASGI = ["python", str(PROGRAMS / "asgi_client.py")]
SERVER = ["uvicorn", "--app-dir", str(PROGRAMS), "stock:app", "--no-access-log", "--log-level", "warning"]
MEMORY = "memory: Flask + requests ready"
WARM_UP = 10
QUICK_REQUESTS = 10


class Start(NamedTuple):
    """A program that only starts."""

    name: str
    command: list[str]
    launched: bool = True  # what the launcher itself costs is taken off


class Work(NamedTuple):
    """A program that does one thing many times: `requests` requests of `each` units."""

    name: str
    command: list[str]
    path: str
    requests: int
    each: int = 1
    records: float = 1  # that an agent sends for one unit, at least
    served: bool = False  # by a server, to a client here


LAUNCHER = Start("launcher", ["true"], launched=False)
STARTS = (
    LAUNCHER,
    Start("start: empty program", ["python", "-c", "pass"]),
    Start("start: Flask + requests ready", ["python", "-c", READY]),
    Start("start: Flask, first requests", [*WSGI, "/orders/{number}", "0", "1"]),
)
WORKS = (
    Work("per request: Flask", WSGI, "/orders/{number}", 2000),
    Work("per request: FastAPI", ASGI, "/orders/{number}", 2000),
    Work("per request: FastAPI, uvicorn", SERVER, "/orders/{number}", 1500, served=True),
    Work("per failing request: Flask", WSGI, "/broken/{number}", 800),
    Work("per call: requests", WSGI, "/requests/{each}", 40, 25),
    Work("per call: httpx", WSGI, "/httpx/{each}", 40, 25),
    Work("per log record", WSGI, "/logs/{each}", 100, 50),
    Work("per logged exception", WSGI, "/caught/{each}", 100, 10),
)


class Run(NamedTuple):
    """One process from its start to its end."""

    cpu_ns: int
    peak_kib: int
    output: str


class Figures:
    """Every measurement, by the figure's name and the environment's: one a round."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}
        self.units: dict[str, str] = {}

    def add(self, name: str, unit: str, environment: Environment, value: float) -> None:
        self.units[name] = unit
        self.values.setdefault(name, {}).setdefault(environment.name, []).append(value)

    def summary(self) -> list[dict[str, Any]]:
        rows = []
        for name, by_environment in self.values.items():
            bare = by_environment[BARE.name]
            for environment in (one.name for one in ENVIRONMENTS):
                values = by_environment[environment]
                added = [value - base for value, base in zip(values, bare, strict=True)]
                low, middle, high = quartiles(added)
                median = statistics.median(values)
                base = statistics.median(bare)
                rows.append(
                    {
                        "figure": name,
                        "unit": self.units[name],
                        "environment": environment,
                        "median": median,
                        "added": middle,
                        "added_quartiles": [low, high],
                        "ratio": median / base if base else None,
                        "rounds": len(values),
                    }
                )
        return rows


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


class Benchmark:
    """The environments, the sink, and how to run a program in one of the environments."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.figures = Figures()
        self.sink = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("sink.py"))], stdout=subprocess.PIPE, text=True
        )
        self.sink_port = int(self.sink.stdout.readline())
        self.sink_url = f"http://127.0.0.1:{self.sink_port}"

    def close(self) -> None:
        self.sink.kill()
        self.sink.wait()

    def seen(self) -> dict[str, int]:
        """What the sink has received since it was last asked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sink_port)
        connection.request("GET", "/seen")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def start(self, environment: Environment, words: list[str], output: Any, **more: str) -> subprocess.Popen:
        variables = {**environment.environ(self.sink_url), "SINK": self.sink_url, **more}
        return subprocess.Popen(
            environment.command(words), env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    def run(self, environment: Environment, words: list[str]) -> Run:
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(environment, words, output)
            return finish(process, output, words)

    def start_up(self, start: Start, environment: Environment, launcher_ns: int, *, counted: bool) -> int:
        run = self.run(environment, start.command)
        if counted:
            self.figures.add(start.name, "ms", environment, (run.cpu_ns - launcher_ns) / 1e6)
        return run.cpu_ns

    def work(self, work: Work, environment: Environment, *, counted: bool) -> None:
        requests = QUICK_REQUESTS if self.quick else work.requests
        run, begun_ns = (self.serve if work.served else self.call)(work, environment, requests)
        units = requests * work.each
        if counted:
            self.figures.add(work.name, "us", environment, (run.cpu_ns - begun_ns) / units / 1e3)
            if work is WORKS[0]:
                self.figures.add("memory: Flask, after its requests", "MiB", environment, run.peak_kib / 1024)
        seen = self.seen()
        if environment.project and seen["records"] < work.records * units:
            note(f"{work.name}: {seen['records']} of {work.records * units:.0f} records arrived: the figure is too low")

    def call(self, work: Work, environment: Environment, requests: int) -> tuple[Run, int]:
        run = self.run(environment, [*work.command, work.path, str(requests), str(work.each)])
        return run, int(next(line for line in run.output.splitlines() if line.isdigit()))

    def serve(self, work: Work, environment: Environment, requests: int) -> tuple[Run, int]:
        """Start a server, send it requests one after the other on one connection, and end it by SIGTERM."""
        port = free_port()
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(environment, [*work.command, "--port", str(port)], output)
            try:
                with connect(port, process) as connection:
                    for number in range(WARM_UP):
                        get(connection, work.path.format(number=number), number)
                    begun_ns = int(get(connection, "/cpu", 0))
                    for number in range(requests):
                        get(connection, work.path.format(number=number), number)
            finally:
                process.terminate()
            return finish(process, output, work.command, ended_by=signal.SIGTERM), begun_ns

    def modules(self, environment: Environment) -> None:
        """How many modules a program finds loaded; the same each time."""
        for name, setup in (("modules: empty program", ""), ("modules: Flask + requests ready", READY)):
            run = self.run(environment, ["python", "-c", f"{setup}\nimport sys; print(len(sys.modules))"])
            self.figures.add(name, "", environment, int(run.output))

    def memory(self, environment: Environment) -> None:
        peak_kib = self.run(environment, ["python", "-c", READY]).peak_kib
        self.figures.add(MEMORY, "MiB", environment, peak_kib / 1024)


def finish(process: subprocess.Popen, output: Any, words: list[str], ended_by: int = 0) -> Run:
    """Wait for the end of a process, and return what it has used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    output.seek(0)
    text = output.read()
    if process.returncode not in (0, -ended_by):
        sys.exit(f"{' '.join(words)} ended with {process.returncode}\n{text}")
    for line in text.splitlines():
        if line.startswith("highlight: "):
            note(line)
    return Run(int((usage.ru_utime + usage.ru_stime) * 1e9), usage.ru_maxrss, text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(port: int, process: subprocess.Popen) -> socket.socket:
    deadline = time.monotonic() + 30
    connection = socket.socket()
    while connection.connect_ex(("127.0.0.1", port)) != 0:
        connection.close()
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("the server did not start")
        time.sleep(0.02)
        connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def get(connection: socket.socket, path: str, number: int) -> bytes:
    """One request as the browser client sends it; returns the answer's body."""
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: application/json\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0\r\n"
        f"X-Highlight-Request: abcdefghijklmnopqrstuvwxyz{number % 97:02}/{number:032x}\r\n"
        f"traceparent: 00-{number + 1:032x}-{number + 1:016x}-01\r\n\r\n".encode()
    )
    received = b""
    while True:
        received += connection.recv(65_536)
        head, end, body = received.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return body


_noted: set[str] = set()


def note(line: str) -> None:
    """Say something once, in whatever round it happened."""
    if line not in _noted:
        _noted.add(line)
        print(f"! {line}", file=sys.stderr, flush=True)


def measure(benchmark: Benchmark, rounds: int, only: str) -> None:
    """One round to warm up (bytecode, file caches), then the rounds that count; who goes first changes every round."""
    starts = [start for start in STARTS if only in start.name or start is LAUNCHER]
    works = [work for work in WORKS if only in work.name]
    for number in range(-1, rounds):
        counted = number >= 0
        progress(f"round {number + 1} of {rounds}")
        order = ENVIRONMENTS if number % 2 else ENVIRONMENTS[::-1]
        launcher_ns: dict[str, int] = {}
        for start in starts:
            for environment in order:
                # Bare, it is the cost of the program that the launcher has to run.
                launcher = launcher_ns[environment.name] - launcher_ns[BARE.name] if start.launched else 0
                cost = benchmark.start_up(start, environment, launcher, counted=counted)
                if start is LAUNCHER:
                    launcher_ns[environment.name] = cost
        for work in works:
            for environment in order:
                benchmark.work(work, environment, counted=counted)
        for environment in order if counted and only in MEMORY else ():
            benchmark.memory(environment)
    for environment in ENVIRONMENTS if only in "modules" else ():
        benchmark.modules(environment)
    progress("")


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def show(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'':40} {'':10} {'median':>9} {'added':>9}   {'quartiles':>17}   {'ratio':>5}")
    previous = ""
    for row in rows:
        name = "" if row["figure"] == previous else f"{row['figure']}{', ' if row['unit'] else ''}{row['unit']}"
        previous = row["figure"]
        line = f"{name:40} {row['environment']:10} {row['median']:9.1f}"
        if row["environment"] != BARE.name:
            low, high = row["added_quartiles"]
            ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
            line += f" {row['added']:+9.1f}   {f'{low:+.1f} .. {high:+.1f}':>17}   {ratio:>5}"
        print(line)


def machine() -> str:
    return f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    parser.add_argument("--rounds", type=int, default=11, help="how many rounds count (default 11)")
    parser.add_argument("--only", default="", metavar="WORDS", help="only the figures whose names hold these words")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary and every measurement there")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds

    for environment in ENVIRONMENTS:
        environment.prepare()
    benchmark = Benchmark(quick=arguments.quick)
    try:
        measure(benchmark, rounds, arguments.only)
    finally:
        benchmark.close()
    rows = benchmark.figures.summary()
    print(f"{machine()}; {rounds} rounds; load {os.getloadavg()[0]:.1f}")
    show(rows)
    if arguments.json:
        report = {"machine": machine(), "rounds": rounds, "summary": rows, "measured": benchmark.figures.values}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
