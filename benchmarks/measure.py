"""How a program is run in an environment, and what the kernel says it has used."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import broker
from environments import BARE, Environment, prepare_libraries
from figures import (
    LAUNCHER,
    MESSAGES,
    MODULES,
    PER_SECOND,
    SLOWEST,
    UVICORN_STOP,
    WITH_LAUNCHER,
    Memory,
    Start,
    Traffic,
    Work,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Self

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
PATIENCE_SECONDS = 30
WARM_UP = 10
QUICK_REQUESTS = 10
TRAFFIC_SECONDS, QUICK_TRAFFIC_SECONDS = 5, 1
CONNECTIONS = 8


class Run(NamedTuple):
    """One process from its start to its end."""

    cpu_ns: int
    peak_kib: int
    output: str


class Measured:
    """Every measurement, by the figure's name and the environment's: one a round."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}
        self.units: dict[str, str] = {}
        # The least part of the records that were due which arrived in a round, and their kind.
        self.arrived: dict[str, dict[str, float]] = {}
        self.kinds: dict[str, str] = {}

    def add(self, name: str, unit: str, environment: Environment, value: float) -> None:
        self.units[name] = unit
        self.values.setdefault(name, {}).setdefault(environment.name, []).append(value)

    def add_arrived(self, name: str, kind: str, environment: Environment, part: float) -> None:
        self.kinds[name] = kind
        known = self.arrived.setdefault(name, {})
        known[environment.name] = min(part, known.get(environment.name, part))


class Benchmark:
    """The environments, the sink, and how to run a program in one of the environments."""

    def __init__(self, environments: Sequence[Environment], *, quick: bool) -> None:
        self.environments = environments
        self.quick = quick
        self.measured = Measured()
        self.places: dict[str, str] = {}
        self.kafka = ""
        self.opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.sink_port = self.receiver([sys.executable, str(HERE / "sink.py")])
        address = f"127.0.0.1:{self.sink_port}"
        self.places = {"sink": f"http://{address}", "host": address, "grpc": ""}
        self.state = self.opened.enter_context(tempfile.TemporaryDirectory())
        for environment in self.environments:
            if environment.grpc:
                port = self.receiver([environment.python, str(HERE / "sink_grpc.py"), str(self.sink_port)])
                self.places["grpc"] = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *args: object) -> None:
        self.opened.close()

    def receiver(self, command: list[str]) -> int:
        """Start what takes exports; it prints its port."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.opened.callback(process.wait)
        self.opened.callback(process.kill)
        return int(process.stdout.readline())

    def start_broker(self, program: str) -> None:
        self.kafka = self.opened.enter_context(broker.running(program, free_port(), ("sent", "read")))
        self.run(self.environments[0], ["python", "kafka_fill.py", "read", str(MESSAGES)], ("kafka",))

    def seen(self) -> dict[str, int]:
        """What the sink has received since it was last asked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sink_port)
        connection.request("GET", "/seen")
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def start(
        self, environment: Environment, words: Sequence[str], libraries: tuple[str, ...], output: Any, more: Any = ()
    ) -> subprocess.Popen:
        variables = environment.environ(libraries, **self.places)
        # What earlier runs have left on disk is no matter of this one.
        variables |= {"XDG_STATE_HOME": self.state, "SINK": self.places["sink"], "KAFKA": self.kafka, **dict(more)}
        return subprocess.Popen(
            environment.command(list(words)),
            cwd=PROGRAMS,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def run(self, environment: Environment, words: Sequence[str], libraries: tuple[str, ...], more: Any = ()) -> Run:
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(environment, words, libraries, output, more)
            return finish(process, output, words)

    def round(self, figures: Sequence[Any], order: Sequence[Environment], *, counted: bool) -> None:
        """Each figure in each environment, in this order."""
        launchers_ns: dict[str, int] = {}
        if any(isinstance(figure, Start) for figure in figures):
            for environment in order:
                launchers_ns[environment.name] = self.start_up(LAUNCHER, environment, {}, counted=counted)
        for figure in figures:
            for environment in order:
                if isinstance(figure, Start):
                    self.start_up(figure, environment, launchers_ns, counted=counted)
                elif isinstance(figure, Work):
                    self.work(figure, environment, counted=counted)
                elif isinstance(figure, Traffic):
                    self.traffic(figure, environment, counted=counted)
                elif counted:
                    self.memory(figure, environment)

    def start_up(self, start: Start, environment: Environment, launchers_ns: dict[str, int], *, counted: bool) -> int:
        """A program's CPU time, with its launcher's and without; bare, that is the time of what the launcher starts."""
        cost_ns = self.run(environment, start.command, start.libraries).cpu_ns
        if counted and start is LAUNCHER:
            self.measured.add(start.name, "ms", environment, cost_ns / 1e6)
        elif counted:
            launcher_ns = launchers_ns[environment.name] - launchers_ns[BARE.name]
            self.measured.add(start.name, "ms", environment, (cost_ns - launcher_ns) / 1e6)
            self.measured.add(start.name + WITH_LAUNCHER, "ms", environment, cost_ns / 1e6)
        self.seen()
        return cost_ns

    def work(self, work: Work, environment: Environment, *, counted: bool) -> None:
        requests = work.requests if counted and not self.quick else QUICK_REQUESTS
        run, begun_ns = (self.serve if work.served else self.call)(work, environment, requests)
        units = requests * work.each
        seen = self.seen()
        if not counted:
            return
        self.measured.add(work.name, "us", environment, (run.cpu_ns - begun_ns) / units / 1e3)
        if work.records and environment.name != BARE.name:
            self.arrived(work.name, work.records, environment, seen[work.records] / units)

    def arrived(self, name: str, kind: str, environment: Environment, part: float) -> None:
        self.measured.add_arrived(name, kind, environment, min(part, 1))
        if part == 0:
            note(f"{environment.name} sent no {kind} for '{name}': what it adds there is not the cost of the job")
        elif part < 1:
            note(f"{environment.name} did not send all {kind} for '{name}' in each round")

    def call(self, work: Work, environment: Environment, requests: int) -> tuple[Run, int]:
        words = [*work.command, work.path, str(requests), str(work.each)]
        run = self.run(environment, words, work.libraries, work.variables)
        return run, int(next(line for line in run.output.splitlines() if line.isdigit()))

    def serve(self, work: Work, environment: Environment, requests: int) -> tuple[Run, int]:
        """Start a server, send it requests one after the other on one connection, and end it."""
        with (
            self.server(work.command, work.libraries, environment, UVICORN_STOP) as (port, ended),
            connect(port) as connection,
        ):
            for number in range(WARM_UP):
                get(connection, work.path.format(number=number), number)
            begun_ns = int(get(connection, "/cpu", 0))
            for number in range(requests):
                get(connection, work.path.format(number=number), number)
        return ended[0], begun_ns

    def traffic(self, traffic: Traffic, environment: Environment, *, counted: bool) -> None:
        seconds = TRAFFIC_SECONDS if counted and not self.quick else QUICK_TRAFFIC_SECONDS
        wrk = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
        wrk += ["--script", str(PROGRAMS / "wrk.lua")]
        with self.server(traffic.command, traffic.libraries, environment, traffic.stop) as (port, _):
            with connect(port) as connection:
                for number in range(WARM_UP):
                    get(connection, f"/orders/{number}", number)
            done = subprocess.run(
                [*wrk, f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True, cwd=PROGRAMS
            )
        result = next(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT"))
        requests, took_us, slowest_us, failed = (float(number) for number in result)
        seen = self.seen()
        if failed:
            note(f"{environment.name}: {failed:.0f} of {requests:.0f} requests of '{traffic.name}' failed")
        if counted:
            self.measured.add(PER_SECOND + traffic.name, "1/s", environment, requests / took_us * 1e6)
            self.measured.add(SLOWEST + traffic.name, "ms", environment, slowest_us / 1e3)
            if environment.name != BARE.name:
                self.arrived(PER_SECOND + traffic.name, "requests", environment, seen["requests"] / max(requests, 1))

    @contextlib.contextmanager
    def server(
        self, command: Sequence[str], libraries: tuple[str, ...], environment: Environment, stop: int
    ) -> Iterator[tuple[int, list[Run]]]:
        """A server while the block lasts; what it used is then in the list."""
        port = free_port()
        ended: list[Run] = []
        words = [word.format(port=port) for word in command]
        with tempfile.TemporaryFile("w+") as output:
            process = self.start(environment, words, libraries, output)
            try:
                wait(port, process)
                yield port, ended
            finally:
                process.send_signal(stop)
                ended.append(finish(process, output, words, stop))

    def memory(self, memory: Memory, environment: Environment) -> None:
        peak_kib = self.run(environment, memory.command, memory.libraries).peak_kib
        if peak_kib <= own_peak_kib():
            note(f"{memory.name}: {environment.name} has less than this program, whose memory it was forked with")
        self.measured.add(memory.name, "MiB", environment, peak_kib / 1024)
        self.seen()

    def modules(self, start: Start, environment: Environment) -> None:
        """How many modules a program finds loaded; the same each time."""
        self.measured.add(
            start.name, "", environment, int(self.run(environment, start.command, start.libraries).output)
        )


def measure(environments: Sequence[Environment], figures: Sequence[Any], rounds: int, *, quick: bool) -> Measured:
    """One round to warm up (bytecode, file caches), then the rounds that count; who goes first changes every round."""
    kafka = any("kafka" in figure.libraries for figure in figures)
    program = broker.prepare(here=environments[0].here) if kafka else ""
    with Benchmark(environments, quick=quick) as benchmark:
        if kafka:
            benchmark.start_broker(program)
        turns = [figure for figure in figures if figure not in MODULES]
        for number in range(0 if quick else -1, rounds):
            progress(f"round {number + 1} of {rounds}")
            turn = number % len(environments)
            order = [*environments[turn:], *environments[:turn]]
            benchmark.round(turns, order if number % 2 else order[::-1], counted=number >= 0)
        for figure in figures:
            for environment in environments if figure in MODULES else ():
                benchmark.modules(figure, environment)
        progress("")
        return benchmark.measured


def prepare(environments: Sequence[Environment], figures: Sequence[Any]) -> list[Any]:
    """Install everything; returns the figures that can be measured then."""
    for environment in environments:
        environment.prepare()
    if any(isinstance(figure, Traffic) for figure in figures) and not wrk():
        note("wrk is missing, and only root can install it (apt-get install wrk): no throughput")
        figures = [figure for figure in figures if not isinstance(figure, Traffic)]
    prepare_libraries(
        {name for environment in environments for figure in figures for name in environment.own(figure.libraries)}
    )
    return list(figures)


def wrk() -> bool:
    """Whether there is wrk; it is installed if it can be."""
    if shutil.which("wrk") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing wrk ...", flush=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=False, stdout=subprocess.DEVNULL)
    return shutil.which("wrk") is not None


def finish(process: subprocess.Popen, output: Any, words: Sequence[str], stopped_by: int = 0) -> Run:
    """Wait for the end of a process, and return what it has used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    output.seek(0)
    text = output.read()
    if process.returncode not in (0, -stopped_by):
        sys.exit(f"{' '.join(words)} ended with {process.returncode}\n{text}")
    if "Error in sitecustomize" in text:
        sys.exit(f"an agent did not start\n{text}")
    for line in text.splitlines():
        if line.startswith("highlight: "):
            note(line)
    return Run(int((usage.ru_utime + usage.ru_stime) * 1e9), usage.ru_maxrss, text)


def own_peak_kib() -> int:
    """The most that this process had resident: a program that is started begins with it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(port: int, process: subprocess.Popen) -> None:
    """Wait until a server listens."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not broker.listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("the server did not start")
        time.sleep(0.02)


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
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
        more = connection.recv(65_536)
        if not more:
            sys.exit(f"the server closed the connection in the answer to {path}: {received!r}")
        received += more
        head, end, body = received.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return body


_noted: set[str] = set()


def note(line: str) -> None:
    """Say something once, in whatever round it happened."""
    if line not in _noted:
        _noted.add(line)
        print(f"! {line}", file=sys.stderr, flush=True)


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
