"""Programs as their users run them: subprocesses under highlight-run, on free ports, stopped whatever happens."""

from __future__ import annotations

import http.client
import importlib.util
import inspect
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from websockets.sync.client import ClientConnection

# How long anything is waited for that shall come. Only what never comes takes so long, or a machine that is busy with
# other things: it is no part of what a test promises.
PATIENCE_SECONDS = 60

BIN = Path(sys.executable).parent
LAUNCHER = BIN / "highlight-run"
AGENT = tuple(
    f'File "{folder}{os.sep}'
    for package in ("highlight_autoinstrument", "sitecustomize_template")
    if (spec := importlib.util.find_spec(package))
    for folder in spec.submodule_search_locations or ()
)


def free_port() -> int:
    """A port that nobody listens on just now, and that the system gives to nobody who asks for any."""
    while True:
        port = random.randrange(10_000, 30_000)  # below the ports of Linux's ip_local_port_range
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def accepts(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as probe:
        # A probe that is given this very port to connect from finds itself.
        return probe.connect_ex(("127.0.0.1", port)) == 0 and probe.getsockname()[1] != port


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE_SECONDS, what: str = "") -> None:
    """Ask again and again until the condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            msg = f"waited {timeout} s in vain {what or condition}"
            raise AssertionError(msg)
        time.sleep(0.02)  # between two questions; what is waited for is the condition


def agent_environment(endpoint: str | None, **more: str) -> dict[str, str]:
    """The environment of a program under test: the shell's, without its settings of ours, and those of the test."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HIGHLIGHT_", "_HIGHLIGHT_", "OTEL_", "COV_CORE")) and name != "PYTHONPATH"
    }
    environment["PATH"] = f"{BIN}{os.pathsep}{environment.get('PATH', '')}"
    environment["PYTHONWARNINGS"] = "default"
    # eventlet's own name resolver patches whatever it finds, on Python 3.10 in vain; without us as well.
    environment["EVENTLET_NO_GREENDNS"] = "yes"
    if endpoint is not None:
        environment["HIGHLIGHT_PROJECT_ID"] = "1"
        environment["HIGHLIGHT_OTLP_ENDPOINT"] = endpoint
    environment["HIGHLIGHT_RAISE_ERRORS"] = "true"
    environment["OTEL_BSP_SCHEDULE_DELAY"] = "50"
    environment.update(more)
    return environment


def agent_tracebacks(text: str) -> list[str]:
    """The tracebacks in a program's output that were raised in the agent; those that only passed through it are not."""
    innermost = []
    for head in re.finditer(
        r"^([ |+]*)(?:Exception Group )?Traceback \(most recent call last\):\n", text, re.MULTILINE
    ):
        margin = head[1].replace("+", "|") + "  "  # exception groups draw lines beside theirs
        frames = []
        for line in text[head.end() :].splitlines():
            if not line.startswith(margin):
                break
            frames += [line.strip(" |")] if line[len(margin) :].startswith('File "') else []
        innermost += frames[-1:]
    return [frame for frame in innermost if frame.startswith(AGENT)]


@dataclass
class Response:
    """An answer to a test's request."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def text(self) -> str:
        return self.body.decode()


class Written:
    """What a process writes, into two files."""

    stdout_path: Path
    stderr_path: Path

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")


class Service(Written):
    """A server process. `{port}` in the command is the port that it is to listen on; `PORT` says it as well."""

    def __init__(
        self,
        command: str | Sequence[str],
        *,
        files: Mapping[str, str | Path] | None = None,
        folder: Path,
        endpoint: str | None = None,
        env: Mapping[str, str] | None = None,
        bare: bool = False,
        wait: Callable[[Service], object] | str | None = "port",
        name: str = "service",
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for file, source in (files or {}).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(source.read_text() if isinstance(source, Path) else source)
        words = shlex.split(command) if isinstance(command, str) else list(command)
        words = [word.replace("{port}", str(self.port)) for word in words]
        if words[0] == "python":
            words[0] = sys.executable
        elif (BIN / words[0]).exists():
            words[0] = str(BIN / words[0])
        if not bare:
            words = [str(LAUNCHER), *words]
        of_service = {
            "HIGHLIGHT_SERVICE_NAME": name,
            "HIGHLIGHT_SPOOL_DIR": str(folder / "spool"),
            "PORT": str(self.port),
            **(env or {}),
        }
        environment = agent_environment(endpoint, **of_service)
        self.stdout_path = folder / f"{name}.out"
        self.stderr_path = folder / f"{name}.err"
        self.expected: list[str] = []
        with self.stdout_path.open("wb") as stdout, self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # a group of its own, so that all of it can be stopped
            )
        try:
            if wait == "port":
                self._wait(lambda: accepts(self.port), "for the port")
            elif callable(wait):
                self._wait(lambda: wait(self), "for the service")
        except BaseException:
            self.kill()
            raise

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        def ready() -> object:
            assert self.process.poll() is None, f"ended with {self.process.returncode}\n{self.output}"
            return condition()

        try:
            wait_until(ready, what=what)
        except AssertionError as error:
            msg = f"{error}\n{self.output}"
            raise AssertionError(msg) from None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    @property
    def agent_lines(self) -> list[str]:
        """What the agent said on stderr."""
        return [line for line in self.stderr.splitlines() if line.startswith("highlight: ")]

    def expect(self, part: str) -> None:
        """Allow a line of the agent's that holds this text; others fail the test."""
        self.expected.append(part)

    def check(self) -> None:
        """Fail if the agent said what the test did not expect, or left a traceback of its own."""
        surprising = [line for line in self.agent_lines if not any(part in line for part in self.expected)]
        assert not surprising, surprising
        assert "Error in sitecustomize" not in self.stderr, self.stderr
        assert not agent_tracebacks(self.stderr), self.stderr

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Response(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        """GET a path."""
        return self.request("GET", path, headers)

    def connect(self) -> http.client.HTTPConnection:
        """A connection to be kept open; the test closes it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def websocket(self, path: str, headers: Mapping[str, str] | None = None) -> ClientConnection:
        """A websocket, to be used in a `with`."""
        from websockets.sync.client import connect

        proxy = {"proxy": None} if "proxy" in inspect.signature(connect).parameters else {}  # older ones know of none
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=dict(headers or {}), **proxy)

    def raw(self, data: bytes, timeout: float = 10) -> bytes:
        """Send bytes, and return all that comes back until the server hangs up or says no more for a while."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(data)
            received = b""
            try:
                while chunk := connection.recv(65_536):
                    received += chunk
                    connection.settimeout(timeout)
            except (TimeoutError, ConnectionResetError):
                pass
            return received

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE_SECONDS) -> int:
        """Send a signal to the process, and return its exit status (negative: the signal that it died by)."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            msg = f"did not end within {timeout} s\n{self.output}"
            raise AssertionError(msg) from None
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process and whatever it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def run_program(
    arguments: str | Sequence[str],
    *,
    endpoint: str | None = None,
    under_agent: bool = True,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    folder: Path | None = None,
    timeout: float = 2 * PATIENCE_SECONDS,
    name: str = "program",
    files: Mapping[str, str] | None = None,
    measured: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run Python once: `arguments` is a program's text, or the interpreter's arguments.

    `measured=False` keeps coverage out, for programs that see its modules, its tracer or its patches.
    """
    for file, source in (files or {}).items():
        assert folder is not None
        (folder / file).write_text(source)
    words = [python, "-c", arguments] if isinstance(arguments, str) else [python, *arguments]
    launcher = [str(LAUNCHER)] if under_agent else []
    spool = str(folder / "spool") if folder is not None else "off"
    of_program = {"HIGHLIGHT_SERVICE_NAME": name, "HIGHLIGHT_SPOOL_DIR": spool, **(env or {})}
    environment = agent_environment(endpoint, **of_program)
    if not measured:
        environment = {key: value for key, value in environment.items() if not key.startswith("COVERAGE_")}
    return subprocess.run(
        [*launcher, *words],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
