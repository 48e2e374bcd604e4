"""A server that the tests of a file share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.local import Local

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """`highlight-local`; that it has nothing to complain about is checked in the end."""
    server = Local(tmp_path_factory.mktemp("local"))
    yield server
    server.stop()
    server.kill()
    server.check()
