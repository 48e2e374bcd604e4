"""The shop's page in a real browser, with the published browser clients, built once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.environment import ROOT
from tests.support import chromium, npm
from tests.support import shop as shops
from tests.support.local import Local, shared
from tests.support.visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.support.shop import Shop

CLIENTS = ("9", "10")  # the major versions of highlight.run


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """`highlight-local`; that it has nothing to complain about is checked in the end."""
    yield from shared(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def shop(local: Local, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The demo's services, and its page with each client, and without one."""
    dist = npm.built(ROOT / "tests" / "browser", shops.PAGE)
    pages = {client: dist / client for client in CLIENTS}
    pages[shops.BARE] = dist / CLIENTS[-1]
    with shops.running(tmp_path_factory.mktemp("shop"), local.url, pages) as services:
        yield services
    services.check()


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda client: f"highlight.run {client}")
def client(request: pytest.FixtureRequest) -> str:
    """The version of the browser client."""
    return request.param


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright runs an event loop in this thread, so that no other file's tests may come meanwhile."""
    with chromium.running() as found:
        yield found


@pytest.fixture(scope="module")
def visit(browser: Browser, shop: Shop, local: Local) -> Iterator[Callable[[str], Visitor]]:
    """Have somebody come to the page that has this client."""
    visitors = []

    def come(client: str) -> Visitor:
        visitors.append(Visitor(browser, shop.pages[client].url, local))
        assert client == shops.BARE or visitors[-1].session
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.close()
