"""A server that the tests of a file share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.local import Local, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Local]]:
    """Start a server of the test's own, in a folder of it, as often as it likes; none outlives the test."""
    servers: list[Local] = []

    def run(*options: str, folder: Path = tmp_path) -> Local:
        servers.append(Local(folder, *options))
        return servers[-1]

    yield run
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """`highlight-local`; that it has nothing to complain about is checked in the end."""
    yield from shared(tmp_path_factory.mktemp("local"))
