"""The pages of sessions in a real browser: what a person sees, does and hears there."""

from __future__ import annotations

import re
import secrets
import time

import pytest
from playwright.sync_api import expect

from tests.support.chromium import opened, running
from tests.support.local import logs, traceback, traces
from tests.support.replay import Page, click, event, mutation, payload, resource

SECOND = 1000
STARTED = time.time_ns() // 1_000_000 - 600 * SECOND


@pytest.fixture(scope="module")
def browser():
    with running() as started:
        yield started


@pytest.fixture
def tab(browser, local):
    with opened(browser, local.url) as page:
        yield page


class Visit:
    """A customer's twenty seconds in a shop: a click each five seconds, a request that fails at the second."""

    def __init__(self, local, user: str = "ann@shop.test") -> None:
        self.local, self.name, self.at = local, secrets.token_hex(14), STARTED
        self.trace, self.user = secrets.token_hex(16), user
        self.page = Page()
        self.button = self.page.element("button", self.page.text("Pay"), id="pay")
        self.said = self.page.text("Welcome")
        self.page.body["childNodes"] += [self.page.element("h1", self.said), self.button]
        self._payloads = iter(range(1, 1000))
        local.graphql("initializeSession", {"session_secure_id": self.name, "serviceName": "shop-web"})
        local.graphql(
            "identifySession",
            {"session_secure_id": self.name, "user_identifier": user, "user_object": {"plan": "gold"}},
        )

    def push(self, **parts) -> None:
        assert self.local.push(self.name, next(self._payloads), payload(**parts)).status == 200

    def begin(self) -> None:
        self.push(events=self.page.snapshot(self.at, "http://localhost:3000/cart"))

    def says(self, at: int, text: str) -> dict:
        return mutation(self.at + at, texts=[{"id": self.said["id"], "value": text}])

    def goes_on(self) -> None:
        """All of it, the services' part as well."""
        events = []
        for number, text in enumerate(("One", "Two", "Three", "Four"), 1):
            at = number * 5 * SECOND
            events += [*click(self.at + at, self.button, f"Pay {number}"), self.says(at + 100, text)]
        at = self.at + 10 * SECOND
        url = "http://localhost:8000/pay?order=17"
        failed = resource(at + 10, "POST", url, 500, self.trace, asked='{"order": 17}', answered="no money")
        found = resource(self.at + 5 * SECOND + 10, "GET", "http://localhost:8000/cart", 200, "another")
        self.push(
            events=events,
            messages=[
                {"type": "log", "time": self.at + 5 * SECOND, "value": ['"cart <b>opened</b>"']},
                {"type": "error", "time": at + 200, "value": ['"it did not work"']},
            ],
            resources=[found, failed],
        )
        values = {"highlight.session_id": self.name, "highlight.request_id": self.trace}
        ns = (at + 50) * 1_000_000
        told = ("exception", traceback("shop.NoMoney", "<i>order 17</i>"))
        span = {"trace": self.trace, "span": "1" * 16, "start": ns, "status": 2, "events": [told], "attributes": values}
        self.local.post("/v1/traces", traces(span, service="shop"))
        record = {"body": "asking the bank", "time": ns, "trace": self.trace, "attributes": values}
        self.local.post("/v1/logs", logs(record, service="shop"))


@pytest.fixture(scope="module")
def visit(local):
    visit = Visit(local)
    visit.begin()
    visit.goes_on()
    return visit


def said(page):
    """The heading inside the replay."""
    return page.frame_locator(".replay iframe").locator("h1")


def slider(page):
    return page.get_by_role("slider", name="Time in the replay")


def at(page, text: str) -> None:
    expect(slider(page)).to_have_attribute("aria-valuetext", text)


def rows(page, name: str) -> list[str]:
    """The rows of the list that is shown, each with its texts."""
    found = page.get_by_role("list", name=name, exact=True).locator("> li").all()
    return [" ".join(row.inner_text().split()) for row in found]


def test_the_replay_stands_at_the_moment_that_the_url_names(tab, visit):
    tab.goto(f"/sessions/{visit.name}?at={visit.at + 12 * SECOND}")

    expect(said(tab)).to_have_text("Two")
    at(tab, "0:12 of 0:20")
    expect(tab).to_have_title("Session of ann@shop.test · highlight-local")
    expect(tab.get_by_role("button", name="Play")).to_be_enabled()
    frame = tab.locator(".replay iframe")
    assert frame.get_attribute("sandbox") == "allow-same-origin"
    assert tab.locator(".replay .replayer-wrapper").evaluate("(one) => one.inert")


def test_the_slider_is_moved_by_keyboard(tab, visit):
    tab.goto(f"/sessions/{visit.name}")
    expect(said(tab)).to_have_text("Welcome")
    slider(tab).focus()

    for key, shown, where in (
        ("End", "Four", "0:20 of 0:20"),
        ("ArrowLeft", "Three", "0:15 of 0:20"),
        ("ArrowDown", "Two", "0:10 of 0:20"),
        ("ArrowRight", "Three", "0:15 of 0:20"),
        ("PageDown", "Welcome", "0:00 of 0:20"),
        ("PageUp", "Four", "0:20 of 0:20"),
        ("Home", "Welcome", "0:00 of 0:20"),
    ):
        tab.keyboard.press(key)
        at(tab, where)
        expect(said(tab)).to_have_text(shown)
    tab.keyboard.press(" ")
    expect(tab.get_by_role("button", name="Pause")).to_be_visible()
    expect(said(tab)).to_have_text("One", timeout=10_000)
    tab.keyboard.press(" ")
    expect(tab.get_by_role("button", name="Play")).to_be_visible()


def test_the_timeline_says_what_happened_and_is_walked_by_arrow_keys(tab, visit):
    tab.goto(f"/sessions/{visit.name}")
    lanes = tab.get_by_role("toolbar", name="What happened when")
    expect(lanes.get_by_role("button")).to_have_count(8)

    assert [button.get_attribute("aria-label") for button in lanes.get_by_role("button").all()] == [
        "0:00 Page: http://localhost:3000/cart",
        "0:05 Click: Pay 1",
        "0:10 Click: Pay 2",
        "0:15 Click: Pay 3",
        "0:20 Click: Pay 4",
        "0:05 GET /cart, 200",
        "0:10 POST /pay?order=17, 500",
        "0:10 shop.NoMoney: <i>order 17</i>",
    ]
    assert lanes.locator("[tabindex='0']").count() == 1, "one stop of the tabulator"
    lanes.locator("[tabindex='0']").focus()
    for key, name in (
        ("ArrowDown", "0:05 Click: Pay 1"),
        ("ArrowRight", "0:10 Click: Pay 2"),
        ("End", "0:20 Click: Pay 4"),
        ("ArrowRight", "0:20 Click: Pay 4"),
        ("ArrowDown", "0:10 POST /pay?order=17, 500"),
        ("ArrowDown", "0:10 shop.NoMoney: <i>order 17</i>"),
        ("ArrowUp", "0:10 POST /pay?order=17, 500"),
        ("Home", "0:05 GET /cart, 200"),
    ):
        tab.keyboard.press(key)
        expect(lanes.get_by_role("button", name=name, exact=True)).to_be_focused()
    tab.keyboard.press("Enter")
    at(tab, "0:05 of 0:20")


def test_requests_lead_to_what_they_caused_and_take_the_replay_there(tab, visit):
    tab.goto(f"/sessions/{visit.name}")
    network = tab.get_by_role("list", name="Network requests")
    expect(network.get_by_role("link", name="1 log record")).to_be_visible()

    short = f"{visit.trace[:12]}…"
    assert rows(tab, "Network requests") == [
        "0:05 GET /cart 200 100 ms +",
        f"0:10 POST /pay?order=17 500 100 ms + shop.NoMoney <i>order 17</i> Trace {short} 1 log record",
    ]
    assert [link.get_attribute("href") for link in network.get_by_role("link").all()] == [
        f"/error/{visit.local.api(f'sessions/{visit.name}/errors')['items'][0]['id']}",
        f"/traces/{visit.trace}",
        f"/logs?trace={visit.trace}",
    ]
    network.get_by_role("button", name="Go to 0:10").click()
    at(tab, "0:10 of 0:20")
    expect(network.locator("[aria-current]")).to_contain_text("POST")
    expect(said(tab)).to_have_text("One")

    network.get_by_text("GET").click()  # anywhere in the row
    at(tab, "0:05 of 0:20")
    expect(network.locator("[aria-current]")).to_contain_text("GET")


def test_a_request_without_an_answer_has_failed_unless_nobody_watched_it(tab, local):
    visit = Visit(local)
    visit.begin()
    url = "http://localhost:8000/cart"
    unwatched = {"initiatorType": "fetch", "name": url, "startTimeAbs": visit.at + 1, "responseEndAbs": visit.at + 8}
    visit.push(resources=[unwatched, resource(visit.at + 1000, "GET", url, 0, "unanswered")])

    tab.goto(f"/sessions/{visit.name}")
    network = tab.get_by_role("list", name="Network requests")
    expect(network.locator("> li")).to_have_count(2)
    assert rows(tab, "Network requests") == ["0:00 fetch /cart 7 ms +", "0:01 GET /cart none 100 ms +"]
    expect(network.locator("> li.bad")).to_contain_text(["GET"])


def test_headers_and_bodies_of_a_request_are_shown_on_demand(tab, visit):
    with tab.expect_response(re.compile("/network/")) as asked:
        tab.goto(f"/sessions/{visit.name}")
        button = tab.get_by_role("button", name="Details of POST /pay?order=17")
        button.press("Enter")
    assert asked.value.status == 200
    expect(button).to_have_attribute("aria-expanded", "true")

    details = tab.locator(".recorded")
    expect(details.locator("pre")).to_have_text(['{\n  "order": 17\n}', "no money"])
    assert [term.inner_text() for term in details.locator("dt").all()] == [
        *("id", "url", "verb", "accept", "status", "x-shop"),
        *("initiatorType", "name", "responseEndAbs", "startTimeAbs"),
    ]
    button.press("Enter")
    expect(details).to_have_count(0)


def test_each_panel_has_a_url_and_is_reached_by_keyboard(tab, visit):
    tab.goto(f"/sessions/{visit.name}")
    expect(tab.get_by_role("tab")).to_have_text(["Network2", "Console2", "Errors1", "Pages1", "About"])
    tab.get_by_role("tab", name="Network").focus()

    tab.keyboard.press("ArrowRight")
    expect(tab.get_by_role("tab", name="Console")).to_be_focused()
    assert rows(tab, "Console") == ["0:05 INFO cart <b>opened</b>", "0:10 ERROR it did not work"]
    tab.keyboard.press("ArrowRight")
    expect(tab).to_have_url(re.compile("tab=errors"))
    assert rows(tab, "All errors") == ["0:10 shop.NoMoney <i>order 17</i> shop shop/views.py:12 checkout"]
    tab.keyboard.press("End")
    expect(tab.get_by_role("tabpanel")).to_contain_text("gold")
    tab.goto(f"/sessions/{visit.name}?tab=pages")
    expect(tab.get_by_role("tab", selected=True)).to_have_text("Pages1")
    assert rows(tab, "All pages") == ["0:00 http://localhost:3000/cart"]


def test_a_moment_is_shared_as_a_link(browser, visit):
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, visit.local.url, permissions=permissions) as tab:
        tab.goto(f"/sessions/{visit.name}?tab=errors")
        tab.get_by_role("button", name="Go to 0:10").click()
        at(tab, "0:10 of 0:20")
        tab.get_by_role("button", name="Copy link to this moment").click()
        expect(tab.get_by_text("Copied")).to_be_visible()

        copied = tab.evaluate("navigator.clipboard.readText()")
        assert copied == tab.url
        tab.goto("/sessions")
        tab.goto(copied)
        at(tab, "0:10 of 0:20")
        expect(tab.get_by_role("tab", selected=True)).to_have_text("Errors1")


def test_what_is_idle_is_skipped_unless_one_wants_to_see_it(tab, local):
    visit = Visit(local)
    visit.begin()
    visit.push(events=[*click(visit.at + 2000, visit.button, "a"), *click(visit.at + 3_600_000, visit.button, "b")])
    tab.goto(f"/sessions/{visit.name}")
    at(tab, "0:00 of 1:00:00")

    tab.get_by_role("combobox", name="Speed").select_option("8")
    tab.get_by_role("button", name="Play").click()
    at(tab, "1:00:00 of 1:00:00")
    expect(tab.get_by_role("button", name="Play")).to_be_visible()
    tab.get_by_role("checkbox", name="Skip what is idle").uncheck()
    slider(tab).press("Home")
    tab.get_by_role("button", name="Play").click()
    expect(slider(tab)).to_have_attribute("aria-valuetext", re.compile("^0:1. of"))
    tab.get_by_role("button", name="Pause").click()


def test_a_session_grows_while_one_looks(tab, local):
    visit = Visit(local)
    tab.goto("/sessions")
    expect(tab.get_by_text(visit.name[:12])).to_be_visible()
    tab.get_by_role("row").filter(has_text=visit.name[:12]).get_by_role("link", name="ann@shop.test").click()
    expect(tab.get_by_text("There is no replay")).to_be_visible()

    visit.begin()
    expect(said(tab)).to_have_text("Welcome")
    visit.goes_on()
    at(tab, "0:00 of 0:20")
    expect(tab.get_by_role("list", name="Network requests").get_by_role("link")).to_have_count(3)
    slider(tab).press("End")
    expect(said(tab)).to_have_text("Four")
    slider(tab).press("ArrowLeft")
    slider(tab).press(" ")
    at(tab, "0:20 of 0:20")
    expect(tab.get_by_role("button", name="Play")).to_be_visible()
    visit.push(events=[visit.says(22 * SECOND, "Five"), event(visit.at + 23 * SECOND, 3, source=3, id=1, x=0, y=0)])
    at(tab, "0:23 of 0:23")
    expect(said(tab)).to_have_text("Five")


def test_a_moment_that_is_not_recorded_yet_is_shown_when_it_comes(tab, local):
    visit = Visit(local)
    visit.begin()
    tab.goto(f"/sessions/{visit.name}?at={visit.at + 10 * SECOND + 200}")
    expect(tab.get_by_text("The recording ends 10.2 s before that moment.")).to_be_visible()

    visit.goes_on()
    at(tab, "0:10 of 0:20")
    expect(said(tab)).to_have_text("Two")
    expect(tab.get_by_text("The recording ends")).to_have_count(0)


def test_a_session_that_only_services_know(tab, local):
    name = secrets.token_hex(14)
    values = {"highlight.session_id": name}
    failed = ("exception", traceback("shop.Alone", "no browser"))
    span = {"trace": secrets.token_hex(16), "span": "1" * 16, "events": [failed], "attributes": values, "status": 2}
    local.post("/v1/traces", traces(span, service="shop"))

    tab.goto(f"/sessions/{name}?tab=errors")
    expect(tab.get_by_text("There is no replay: no browser has sent")).to_be_visible()
    expect(tab.get_by_role("list", name="All errors")).to_contain_text("shop.Alone")
    for panel in ("Network", "Console", "Pages"):
        tab.get_by_role("tab", name=panel).click()
        expect(tab.get_by_role("tabpanel").locator(".instead")).to_have_count(1)


def test_sessions_are_searched_and_narrowed_to_those_with_errors(tab, local, visit):
    other = Visit(local, "bob@shop.test")
    other.begin()
    tab.goto("/sessions")
    search = tab.get_by_role("searchbox", name="Search")

    search.fill("bob")
    expect(tab.get_by_role("row")).to_have_count(2)
    expect(tab).to_have_url(re.compile(r"text=bob$"))
    cells = tab.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts()
    assert [" ".join(cell.split()) for cell in cells[:5]] == [
        f"bob@shop.test {other.name[:12]}… /cart",
        "shop-web",
        "0",
        "0",
        "1",
    ]
    search.fill(visit.name[:10])
    expect(tab.get_by_role("row").nth(1)).to_contain_text("ann@shop.test")
    search.fill("bob")
    tab.get_by_role("checkbox", name="With errors").check()
    expect(tab.get_by_text("No session is like that.")).to_be_visible()


def test_a_long_replay_stays_usable(tab, local):
    visit = Visit(local)
    visit.begin()
    moves = [{"x": 5, "y": 5, "id": visit.button["id"], "timeOffset": 0}]
    for start in range(0, 100_000, 20_000):
        each = range(start + 1, start + 20_001)
        visit.push(
            events=[
                visit.says(n * 40, f"Change {n}")
                if n % 5 == 0
                else event(visit.at + n * 40, 3, source=1, positions=moves)
                for n in each
            ]
        )
    began = time.monotonic()
    tab.goto(f"/sessions/{visit.name}?at={visit.at + 100_000 * 40}")
    expect(said(tab)).to_have_text("Change 100000", timeout=20_000)
    assert time.monotonic() - began < 10

    began = time.monotonic()
    for key, shown in (("Home", "Welcome"), ("End", "Change 100000"), ("ArrowLeft", "Change 99875")):
        slider(tab).press(key)
        expect(said(tab)).to_have_text(shown, timeout=10_000)
    assert time.monotonic() - began < 10


OWNED = "parent.owned = top.owned = window.owned = 1"


def hostile(page: Page, url: str) -> list[dict]:
    """All that a page might try, of elements and of styles."""
    here, script = f"{url}/icon.svg", f"javascript:{OWNED}"
    svg = {"isSVG": True}
    return [
        page.element("script", page.text(OWNED)),
        page.element("SCRIPT", page.text(OWNED)),
        page.element("script", src=f"{url}/assets/x.js"),
        {**page.element("script", page.text(OWNED)), **svg},
        page.element("img", src="x", onerror=OWNED),
        page.element("img", src="data:image/png;base64,AAAA", onerror=OWNED, ONERROR=OWNED),
        page.element("img", src="http://other.test/i.png", srcset="http://other.test/i2.png 2x"),
        page.element("img", src=here),
        page.element("img", rr_dataURL=here),
        page.element("canvas", **{"rr_dataURL ": here, "rr_dataURL": here}),
        page.element("video", autoplay="", src=here, poster=here, rr_mediaState="played"),
        page.element("body", onload=OWNED, background=here),
        page.element("iframe", src=here),
        page.element("iframe", srcdoc=f"<script>{OWNED}</script>"),
        page.element("object", data=here),
        page.element("embed", src=here),
        page.element("a", page.text("a link"), href=script, onclick=OWNED, ping=here, target="_top", id="link"),
        page.element("form", page.element("button", formaction=script, autofocus=""), action=script),
        page.element("meta", http_equiv="refresh", content=f"0; url={here}"),
        page.element("base", href="http://other.test/"),
        page.element("link", rel="stylesheet", href=here),
        page.element("link", rel="dns-prefetch", href="//other.test"),
        page.element("link", rel="preconnect", href="//other.test"),
        page.element("link", rel="prefetch", href=here),
        page.element("link", rel="stylesheet", _cssText=f"@import '{here}'; p {{ background: url({here}) }}"),
        page.element("style", page.text(f"p {{ background: url('{here}') }}", style=True)),
        page.element("style", page.text(f"@font-face {{ font-family: f; src: url({here}) }} p {{ font-family: f }}")),
        page.element("p", page.text("styled"), style=f'background: url("{here}")'),
        {**page.element("image", href=here, **{"xlink:href": here}), **svg},
        {**page.element("use", href=f"{here}#a"), **svg},
        {**page.element("animate", attributeName="href", to=script, onbegin=OWNED), **svg},
        page.element("details", page.text("x"), open="", ontoggle=OWNED),
        page.element("input", type="image", src=here),
    ]


def test_a_hostile_page_runs_nothing_and_asks_for_nothing(tab, local):
    """In its snapshot, and again as a change of the page, and as attributes that come later."""
    visit = Visit(local)
    visit.page.body["childNodes"] += hostile(visit.page, local.url)
    visit.page.head["childNodes"] += hostile(visit.page, local.url)[-16:]
    image, link = visit.page.element("img"), visit.page.element("a", visit.page.text("later"), href="https://a.test/")
    visit.page.body["childNodes"] += [image, link]
    visit.begin()
    here = f"{local.url}/icon.svg"
    later = [
        mutation(visit.at + 1000, attributes=[{"id": image["id"], "attributes": {"src": here, "onerror": OWNED}}]),
        mutation(visit.at + 1000, attributes=[{"id": link["id"], "attributes": {"href": f"javascript:{OWNED}"}}]),
        mutation(
            visit.at + 1000, attributes=[{"id": link["id"], "attributes": {"style": {"background": f"url({here})"}}}]
        ),
        event(visit.at + 1000, 3, source=10, family="f", fontSource=f"url({here})", buffer=False),
        event(visit.at + 1000, 3, source=1, positions=[]),
        event(visit.at + 1000, 3, source=2, type=99, id=link["id"]),
        event(visit.at + 1000, 3, source=2, type=5, id=link["id"]),
        event(visit.at + 1000, 3, source="x"),
        event(visit.at + 1000, 3),
        mutation(visit.at + 1000, adds=[7, {"parentId": visit.page.body["id"], "node": {"id": "x"}}]),
    ]
    later += [visit.page.adds(visit.at + 1500, node) for node in hostile(visit.page, local.url)]
    visit.push(events=[*later, *click(visit.at + 2000, link, "later"), visit.says(2100, "All of it")])
    asked: list[str] = []
    tab.on("request", lambda one: asked.append(one.url))

    tab.goto(f"/sessions/{visit.name}")
    expect(said(tab)).to_have_text("Welcome")
    slider(tab).press("End")
    expect(said(tab)).to_have_text("All of it")
    slider(tab).press("Home")
    tab.get_by_role("button", name="Play").click()
    expect(said(tab)).to_have_text("All of it")
    box = tab.locator(".replay iframe").bounding_box()
    tab.mouse.click(box["x"] + 20, box["y"] + 20)
    expect(tab.locator(".replay iframe[sandbox='allow-same-origin']")).to_have_count(1)

    for frame in tab.frames:
        assert frame.url in (tab.url, "about:blank"), frame.url
        assert frame.evaluate("typeof window.owned") == "undefined"
    ours = re.compile(rf"{local.url}/(api/|assets/(index|stage)-|sessions/{visit.name}|icon.svg$)")
    assert [one for one in asked if not ours.match(one)] == []
    assert asked.count(here) <= 1, "the tab's icon"


def test_focus_stays_with_the_reader(tab, local):
    """Neither what was focused in the page nor the tabulator goes into the replay."""
    visit = Visit(local)
    visit.begin()
    visit.push(events=[event(visit.at + 1000, 3, source=2, type=5, id=visit.button["id"]), visit.says(2000, "Focused")])
    tab.goto(f"/sessions/{visit.name}")
    expect(said(tab)).to_have_text("Welcome")

    slider(tab).press("End")
    expect(said(tab)).to_have_text("Focused")
    expect(slider(tab)).to_be_focused()
    tab.locator("main").focus()
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("button", name="Play")).to_be_focused()


def test_what_is_not_there_is_said(browser, local):
    context = browser.new_context(base_url=local.url)
    tab = context.new_page()
    tab.goto("/sessions/none")
    expect(tab.get_by_role("alert")).to_have_text("there is none, or it was too old to be kept")
    context.close()
