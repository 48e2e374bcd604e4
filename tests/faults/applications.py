"""The applications that faults are put into: how each is started, and what it is asked, the same each time."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.environment import ROOT
from tests.support.services import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
DEMO = ROOT / "examples" / "demo"
INJECT = HERE / "inject"
PACKAGE = ROOT / "highlight_autoinstrument"

PAGE = "http://localhost:3000"  # whose scripts call the applications
FIRST = 100_001  # the number of an order that is there for one time alone


@dataclass
class Application:
    """A program, and a session with it: `ask` makes the requests of round `number`, and returns the answers."""

    name: str
    command: str
    ask: Callable[[Any, int], list[object]]
    env: dict[str, str] = field(default_factory=dict)
    path: Path = APPS

    def start(self, folder: Path, **options: Any) -> Service:
        env = {"PYTHONPATH": str(self.path), "PYTHONUNBUFFERED": "1", **self.env, **options.pop("env", {})}
        return Service(self.command, folder=folder, name=self.name, env=env, **options)


def headers(number: int) -> str:
    return f"x-highlight-request: faults{number}/r{number}"


def get(service: Service, path: str, number: int) -> bytes:
    """What comes back, byte for byte but for the date."""
    line = f"GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{headers(number)}\r\n\r\n"
    return re.sub(rb"\r\n[Dd]ate: [^\r]*", b"", service.raw(line.encode()))


def post(service: Service, path: str, body: bytes, number: int, kind: str = "text/plain") -> bytes:
    line = f"POST {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{headers(number)}\r\n"
    line += f"Origin: {PAGE}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return re.sub(rb"\r\n[Dd]ate: [^\r]*", b"", service.raw(line.encode() + body))


def ask_shop(service: Service, number: int) -> list[object]:
    orders = [json.dumps({"item": item}).encode() for item in (7, number)]
    return [post(service, "/orders", order, number, "application/json") for order in orders]


def ask_aiohttp(service: Service, number: int) -> list[object]:
    return [get(service, "/orders/7", number), get(service, f"/orders/{number}", number)]


def ask_stock(service: Service, number: int) -> list[object]:
    return [
        get(service, "/items/7", number),
        get(service, f"/items/{number}", number),
        get(service, "/nothing", number),
    ]


def ask_django(service: Service, number: int) -> list[object]:
    return [
        get(service, "/orders/7", number),
        get(service, f"/orders/{number}", number),
        get(service, f"/stream/{number}", number),
        post(service, "/form", b"abc", number),
    ]


def ask_starlette(service: Service, number: int) -> list[object]:
    with service.websocket("/shop/echo", {"x-highlight-request": f"faults{number}/r{number}"}) as websocket:
        websocket.send(str(number))
        heard = websocket.recv()
    return [
        get(service, "/shop/orders/7", number),
        get(service, f"/shop/orders/{number}", number),
        get(service, "/shop/stream", number),
        heard,
    ]


def ask_grpc(service: Service, number: int) -> list[object]:
    import grpc

    answers: list[object] = []
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        method = channel.unary_unary("/Shop/Order")
        metadata = [("x-highlight-request", f"faults{number}/r{number}")]
        for request in (b"7", str(number).encode()):
            try:
                answer, call = method.with_call(request, metadata=metadata, timeout=30, wait_for_ready=True)
            except grpc.RpcError as error:
                call, answer = error, error.details()
            answers.append((call.code(), answer, call.initial_metadata(), call.trailing_metadata()))
    return answers


def ask_worker(service: Service, number: int) -> list[object]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(f"{number} faults{number}\n".encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile() as answers:
            return [answers.read()]


PYTHON = sys.executable
ALL = [
    Application("shop", f"python {DEMO / 'shop.py'}", ask_shop, path=DEMO),
    Application("stock", "uvicorn stock:app --port {port} --log-level warning", ask_stock, path=DEMO),
    Application("django", f"python {APPS / 'django_app.py'}", ask_django),
    Application("starlette", "uvicorn starlette_app:app --port {port} --log-level warning", ask_starlette),
    Application("aiohttp", f"python {APPS / 'aiohttp_app.py'}", ask_aiohttp),
    Application("grpc", f"python {APPS / 'grpc_app.py'}", ask_grpc),
    Application("worker", f"python {APPS / 'worker.py'}", ask_worker),
]


def plain(thing: object) -> object:
    """An answer or an output without what is of its round alone."""
    if isinstance(thing, (list, tuple)):
        return [plain(item) for item in thing]
    if isinstance(thing, bytes):
        thing = thing.decode("latin-1")
    return _OF_A_ROUND.sub("N", thing) if isinstance(thing, str) else thing


_OF_A_ROUND = re.compile(
    r"faults[0-9]+|\b1[0-9]{5}\b|\b[0-9]{5}\b|0x[0-9a-f]+"  # sessions, orders, ports, addresses
    r"|\b20[0-9-]{8} [0-9:]{8},[0-9]{3}\b|\[[0-9]+/[A-Z][a-z]+/[0-9 :]+\]"  # times
)
_OUR_FRAME = re.compile(
    rf'^ *\|? *File "{re.escape(str(ROOT))}/(?:highlight_autoinstrument|tests/faults/inject)/.*\n'
    r'(?:(?!^ *\|? *File ")^[ |]* {4}.*\n)*',
    re.MULTILINE,
)


def without_ours(text: str) -> str:
    """A program's output without the agent's lines, and without frames of its files in tracebacks."""
    return _OUR_FRAME.sub("", re.sub("^highlight: .*\n", "", text, flags=re.MULTILINE))


class Output:
    """What a service has written since it was looked at last, without the agent's lines and frames."""

    def __init__(self, service: Service) -> None:
        self._paths = (service.stdout_path, service.stderr_path)
        self._read = [0, 0]
        self.lines: list[str] = []  # of the agent
        self.skip()

    def skip(self) -> None:
        """Begin here."""
        self._read = [path.stat().st_size for path in self._paths]

    def new(self) -> list[str]:
        """What has come, not taken yet."""
        texts = []
        self.lines = []
        for path, begin in zip(self._paths, self._read, strict=True):
            with path.open("rb") as file:
                file.seek(begin)
                text = file.read().decode("utf-8", "replace")
            self.lines += re.findall("^highlight: .*\n", text, re.MULTILINE)
            texts.append(str(plain(without_ours(text))))
        return texts


class Control:
    """The pipes to a process under test."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / "commands")
        os.mkfifo(folder / "answers")
        self.folder = folder

    def open(self) -> None:
        self._commands = (self.folder / "commands").open("w")
        self._answers = (self.folder / "answers").open()

    def __call__(self, *command: object) -> Any:
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()
        answer = json.loads(self._answers.readline())
        assert not str(answer).startswith("failed"), answer
        return answer

    def close(self) -> None:
        self._commands.close()
        self._answers.close()


def settled(output: Output, expected: list[str] | None, seconds: float = 2) -> list[str]:
    """The output, once it is as expected, or after a while."""
    deadline = time.monotonic() + seconds
    while True:
        found = output.new()
        if found == expected or time.monotonic() > deadline:
            return found
        time.sleep(0.003)


@contextmanager
def running(application: Application, folder: Path, **options: Any) -> Iterator[Service]:
    service = application.start(folder, **options)
    try:
        yield service
    finally:
        service.kill()
