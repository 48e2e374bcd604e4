"""The pages in a real browser: from link to link as a person goes, by mouse and keyboard, while data come."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.support import chromium, story
from tests.support.local import Local, logs, program, traceback, traces
from tests.support.services import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator

    Open = Callable[..., Page]

MS = 1_000_000
TITLE = f"shop.PaymentRefused no money for order 17 {story.HOSTILE}"
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright runs an event loop in this thread, so that no other file's tests may come meanwhile."""
    with chromium.running() as found:
        yield found


@pytest.fixture(scope="module")
def at(local) -> int:
    """The moment of the request of which all is known to the file's server."""
    return story.tell(local)


@pytest.fixture
def open_page(browser, local, at, start) -> Iterator[Open]:
    """Open a page of the server, or another; in the end, nothing has gone wrong in any, nor has one asked elsewhere."""
    contexts, wrong, asked, expected = [], [], [], []

    def open_it(path: str, *, server: Local = local, width: int = 1280, url: str | None = None) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB", timezone_id="UTC")
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url or f"{server.url}{path}", wait_until="domcontentloaded")
        return page

    open_it.asked, open_it.expected = asked, expected
    yield open_it
    for context in contexts:
        context.close()
    assert [text for text in wrong if not any(part in text for part in expected)] == []
    own = re.compile(r"http://127\.0\.0\.1:\d+/|file:///|data:|blob:|about:")
    assert [url for url in asked if not own.match(url)] == []


def texts(found: Locator) -> list[str]:
    return [" ".join(text.split()) for text in found.all_inner_texts()]


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def spans(page: Page) -> list[tuple[str, str, str]]:
    """The rows of a waterfall: level, name, whether it is open."""
    rows = page.get_by_role("treegrid").locator(".rows [role=row]")
    return [
        (
            row.get_attribute("aria-level") or "",
            row.locator(".span-name").inner_text(),
            row.get_attribute("aria-expanded") or "",
        )
        for row in rows.all()
    ]


def test_links_lead_from_the_front_page_to_everything_around_an_error_and_back(open_page):
    page = open_page("/")

    page.get_by_role("link", name="shop.PaymentRefused").click()
    expect(heading(page)).to_have_text(TITLE)
    page.get_by_role("link", name="Open the newest").click()
    expect(heading(page)).to_have_text(TITLE)
    assert urlsplit(page.url).path == "/error/1"
    page.get_by_role("treegrid").get_by_role("link", name="GET /stock/{item}").last.click()
    expect(heading(page)).to_have_text("POST /checkout")
    assert (urlsplit(page.url).path, query(page)) == (f"/traces/{story.TRACE}", {"span": [story.STOCK]})
    page.get_by_label("The span").get_by_role("link", name="020202020202…").click()
    page.wait_for_url(f"**/traces/{story.TRACE}?span={story.CALL}")
    expect(page.get_by_label("The span").get_by_role("heading", level=2)).to_have_text("GET /stock/{item}")
    page.get_by_role("link", name="4 records").click()
    expect(heading(page)).to_have_text("Logs")
    assert query(page) == {"trace": [story.TRACE]}
    page.get_by_role("link", name="0a0a0a0a0a0a…").first.click()
    expect(heading(page)).to_have_text("POST /checkout")

    for title in ("Logs", "POST /checkout", "POST /checkout", TITLE, TITLE, "Errors"):
        page.go_back()
        expect(heading(page)).to_have_text(title)
    page.get_by_role("link", name="Traces").click()
    page.get_by_role("link", name="POST /checkout").click()
    expect(page.get_by_role("link", name="ACustomerOfT…").first).to_have_attribute(
        "href", re.compile(rf"^/sessions/{story.SESSION}\?at=\d+$")
    )


def test_an_error_is_shown_with_all_around_it(open_page, at):
    page = open_page("/error/1")

    expect(heading(page)).to_have_text(TITLE)
    frames = page.locator(".traceback > ol > li")
    assert texts(frames) == [
        "/srv/shop/views.py:12 in checkout 10 def checkout(): 11 cart = load() 12 pay() 13 return 'paid'",
        "/srv/shop/main.py:5 in main serve()",
    ]
    expect(page.locator(".lines .here")).to_have_text("12     pay()")
    frames.first.locator("summary").click()
    assert texts(frames.first) == ["/srv/shop/views.py:12 in checkout pay()"]
    library = page.get_by_text("1 call in libraries")
    expect(page.get_by_text("bank/api.py:99")).to_be_hidden()
    library.click()
    expect(page.get_by_text("bank/api.py:99")).to_be_visible()
    page.get_by_text("The whole stack as it came").click()
    expect(page.locator(".stack pre")).to_contain_text("raise Refused\nshop.PaymentRefused: no money for order 17 <img")
    assert texts(page.locator(".request-line")) == ["POST http://localhost:8000/checkout?card=visa"]
    request = page.get_by_role("heading", name="Request").locator("..").locator("dl.fact-list > div")
    assert texts(request) == ["Status 500", "Route /checkout", "Duration 320 ms", "Service shop"]
    rows = page.get_by_role("table", name="The log records around the error").locator("tbody tr:not(.detail)")
    assert texts(rows) == [
        f"▸{clock(at, 5)} INFO shop {story.LOGS[0]}",
        f"▸{clock(at, 35)} INFO shop {story.LOGS[1]}",
        f"▸{clock(at, 120)} WARN stock {story.LOGS[2]}",
        f"{clock(at, 300)} shop.PaymentRefused: no money for order 17 {story.HOSTILE}",
        f"▸{clock(at, 310)} ERROR shop {story.LOGS[3]}",
    ]
    expect(page.get_by_role("treegrid").locator("[aria-selected=true] .span-name")).to_have_text("POST /checkout")
    assert spans(page) == [
        ("1", "POST /checkout", "true"),
        ("2", "GET /stock/{item}", "true"),
        ("3", "GET /stock/{item}", "true"),
        ("4", f"SELECT {story.HOSTILE}", ""),
    ]
    shown = page.frame_locator(".replay iframe").locator("body")
    expect(shown).to_contain_text("Pay")
    assert "could not be paid" not in shown.inner_text()


def clock(at: int, after: int) -> str:
    ms = at // MS + after
    return time.strftime("%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03d}"


def test_neighbours_of_an_error_are_a_link_away(open_page, local, start, tmp_path):
    server = start(folder=tmp_path / "neighbours")
    for number in range(3):
        event = [("exception", traceback("shop.Late", f"order {number}"))]
        given = {"trace": f"{number + 1:032x}", "span": "01" * 8, "start": (1_800_000_000_000 + number) * MS}
        server.post("/v1/traces", traces({**given, "events": event}, service="shop"))
    page = open_page("/errors", server=server)

    page.get_by_role("link", name="shop.Late").click()
    rows = page.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(3)
    assert [text.split(" ")[-4:-2] for text in texts(rows)] == [["order", "2"], ["order", "1"], ["order", "0"]]
    rows.nth(1).get_by_role("link").first.click()
    expect(heading(page)).to_have_text("shop.Late order 1")
    page.get_by_role("link", name="Later →").click()
    expect(heading(page)).to_have_text("shop.Late order 2")
    expect(page.get_by_role("link", name="Later →")).to_have_count(0)
    page.get_by_role("link", name="← Earlier").click()
    page.get_by_role("link", name="← Earlier").click()
    expect(heading(page)).to_have_text("shop.Late order 0")
    page.get_by_role("link", name="All 3 of this group").click()
    server.post(
        "/v1/traces",
        traces({"trace": "0c" * 16, "span": "01" * 8, "events": [("exception", traceback("shop.Late", "order 3"))]}),
    )
    expect(rows).to_have_count(4)
    expect(page.locator("dl.fact-list > div").first).to_have_text("Count4")


def test_a_waterfall_is_gone_through_by_keyboard(open_page):
    page = open_page(f"/traces/{story.TRACE}")
    focused = page.locator(":focus .span-name")

    page.get_by_role("treegrid").locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    expect(focused).to_have_text("GET /stock/{item}")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(":focus")).to_have_attribute("aria-expanded", "false")
    assert spans(page) == [("1", "POST /checkout", "true"), ("2", "GET /stock/{item}", "false")]
    page.keyboard.press("ArrowRight")
    expect(page.locator(":focus")).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("End")
    expect(focused).to_have_text(f"SELECT {story.HOSTILE}")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**?span={story.QUERY}")
    expect(page.get_by_label("The span").get_by_role("heading", level=2)).to_have_text(f"SELECT {story.HOSTILE}")
    expect(focused).to_have_text(f"SELECT {story.HOSTILE}")
    page.keyboard.press("ArrowLeft")
    expect(focused).to_have_text("GET /stock/{item}")
    page.keyboard.press("Home")
    expect(focused).to_have_text("POST /checkout")

    page.get_by_role("button", name="Collapse all").click()
    assert spans(page) == [("1", "POST /checkout", "false")]
    page.get_by_role("button", name="Expand all").click()
    assert len(spans(page)) == 4


def test_a_trace_of_thousands_of_spans_draws_those_in_sight(open_page, start, tmp_path):
    server = start(folder=tmp_path / "large")
    many = [
        {
            "trace": "0d" * 16,
            "span": f"{number + 1:016x}",
            "parent": f"{number:016x}" if number else "",
            "name": f"span {number}",
            "start": (1_800_000_000_000 + number) * MS,
        }
        for number in range(4000)  # each below the other: deeper than a stack
    ]
    circle = [
        {"trace": "0d" * 16, "span": "aa" * 8, "parent": "bb" * 8, "name": "a", "start": 1_800_000_001_000 * MS},
        {"trace": "0d" * 16, "span": "bb" * 8, "parent": "aa" * 8, "name": "b", "start": 1_800_000_001_000 * MS},
    ]
    assert server.post("/v1/traces", traces(*many, *circle)).status == 200

    page = open_page(f"/traces/{'0d' * 16}", server=server)

    tree = page.get_by_role("treegrid")
    expect(tree).to_have_attribute("aria-rowcount", "4003")
    assert 20 < len(spans(page)) < 120
    tree.locator("[tabindex='0']").focus()
    page.keyboard.press("End")
    expect(page.locator(":focus .span-name")).to_have_text("b")
    expect(tree.get_by_text("span 3999", exact=True)).to_be_visible()
    assert 20 < len(spans(page)) < 120
    tree.get_by_text("span 3990", exact=True).click()
    expect(page.get_by_label("The span").get_by_role("heading", level=2)).to_have_text("span 3990")


def test_traces_are_narrowed_and_the_address_says_how(open_page, start, tmp_path):
    server = start(folder=tmp_path / "traces")
    now = time.time_ns()
    for number, (name, service, length, status) in enumerate(
        [("GET /a", "web", 5, 0), ("GET /b", "web", 700, 2), ("GET /a/c", "bank", 900, 0)]
    ):
        given = {"trace": f"{number + 1:032x}", "span": "01" * 8, "name": name, "start": now + number}
        server.post("/v1/traces", traces({**given, "end": now + length * MS, "status": status}, service=service))
    page = open_page("/traces", server=server)
    names = page.locator("tbody tr td:first-child")

    expect(names).to_have_text(["GET /a/c", "GET /b", "GET /a"])
    page.get_by_label("Slower than").fill("600")
    page.keyboard.press("Tab")
    expect(names).to_have_text(["GET /a/c", "GET /b"])
    page.get_by_label("Search").fill("/a")
    expect(names).to_have_text(["GET /a/c"])
    assert query(page) == {"slower": ["600"], "text": ["/a"]}
    page.reload()
    expect(names).to_have_text(["GET /a/c"])
    page.get_by_label("Search").fill("")
    page.get_by_label("Failed").check()
    expect(names).to_have_text(["GET /b"])
    page.get_by_label("Service").select_option("bank")
    expect(page.get_by_text("No trace is like that.")).to_be_visible()
    assert query(page) == {"slower": ["600"], "failed": ["1"], "service": ["bank"]}
    page.get_by_label("Failed").uncheck()
    expect(names).to_have_text(["GET /a/c"])


def test_logs_are_searched_and_each_tells_its_attributes(open_page, at):
    page = open_page("/logs")
    bodies = page.locator("td.body")

    expect(bodies).to_have_text(list(reversed(story.LOGS)))
    page.get_by_label("Search").fill("the cart")
    expect(bodies).to_have_text([story.LOGS[0]])
    assert query(page) == {"text": ["the cart"]}
    page.get_by_role("button", name="Attributes").click()
    expect(page.locator(".detail dl.attributes > div").filter(has_text="order")).to_have_text("order17")
    page.get_by_label("Search").fill("")
    page.get_by_label("Level").select_option("WARN")
    expect(bodies).to_have_text([story.LOGS[3], story.LOGS[2]])
    page.get_by_label("Service").select_option("stock")
    expect(bodies).to_have_text([story.LOGS[2]])
    assert query(page) == {"level": ["WARN"], "service": ["stock"]}
    page.get_by_label("Service").select_option("")
    page.get_by_label("Level").select_option("")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1_000_000_000 + 2))
    page.get_by_label("From").fill(moment)
    expect(page.get_by_text("No log record is like that.")).to_be_visible()
    assert query(page) == {"after": [str((at // 1_000_000_000 + 2) * 1000)]}
    page.reload()
    # As HTML writes a moment that it is given: a whole minute has no seconds.
    expect(page.get_by_label("From")).to_have_value(moment.removesuffix(":00"))
    page.get_by_label("From").fill("")
    page.get_by_label("Until").fill(moment)
    expect(bodies).to_have_text(list(reversed(story.LOGS)))


def test_logs_are_followed_or_said_to_have_come(open_page, start, tmp_path):
    server = start(folder=tmp_path / "logs")
    server.post("/v1/logs", logs({"body": "the first"}))
    page = open_page("/logs", server=server)
    bodies = page.locator("td.body")
    expect(bodies).to_have_text(["the first"])
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    server.post("/v1/logs", logs({"body": "the second"}))
    expect(bodies).to_have_text(["the second", "the first"])
    page.get_by_label("Search").fill("th")
    expect(page).to_have_url(re.compile("text=th"))
    server.post("/v1/logs", logs({"body": "another"}, {"body": "the third"}))
    expect(bodies).to_have_text(["the third", "the second", "the first"])
    page.get_by_label("Follow").uncheck()
    assert query(page) == {"text": ["th"], "follow": ["0"]}
    server.post("/v1/logs", logs({"body": "the fourth"}))
    page.get_by_role("button", name="Show those that have come since").wait_for()
    assert texts(bodies) == ["the third", "the second", "the first"]
    page.get_by_role("button", name="Show those that have come since").click()
    expect(bodies).to_have_text(["the fourth", "the third", "the second", "the first"])
    server.post("/v1/logs", logs({"body": "the fifth"}))
    page.get_by_role("button", name="Show those that have come since").wait_for()
    page.get_by_label("Follow").check()
    expect(bodies).to_have_text(["the fifth", "the fourth", "the third", "the second", "the first"])


def test_older_logs_are_shown_on_demand_while_newer_come(open_page, start, tmp_path):
    server = start(folder=tmp_path / "older")
    moment = time.time_ns() - 1000 * MS
    server.post("/v1/logs", logs(*({"body": f"line {number}", "time": moment + number * MS} for number in range(120))))
    page = open_page("/logs", server=server)
    bodies = page.locator("td.body")
    expect(bodies).to_have_count(50)

    page.get_by_role("button", name="Show more").click()
    expect(bodies).to_have_count(100)
    server.post("/v1/logs", logs({"body": "new"}, {"body": "late", "time": moment - MS}))
    expect(bodies.first).to_have_text("new")
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    assert texts(bodies) == ["new", *(f"line {number}" for number in reversed(range(120))), "late"]


def test_where_there_is_nothing_the_pages_say_so(open_page, start, tmp_path):
    server = start(folder=tmp_path / "empty")
    page = open_page("/", server=server)

    expect(page.get_by_text("No error has arrived.")).to_be_visible()
    for name, said in (("Traces", "No trace has arrived."), ("Logs", "No log record has arrived.")):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_text(said)).to_be_visible()
    open_page.expected += ["404 (Not Found)", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"]
    for path in ("/error/7", "/error/x", "/errors/7", "/traces/7"):
        page.goto(f"{server.url}{path}", wait_until="domcontentloaded")
        expect(page.get_by_role("alert").first).to_be_visible()
    server.stop()
    expect(page.get_by_text("waiting", exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [1280, 700, 360])
def test_no_page_is_wider_than_its_window(open_page, width):
    page = open_page("/", width=width)
    titles = []
    for path in ("/errors", "/error/1", "/traces", f"/traces/{story.TRACE}", "/logs"):
        page.goto(f"{urlsplit(page.url).scheme}://{urlsplit(page.url).netloc}{path}", wait_until="domcontentloaded")
        expect(page.get_by_role("table").or_(page.get_by_role("treegrid")).first).to_be_visible()
        titles.append(page.title())
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0, path
    assert titles == [
        "Errors · highlight-local",
        f"shop.PaymentRefused: no money for order 17 {story.HOSTILE}"[:121] + " · highlight-local",
        "Traces · highlight-local",
        "POST /checkout · highlight-local",
        "Logs · highlight-local",
    ]


def test_an_exported_error_is_seen_from_its_file_alone(open_page, local, at, tmp_path):
    file: Path = tmp_path / "error.html"
    said = program("export", "--error", "1", "--db", str(local.database), "--output", str(file), folder=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    open_page.asked.clear()

    page = open_page("", url=file.as_uri())

    expect(heading(page)).to_have_text(TITLE)
    assert texts(page.locator(".traceback > ol > li")) == [
        "/srv/shop/views.py:12 in checkout 10 def checkout(): 11 cart = load() 12 pay() 13 return 'paid'",
        "/srv/shop/main.py:5 in main serve()",
    ]
    assert texts(page.locator("td.body")) == story.LOGS
    assert [name for _, name, _ in spans(page)] == [
        "POST /checkout",
        "GET /stock/{item}",
        "GET /stock/{item}",
        f"SELECT {story.HOSTILE}",
    ]
    page.get_by_role("treegrid").get_by_role("button", name="SELECT").click()
    expect(page.get_by_label("The span").get_by_role("heading", level=2)).to_have_text(f"SELECT {story.HOSTILE}")
    shown = page.frame_locator(".replay iframe").locator("body")
    expect(shown).to_contain_text("Pay")
    assert "could not be paid" not in shown.inner_text()
    page.get_by_role("slider").first.press("End")
    expect(shown).to_contain_text("Your order could not be paid.")
    assert page.locator("a[href]").all() == []
    assert open_page.asked == [file.as_uri()]
