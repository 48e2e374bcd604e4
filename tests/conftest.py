"""Fixtures: a receiver, services under highlight-run that report to it, and one-shot programs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.grpc_receiver import GrpcReceiver
from tests.support.receiver import Receiver
from tests.support.services import Service, run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
