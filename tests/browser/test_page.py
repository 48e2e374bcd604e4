"""A page with the published browser client, services that know nothing of it, and what is there of a click."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import pytest

from tests.support.services import wait_until
from tests.support.shop import BARE
from tests.support.visitor import LAMP, MISSING, Visitor

FULL_SNAPSHOT, INCREMENTAL, META = 2, 3, 4  # types of rrweb's events
MOUSE, CLICK = 2, 2  # the incremental ones' source, and a type of those
KINDS = {"fetch": "fetch", "xhr": "xmlhttprequest"}
GOOD, BAD = "ordered: a lamp", "the order failed: 500"


class Customer(NamedTuple):
    """Somebody who has got a lamp and not what was missing; `lamp` and `missing` are those requests."""

    visitor: Visitor
    means: str
    lamp: dict
    missing: dict

    @property
    def sent(self):
        """Both, with the trace and the span that the browser named in its header."""
        headers = [sent["traceparent"].split("-")[1:3] for sent in self.visitor.sent]
        return [(row, *ids) for row, ids in zip((self.lamp, self.missing), headers, strict=True)]


@pytest.fixture(scope="module", params=KINDS)
def customer(request, visit, client):
    visitor = visit(client)
    visitor.by(request.param)
    assert [visitor.order(LAMP), visitor.order(MISSING)] == [GOOD, BAD]
    visitor.wait_for_orders()
    wait_until(lambda: clicked(visitor)[-1:] == ["13"], what="for the last click")
    wait_until(lambda: len(visitor.api("logs?session={session}")) == 7, what="for the console")
    return Customer(visitor, request.param, *visitor.orders)


def events(visitor):
    return visitor.local.api(f"sessions/{visitor.session}/events")


def clicked(visitor):
    """What was clicked, as the replay has it: the values of buttons, or the ids of other nodes."""
    nodes, found = {}, []
    for event in events(visitor):
        data = event["data"]
        if event["type"] == FULL_SNAPSHOT:
            nodes.update(attributes(data["node"]))
        if event["type"] == INCREMENTAL and (data["source"], data.get("type")) == (MOUSE, CLICK):
            node = nodes[data["id"]]
            found.append(node.get("value") or node["id"])
    return found


def attributes(node):
    yield node["id"], node.get("attributes")
    for child in node.get("childNodes", []):
        yield from attributes(child)


def test_the_session_is_there_with_its_page(customer):
    visitor = customer.visitor
    found = visitor.local.api(f"sessions/{visitor.session}")

    assert (found["service"], found["environment"], found["url"]) == ("page", "demo", visitor.url)
    assert [page["url"] for page in found["pages"]] == [visitor.url]
    assert (found["errors"], found["network"]) == (2, len(visitor.api("sessions/{session}/network")))
    assert "HeadlessChrome" in found["user_agent"]
    assert found["replay"]["first"] < customer.lamp["start"] < customer.missing["start"] < found["replay"]["last"]


def test_its_requests_have_their_status_and_what_they_caused(customer, shop):
    visitor = customer.visitor
    rows = visitor.api("sessions/{session}/network")

    kind, url = KINDS[customer.means], f"{shop.shop.url}/orders"
    assert [(row["kind"], row["method"], row["url"], row["status"], row["logs"]) for row in rows[-2:]] == [
        (kind, "POST", url, 200, 2),
        (kind, "POST", url, 500, 4),
    ]
    assert [sorted(error["type"] for error in row["errors"]) for row in rows[-2:]] == [
        [],
        ["KeyError", "requests.exceptions.HTTPError"],
    ]
    # The page's own files, which no service of ours has seen.
    origin = visitor.url.partition("?")[0]
    assert [row["url"] for row in rows[:-2] if not row["url"].startswith(origin)] == []
    assert [row for row in rows[:-2] if row["traces"] or row["errors"] or row["logs"]] == []


def test_its_requests_are_joined_by_their_ids(customer):
    for row, trace, _ in customer.sent:
        assert row["traces"] == [trace]
        if customer.means == "fetch":
            assert row["request_id"] == trace
        else:
            assert re.fullmatch("[A-Za-z0-9]{10}", row["request_id"])
    assert customer.lamp["traces"] != customer.missing["traces"]
    assert customer.lamp["request_id"] != customer.missing["request_id"]


def test_each_error_is_there_once_with_the_session_and_the_request(customer):
    visitor, row = customer.visitor, customer.missing
    found = errors(visitor)

    assert [(error["type"], error["service"], error["session_id"]) for error in found] == [
        ("KeyError", "stock", visitor.session),
        ("requests.exceptions.HTTPError", "shop", visitor.session),
    ]
    assert {error["id"] for error in row["errors"]} == {error["id"] for error in found}
    own_request_id = None if customer.means == "fetch" else row["request_id"]  # it is the trace's, or another
    assert {(error["request_id"], error["trace_id"]) for error in found} == {(own_request_id, *row["traces"])}
    error = visitor.local.api(f"error/{found[0]['id']}")
    assert error["frames"][0]["source"] == 'return {"item": SHELF[number]}'
    assert (error["request"]["name"], error["span"]["name"]) == ("POST /orders", "GET /items/{number}")
    assert error["moment"]["recorded"]


def errors(visitor):
    return sorted(visitor.api("sessions/{session}/errors"), key=lambda error: error["time"])


def test_the_logs_of_both_services_and_the_console_are_the_sessions(customer):
    found = {service: [] for service in ("shop", "stock", "page")}
    for log in reversed(customer.visitor.api("logs?session={session}")):
        found[log["service"]].append((log["severity"], log["logger"], log["body"].strip(), log["trace_id"]))

    (lamp,), (missing,) = customer.lamp["traces"], customer.missing["traces"]
    assert found == {
        "shop": [
            ("WARN", "shop", "an order of item 7: asking the stock", lamp),
            ("WARN", "shop", "an order of item 13: asking the stock", missing),
            ("ERROR", "shop", "Exception on /orders [POST]", missing),
        ],
        "stock": [
            ("WARN", "stock", "looking for item 7", lamp),
            ("WARN", "stock", "looking for item 13", missing),
            ("ERROR", "uvicorn.error", "Exception in ASGI application", missing),
        ],
        "page": [("ERROR", "console", "order 13 failed: 500", None)],
    }


def test_one_trace_goes_through_both_services(customer):
    visitor = customer.visitor
    for row, trace_id, span_id in customer.sent:
        trace = visitor.local.api(f"traces/{trace_id}")
        spans = [span for span in trace["items"] if span["service"] != "page"]
        status = "error" if row is customer.missing else "unset"
        assert [(s["service"], s["kind"], s["name"], s["status"], s["session_id"]) for s in spans] == [
            ("shop", "server", "POST /orders", status, visitor.session),
            ("shop", "client", "GET", status, visitor.session),
            ("stock", "server", "GET /items/{number}", status, visitor.session),
        ]
        assert [span["parent_id"] for span in spans] == [span_id, *[span["span_id"] for span in spans[:-1]]]
        assert [(one["id"], one["session_id"]) for one in trace["requests"]] == [(row["id"], visitor.session)]


def test_the_replay_begins_with_the_page_and_has_the_clicks(customer):
    found = events(customer.visitor)

    assert [event["type"] for event in found[:2]] == [META, FULL_SNAPSHOT]
    assert [event["timestamp"] for event in found] == sorted(event["timestamp"] for event in found)
    assert [event["type"] for event in found].count(FULL_SNAPSHOT) == 1
    chosen = ["xhr"] if customer.means == "xhr" else []
    assert clicked(customer.visitor) == [*chosen, "7", "13"]


def test_two_visitors_have_a_session_each(visit, client):
    ann = visit(client)
    assert ann.order(LAMP) == GOOD
    bob = visit(client)
    assert bob.order(MISSING) == BAD

    wait_until(lambda: [row["status"] for row in (*ann.orders, *bob.orders)] == [200, 500], what="for the requests")
    wait_until(lambda: len(bob.orders[0]["errors"]) == 2, what="for the errors")
    assert ann.session != bob.session
    assert errors(ann) == []
    assert clicked(ann) + clicked(bob) == ["7", "13"]


def test_the_pages_own_spans_begin_the_trace(visit, client):
    """They come later, with version 9 after half a minute."""
    visitor = visit(client)
    visitor.order(LAMP)
    wait_until(lambda: [row["traces"] for row in visitor.orders if row["traces"]], what="for the request")
    (trace,) = visitor.orders[0]["traces"]

    wait_until(lambda: visitor.local.api(f"traces/{trace}")["spans"] == 4, what="for the page's span")
    assert [(span["service"], span["kind"]) for span in visitor.local.api(f"traces/{trace}")["items"]] == [
        ("page", "client"),
        ("shop", "server"),
        ("shop", "client"),
        ("stock", "server"),
    ]
    (listed,) = [one for one in traces(visitor) if one["trace_id"] == trace]
    assert (listed["service"], listed["session_id"]) == ("page", visitor.session)


def test_what_goes_wrong_in_the_page_is_there_too(visit, client):
    visitor = visit(client)
    for thrown in (
        "throw new TypeError('thrown')",
        "Promise.reject(new RangeError('rejected'))",
        "Promise.reject('a text')",
        "console.error('printed', 7)",
        "console.warn({ only: 'an object' })",
    ):
        visitor.page.evaluate(f"setTimeout(() => {{ {thrown} }})")

    wait_until(lambda: len(errors(visitor)) == 3, what="for the errors")
    assert [(error["type"], error["message"], error["service"]) for error in errors(visitor)] == [
        ("TypeError", "thrown", "page"),
        ("Error", "rejected", "page"),  # of what was rejected the client tells no class
        ("Error", "a text", "page"),
    ]
    wait_until(lambda: len(visitor.api("logs?session={session}")) == 3, what="for the console")
    logs = reversed(visitor.api("logs?session={session}"))
    assert [(log["severity"], log["logger"], log["body"]) for log in logs] == [
        ("ERROR", "console", "Uncaught TypeError: thrown"),
        ("ERROR", "console", "printed 7"),
        ("WARN", "console", '{"only":"an object"}'),
    ]


def test_version_10_sends_its_spans_when_the_page_is_left(visit):
    visitor = visit("10")
    visitor.page.goto("about:blank")

    wait_until(lambda: "documentLoad" in [trace["name"] for trace in traces(visitor)], what="for the spans")


def traces(visitor):
    return visitor.api("traces?session={session}")


@pytest.mark.parametrize("means", KINDS)
@pytest.mark.parametrize("page", [BARE, "9", "10"])
def test_the_page_works_as_without_highlight(visit, page, means):
    """Where CORS lets it in, and where it does not: `localhost` is not in the service's list."""
    visitor = visit(page)
    visitor.by(means)
    assert [visitor.order(LAMP), visitor.order(MISSING)] == [GOOD, BAD]

    visitor.page.goto(visitor.url.replace("127.0.0.1", "localhost"))
    visitor.by(means)
    assert visitor.order(LAMP) == "the order failed: no answer"


def test_the_page_without_highlight_leaves_no_session(visit):
    began = time.time() * 1000
    visitor = visit(BARE)
    assert visitor.order(MISSING) == BAD

    def newest():
        return [trace for trace in visitor.local.api("traces?service=shop")["items"] if trace["start"] > began]

    wait_until(lambda: [trace["name"] for trace in newest()] == ["POST /orders", "OPTIONS /orders"], what="the traces")
    assert [trace["session_id"] for trace in newest()] == [None, None]
