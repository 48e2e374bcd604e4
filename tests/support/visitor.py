"""Somebody at the shop's page with a browser of their own, whose session `highlight-local` has."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .services import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Request

    from .local import Local

LAMP, MISSING = "Order a lamp", "Order what is not there"
CAUSED = [(0, 2), (2, 4)]  # errors and log records of the two
MACHINE = ("127.0.0.1", "localhost")


class Visitor:
    """They come with a URL of their own, by which their session is found."""

    def __init__(self, browser: Browser, page_url: str, local: Local) -> None:
        self.local = local
        self.context = browser.new_context()
        self.page = self.context.new_page()
        self.console: list[str] = []
        self.hosts: set[str] = set()
        self.sent: list[dict[str, str]] = []  # the headers of each order
        self.page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        self.context.on("request", self._note)
        self.url = f"{page_url}/?visitor={secrets.token_hex(8)}"
        self.page.goto(self.url)
        self._session: str | None = None

    @property
    def session(self) -> str:
        """The id of their session, once it has come.

        Who orders then does so between two pushes of the client: a request whose answer is still being read when it
        pushes is recorded without status and ids.
        """
        if self._session is None:
            wait_until(self._find, what="for the session")
        assert self._session is not None
        return self._session

    def _find(self) -> str | None:
        found = [one["id"] for one in self.local.api("sessions")["items"] if one["url"] == self.url]
        assert len(found) < 2, "one visit made several sessions"
        self._session = found[0] if found else None
        return self._session

    def _note(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.hostname:  # data: and blob: are at no host
            self.hosts.add(url.hostname)
        if url.path == "/orders" and request.method == "POST":
            self.sent.append(request.headers)

    def order(self, name: str) -> str:
        """Click a button, and say what the page says when it is done."""
        status = self.page.get_by_role("status")
        self.page.get_by_role("button", name=name).click()
        answered = "status => !['', 'asking ...'].includes(status.textContent)"
        self.page.wait_for_function(answered, arg=status.element_handle())
        return status.text_content() or ""

    def by(self, means: str) -> None:
        """Ask by `fetch` or `xhr` from now on."""
        self.page.get_by_label("ask with XMLHttpRequest").set_checked(means == "xhr")

    @property
    def orders(self) -> list[Any]:
        """The orders, as their session's network has them."""
        return [row for row in self.api("sessions/{session}/network") if row["url"].endswith("/orders")]

    def wait_for_orders(self) -> None:
        """Wait until all is there that a lamp and what is missing have caused in the services."""
        try:
            wait_until(lambda: [(len(row["errors"]), row["logs"]) for row in self.orders] == CAUSED)
        except AssertionError:
            msg = f"waited in vain for the orders; there are {self.orders}"
            raise AssertionError(msg) from None

    def api(self, path: str) -> Any:
        """What the JSON API answers about their session: the items of a list."""
        return self.local.api(path.format(session=self.session))["items"]

    def close(self) -> None:
        """Go away; no request may have left the machine."""
        self.context.close()
        assert self.hosts <= set(MACHINE), self.hosts
