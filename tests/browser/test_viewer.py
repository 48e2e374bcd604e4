"""Somebody has failed to order, and somebody else looks why: from the viewer's front page, by its links alone."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from tests.support import chromium
from tests.support.services import wait_until
from tests.support.visitor import LAMP, MISSING


@pytest.fixture(scope="module")
def customer(visit, client):
    """Who has got a lamp, and then not what was missing; the page's own spans have come too."""
    visitor = visit(client)
    assert [visitor.order(LAMP), visitor.order(MISSING)] == ["ordered: a lamp", "the order failed: 500"]
    visitor.wait_for_orders()
    (trace,) = visitor.orders[-1]["traces"]
    wait_until(lambda: visitor.local.api(f"traces/{trace}")["spans"] == 4, what="for the page's spans")
    return visitor


@pytest.fixture
def viewer(browser, local):
    """The front page, in a browser of its own."""
    with chromium.opened(browser, local.url) as page:
        page.goto("/")
        yield page


def heading(page):
    return page.get_by_role("heading", level=1)


def replayed(page):
    """The recorded page, as it stands."""
    return page.get_by_role("region", name="Replay").frame_locator("iframe")


def open_error(page, customer):
    """From the front page to the KeyError of this customer."""
    page.get_by_role("link", name="KeyError").click()
    heading(page).get_by_text("KeyError").wait_for()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=customer.session[:12]))
    row.get_by_role("link", name=re.compile(r"^\d\d:\d\d:\d\d")).click()
    page.get_by_role("heading", name="Traceback").wait_for()


def test_an_error_shows_where_it_was_raised_and_what_was_asked(viewer, customer, shop):
    open_error(viewer, customer)

    assert heading(viewer).inner_text().split() == ["KeyError", "13"]
    main = viewer.get_by_role("main")
    main.get_by_text('return {"item": SHELF[number]}').filter(visible=True).first.wait_for()
    main.get_by_role("link", name=f"POST {shop.shop.url}/orders").wait_for()


def test_an_error_shows_the_replay_at_the_moment_of_its_request(viewer, customer):
    open_error(viewer, customer)

    page = replayed(viewer)
    page.get_by_role("heading", name="The shop").wait_for()
    # The lamp has been ordered, and the other button pressed; it had not failed yet.
    page.get_by_text(re.compile(r"ordered: a lamp|asking \.\.\.")).wait_for()
    assert page.get_by_text("the order failed").count() == 0


def test_an_error_shows_the_logs_around_it_in_their_order(viewer, customer):
    open_error(viewer, customer)

    table = viewer.get_by_role("table", name="The log records around the error")
    table.get_by_text("looking for item 13").wait_for()
    words = ("asking the stock", "looking for item 13", "KeyError: 13", "Exception in ASGI")
    text = table.inner_text()
    assert sorted(words, key=text.index) == list(words)


def test_an_error_shows_the_trace_across_the_services(viewer, customer):
    open_error(viewer, customer)

    rows = viewer.get_by_role("treegrid").get_by_role("row")
    rows.filter(has_text="GET /items/{number}").wait_for()
    expected = [("POST", "page"), ("POST /orders", "shop"), ("GET", ""), ("GET /items/{number}", "stock")]
    found = [row for row in rows.all_inner_texts() if "Span" not in row]
    assert len(found) == len(expected)
    for text, (name, service) in zip(found, expected, strict=True):
        assert name in text
        assert service in text


def test_the_trace_leads_to_the_session_and_its_logs(viewer, customer):
    open_error(viewer, customer)
    viewer.get_by_role("main").get_by_role("link", name=customer.orders[-1]["traces"][0][:12]).click()

    viewer.get_by_role("link", name="4 records").wait_for()
    (session, browser) = [
        viewer.get_by_role("main").get_by_role("link", name=name).first.get_attribute("href")
        for name in (customer.session[:12], "POST /orders")
    ]
    assert session.partition("?")[0] == browser.partition("?")[0] == f"/sessions/{customer.session}"
    viewer.get_by_role("link", name="4 records").click()
    viewer.get_by_role("heading", level=1, name="Logs").wait_for()
    viewer.get_by_text("looking for item 13").wait_for()
    assert viewer.get_by_text("looking for item 7").count() == 0


def test_the_session_shows_the_request_beside_the_replay(viewer, customer):
    open_error(viewer, customer)
    viewer.get_by_role("link", name="The whole session").click()
    viewer.get_by_role("tab", name="Network").wait_for()

    assert urlsplit(viewer.url).path == f"/sessions/{customer.session}"
    replayed(viewer).get_by_role("heading", name="The shop").wait_for()
    requests = viewer.get_by_role("tabpanel", name="Network")
    failed = requests.get_by_role("listitem").filter(has_text="500")
    failed.get_by_role("link", name="KeyError").wait_for()
    assert failed.get_by_text("POST").count() == 1
    viewer.get_by_role("tab", name="Console").click()
    viewer.get_by_text("order 13 failed: 500").wait_for()
    viewer.get_by_role("tab", name="Errors").click()
    viewer.get_by_role("tabpanel", name="Errors").get_by_role("link", name="KeyError").click()
    viewer.get_by_role("heading", name="Traceback").wait_for()


def test_what_comes_is_shown_while_one_looks(viewer, customer, visit, client):
    viewer.get_by_role("link", name="Sessions").click()
    viewer.get_by_role("heading", level=1, name="Sessions").wait_for()

    somebody = visit(client)

    viewer.locator(f"a[href^='/sessions/{somebody.session}']").first.wait_for()
