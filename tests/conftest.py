"""Fixtures: a receiver, services under highlight-run that report to it, and one-shot programs."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.support import brokers
from tests.support.grpc_receiver import GrpcReceiver
from tests.support.receiver import Receiver
from tests.support.services import Service, run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The same examples in each run, so that a run says something of the change that it was made for; the long one is for
# finding what nobody has thought of.
hypothesis.settings.register_profile("same", derandomize=True, database=None)
hypothesis.settings.register_profile("long")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


# A shell has its background jobs ignore SIGINT, and a program that ignores it has its children do so too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_errors_of_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what programs under test leave on disk out of the user's own folder, and the other way about."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An OTLP/HTTP receiver; an export that it cannot decode fails the test."""
    server = Receiver()
    yield server
    server.close()
    assert server.faults == []


@pytest.fixture
def grpc_receiver() -> Iterator[GrpcReceiver]:
    """An OTLP/gRPC receiver."""
    server = GrpcReceiver()
    yield server
    server.close()
    assert server.faults == []


@pytest.fixture
def run_service(receiver: Receiver, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start services that report to `receiver`; they are stopped after the test, and what the agent said is checked."""
    services: list[Service] = []

    def run(command: Any, **options: Any) -> Service:
        options.setdefault("endpoint", receiver.url)
        options.setdefault("name", "service" if not services else f"service{len(services) + 1}")
        options.setdefault("folder", tmp_path / options["name"])
        service = Service(command, **options)
        services.append(service)
        return service

    yield run
    for service in services:
        service.kill()
    for service in services:
        service.check()


@pytest.fixture
def run_python(receiver: Receiver, tmp_path: Path) -> Callable[..., Any]:
    """Run a program once, reporting to `receiver`."""
    return partial(run_program, endpoint=receiver.url, folder=tmp_path)


# Brokers, each started by the first test that needs it and stopped after the last test of all.


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Kafka]:
    """A broker of Kafka's protocol; make a topic of your own."""
    with brokers.kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[str]]:
    """Redis: the URL of one database after the other."""
    with brokers.redis(tmp_path_factory.mktemp("redis")) as urls:
        yield urls


@pytest.fixture(scope="module")
def redis_url(redis_databases: Iterator[str]) -> str:
    """A database of Redis for each file of tests: libraries give their keys the same names, and other types."""
    return next(redis_databases)


@pytest.fixture(scope="session")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """RabbitMQ."""
    with brokers.rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """NATS, with JetStream."""
    with brokers.nats(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture(scope="session")
def aws_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stand-in for AWS."""
    with brokers.aws(tmp_path_factory.mktemp("aws")) as url:
        yield url
