"""What the pages will ask: each list in its order, page by page, filtered, and never by reading a whole table."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import sqlite3
import time

import pytest

from highlight_autoinstrument.local import queries, schema
from tests.support.local import logs, packed, traceback, traces

NOW = 1_750_000_000_000_000_000  # ns
SECOND = 1_000_000_000
SESSION = "TheSessionOfThisFile"


@pytest.fixture(scope="module")
def filled(local):
    """Sixty traces of two services with logs, every tenth failed; two of each have the same start."""
    spans, records = [], []
    for number in range(60):
        trace, values = f"{number + 1:032x}", {"n": number}
        if number < 20:
            values["highlight.session_id"] = SESSION
        event = [("exception", traceback("shop.Late", f"order {number}", function=f"f{number // 30}"))]
        spans.append(
            {
                "trace": trace,
                "span": f"{number + 1:016x}",
                "name": f"GET /{'slow' if number % 7 == 0 else 'quick'}_{number}",
                "start": NOW + number // 2 * SECOND,
                "end": NOW + number // 2 * SECOND + (SECOND if number % 7 == 0 else 1_000_000),
                "status": 2 if number % 10 == 0 else 0,
                "events": event if number % 10 == 0 else [],
                "attributes": values,
            }
        )
        records.append(
            {
                "body": f"order {number} was paid by customer_{number % 3}; 100% done",
                "severity": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")[number % 5],
                "time": NOW + number // 2 * SECOND,
                "trace": trace,
                "attributes": values,
            }
        )
    for parity, service in ((0, "web"), (1, "bank-api")):
        assert local.post("/v1/traces", traces(*spans[parity::2], service=service)).status == 200
        assert local.post("/v1/logs", logs(*records[parity::2], service=service)).status == 200
    return local


def pages(local, path: str, limit: int) -> list[dict]:
    """All items of a list, asked for page by page."""
    found, cursor = [], None
    while True:
        mark = "&" if "?" in path else "?"
        answer = local.api(f"{path}{mark}limit={limit}{f'&cursor={cursor}' if cursor else ''}")
        assert len(answer["items"]) <= limit
        assert answer["next"] is None or answer["next"] != cursor
        found += answer["items"]
        cursor = answer["next"]
        if cursor is None:
            return found


def test_traces_are_listed_newest_first_page_by_page(filled):
    for limit in (1, 7, 60, 500):
        found = pages(filled, "traces", limit)
        assert [int(item["trace_id"], 16) for item in found] == list(range(60, 0, -1))

    assert len(pages(filled, "traces?service=web", 7)) == 30
    assert len(pages(filled, f"traces?session={SESSION}", 7)) == 20
    assert [int(item["trace_id"], 16) for item in pages(filled, "traces?failed=1", 2)] == [51, 41, 31, 21, 11, 1]
    slow = {f"GET /slow_{number}" for number in range(0, 60, 7)}
    assert {item["name"] for item in pages(filled, "traces?text=slow_", 4)} == slow
    assert len(pages(filled, "traces?slower=500", 4)) == 9
    assert pages(filled, "traces?text=%25", 4) == []
    assert pages(filled, "traces?service=web&failed=1&text=slow_0", 1)[0]["duration"] == 1000


def test_logs_are_listed_filtered_and_searched(filled):
    assert [log["attributes"]["n"] // 2 for log in pages(filled, "logs", 7)] == sorted(
        [n // 2 for n in range(60)], reverse=True
    )
    assert len(pages(filled, "logs?service=bank-api", 7)) == 30
    assert len(pages(filled, f"logs?session={SESSION}", 7)) == 20
    assert len(pages(filled, "logs?level=debug", 50)) == 60
    assert {log["severity"] for log in pages(filled, "logs?level=warn", 7)} == {"WARN", "ERROR", "FATAL"}
    assert len(pages(filled, "logs?level=FATAL", 5)) == 12
    after, before = NOW // 10**6 + 5000, NOW // 10**6 + 10000
    within = pages(filled, f"logs?after={after}&before={before}", 3)
    assert sorted(log["attributes"]["n"] for log in within) == list(range(10, 20))
    searched = pages(filled, f"logs?after={after}&before={before}&text=paid", 3)
    assert sorted(log["attributes"]["n"] for log in searched) == list(range(10, 20))
    assert [log["attributes"]["n"] for log in pages(filled, f"logs?trace={8:032x}&text=paid", 3)] == [7]
    assert pages(filled, f"logs?before={NOW // 10**6}&text=paid", 3) == []
    assert pages(filled, f"logs?trace={'e' * 32}&text=paid&since=0", 3) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("paid", 60),
        ("PAID", 60),
        ("pai", 60),
        ("pai paid", 0),
        ("paid order", 60),
        ('"was paid by"', 60),
        ('"paid was"', 0),
        ("customer_1", 20),
        ('"order 1"', 1),
        ('order "7 was"', 1),
        ("nothing", 0),
        ("***", 0),
        ('"', 0),
        ('body:paid OR "x', 0),
        ("NEAR(a b)", 0),
        ("'; DROP TABLE logs; --", 0),
        ("100%", 60),
        ("\x00paid", 60),
    ],
)
def test_a_search_finds_words_beginnings_and_phrases(filled, text, number):
    from urllib.parse import quote

    assert len(pages(filled, f"logs?text={quote(text)}", 7)) == number
    within = pages(filled, f"logs?text={quote(text)}&service=bank-api&level=info&session={SESSION}", 3)
    assert len(within) <= number
    assert all(log["service"] == "bank-api" and log["session_id"] == SESSION and log["level"] >= 9 for log in within)
    if number == 60:
        assert len(within) == 8
    quoted = 'we"b'
    assert pages(filled, f"logs?text={quote(text)}&service={quote(quoted)}", 3) == []


def test_errors_are_grouped_searched_and_walked_through(filled):
    groups = pages(filled, "errors", 1)
    assert [(group["function"], group["count"], group["services"]) for group in groups] == [
        ("f1", 3, ["web"]),
        ("f0", 3, ["web"]),
    ]
    assert [group["sessions"] for group in groups] == [0, 1]
    assert (groups[0]["first"], groups[0]["last"]) == (NOW // 10**6 + 15000.001, NOW // 10**6 + 25000.001)
    assert groups[0]["message"] == "order 50"
    assert [group["function"] for group in pages(filled, f"errors?session={SESSION}", 5)] == ["f0"]
    assert [group["function"] for group in pages(filled, "errors?text=order+40", 5)] == ["f1"]
    assert len(pages(filled, "errors?service=web&text=late", 5)) == 2
    assert pages(filled, "errors?service=bank-api", 5) == []
    assert filled.api(f"errors/{groups[0]['id']}") == groups[0]

    occurrences = pages(filled, f"errors/{groups[0]['id']}/occurrences", 2)
    assert [one["message"] for one in occurrences] == ["order 50", "order 40", "order 30"]
    middle = filled.api(f"error/{occurrences[1]['id']}")
    assert (middle["previous"], middle["following"]) == (occurrences[2]["id"], occurrences[0]["id"])
    assert [log["body"][:8] for log in middle["logs"]] == ["order 40"]
    assert middle["stack"].endswith("shop.Late: order 40\n")


def test_sessions_are_listed_and_searched(filled):
    for number in range(5):
        name = f"listed{number}"
        filled.graphql("identifySession", {"session_secure_id": name, "user_identifier": f"user_{number}@x.test"})
    found = pages(filled, "sessions", 2)
    assert [one["id"] for one in found][:5] == [f"listed{number}" for number in range(4, -1, -1)]
    assert [one["id"] for one in pages(filled, "sessions?text=user_3", 2)] == ["listed3"]
    assert pages(filled, "sessions?text=user%25", 2) == []
    assert [one["id"] for one in pages(filled, "sessions?text=TheSess", 2)] == [SESSION]
    assert [(one["id"], one["errors"]) for one in pages(filled, "sessions?failed=1", 2)] == [(SESSION, 2)]


def test_logs_are_followed(filled):
    last = filled.api("logs?limit=1")["last"]
    assert filled.api(f"logs?since={last}") == {"items": [], "next": None, "last": last}
    bodies = [f"followed {number}" for number in range(5)]
    filled.post("/v1/logs", logs(*({"body": body, "time": NOW - SECOND} for body in bodies)))

    first = filled.api(f"logs?since={last}&limit=3")
    second = filled.api(f"logs?since={first['last']}&limit=3&text=followed")
    assert [log["body"] for log in first["items"] + second["items"]] == bodies
    assert filled.api(f"logs?since={second['last']}")["items"] == []
    assert filled.api(f"logs?since={last}&level=error")["items"] == []


@pytest.mark.parametrize(
    "path",
    [
        "errors/none",
        "error/0",
        "error/99999999999999999999999",
        "sessions/none",
        "traces/none",
        "traces/%00",
        "sessions/%ff%fe",
        "nothing",
        "error/x",
    ],
)
def test_what_is_not_there_is_not_found(filled, path):
    assert filled.request("GET", f"/api/{path}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "logs?limit=x",
        "logs?limit=-1",
        "logs?after=nan",
        "traces?slower=1e999",
        "logs?cursor=x",
        "traces?cursor=1",
        "errors?cursor=~",
        "sessions?cursor=99999999999999999999~x",
        "logs?level=loud",
        "logs?since=x",
        "sessions/x/events?since=x",
    ],
)
def test_a_wrong_question_is_answered_in_one_line(filled, path):
    answer = filled.request("GET", f"/api/{path}")

    assert answer.status == 400
    assert "\n" not in json.loads(answer.body)["error"]


def test_the_live_stream_says_what_has_come(filled):
    connection = http.client.HTTPConnection(filled.host, filled.port, timeout=30)
    connection.request("GET", "/api/live")
    stream = connection.getresponse()
    assert stream.getheader("content-type").startswith("text/event-stream")
    assert stream.readline() == b"retry: 1000\n"

    def told() -> dict:
        while not (line := stream.readline()).startswith(b"data: "):
            assert line
        return json.loads(line[6:])

    filled.post("/v1/logs", logs({"body": "x", "attributes": {"highlight.session_id": "live1"}}, {"body": "y"}))
    assert told() == {"rows": {"logs": 2}, "sessions": ["live1"]}
    began = time.monotonic()
    for number in range(20):
        span = {"trace": secrets.token_hex(16), "span": secrets.token_hex(8)}
        filled.post("/v1/traces", traces({**span, "attributes": {"highlight.session_id": f"live{number}"}}))
    found = []
    while sum(one["rows"]["spans"] for one in found) < 20:
        found.append(told())
    assert {name for one in found for name in one["sessions"]} == {f"live{number}" for number in range(20)}
    assert len(found) <= 2 + (time.monotonic() - began) / 0.25, "told too often"
    event = {"type": 3, "timestamp": 1, "data": {}}
    data = packed({"events": {"events": [event]}})
    filled.graphql("PushSessionEvents", {"session_secure_id": "live", "payload_id": 1, "data": data})
    assert told() == {"rows": {"chunks": 1}, "sessions": ["live"]}
    connection.close()


def test_errors_are_told_as_they_came_but_for_those_of_other_launchers(start):
    server = start()
    assert server.api("arrived") == server.api("arrived?since=0") == {"items": [], "count": 0, "last": 0}
    for number, launcher in enumerate(("mine", "", "another", "mine")):
        attributes = traceback("Late", f"order {number}")
        sender = {"highlight.local.launcher": launcher} if launcher else {}
        body = logs({"body": "x", "attributes": attributes, "time": NOW - number}, resource=sender)
        assert server.post("/v1/logs", body).status == 200

    def arrived(query: str) -> tuple[list[str], int, int]:
        found = server.api(f"arrived?{query}")
        return [item["message"] for item in found["items"]], found["count"], found["last"]

    assert arrived("") == ([], 0, 4)
    assert arrived("since=0") == (["order 0", "order 1", "order 2", "order 3"], 4, 4)
    assert arrived("since=0&launcher=mine") == (["order 0", "order 1", "order 3"], 3, 4)
    assert arrived("since=1&launcher=mine&limit=1") == (["order 1"], 2, 4)
    assert arrived("since=4") == arrived("since=4&launcher=mine") == ([], 0, 4)
    assert arrived("since=7") == ([], 0, 7)
    assert arrived("since=0&launcher=%27%22") == (["order 1"], 1, 4)
    (first, *_) = server.api("arrived?since=0")["items"]
    assert first == {name: server.api(f"error/{first['id']}")[name] for name in first}


def test_no_list_reads_a_whole_table(filled):
    """By SQLite's own plan, for what grows without end; the few resources and the sums may be read whole."""
    connection = schema.open_for_reading(str(filled.database))
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    asked = queries.Asked
    cursor = f"{NOW}~1"
    for position in (None, cursor):
        queries.logs(connection, asked(10, position))
        queries.logs(connection, asked(10, position), service="web")
        queries.logs(connection, asked(10, position), service="web", level="error")
        queries.logs(connection, asked(10, position), level="fatal")
        queries.logs(connection, asked(10, position), session_id=SESSION)
        queries.logs(connection, asked(10, position), trace_id="1" * 32)
        queries.traces(connection, asked(10, position))
        queries.traces(connection, asked(10, position), service="web")
        queries.traces(connection, asked(10, position), session_id=SESSION)
        queries.traces(connection, asked(10, position), failed=True)
        queries.traces(connection, asked(10, position), service="web", session_id=SESSION)
        queries.sessions(connection, asked(10, position), None)
        queries.error_groups(connection, asked(10, position), None)
        queries.error_groups(connection, asked(10, position), "late", service="web", session=SESSION)
        queries.errors(connection, asked(10, position), group_id="x")
        queries.network(connection, asked(10, position), SESSION)
        queries.console(connection, asked(10, position), SESSION)
        queries.errors(connection, asked(10, position), ascending=True, session_id=SESSION)
    queries.logs(connection, asked(10), text="paid", service="web", level="error")
    queries.logs(connection, asked(10, "5"), text="paid")
    queries.logs(connection, asked(10), text="paid", trace_id=f"{1:032x}")
    queries.logs(connection, asked(10), text="paid", after=1, service="web", session_id=SESSION)
    queries.logs(connection, asked(10), since=3)
    queries.state(connection)
    queries.arrived(connection, asked(10), None, None)
    queries.arrived(connection, asked(10), 3, "x")
    queries.error(connection, 1)
    queries.trace(connection, f"{1:032x}")
    queries.session(connection, SESSION)
    queries.request(connection, SESSION, 1)
    queries.chunks(connection, SESSION, 0, (5, 5))
    connection.set_trace_callback(None)
    assert len(statements) > 50

    for statement in set(statements):
        if statement.startswith(("PRAGMA", "--")):
            continue
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        # What the index on words does not know has to be found elsewhere, and not by reading all that have the words.
        if "MATCH" in statement and re.search(r"trace_id = |time >= ", statement):
            assert "logs_text.rowid BETWEEN" in statement
        for step in plan:
            # The first page of a list without a condition is an index's end; an index of failures holds few alone.
            whole = re.match(r"SCAN (logs|spans|errors|traces|requests|network|pages|chunks)\b", step)
            few = re.search("USING INDEX (logs|traces)_by_(failure|warning|service_warning)$", step)
            assert not whole or few or ("USING INDEX" in step and "WHERE" not in statement), (statement, plan)
            # The spans of one trace are put in order as they are read, and the groups that a search has found.
            sorts = step.startswith(("USE TEMP B-TREE FOR ORDER BY", "USE TEMP B-TREE FOR LAST"))
            assert not sorts or re.search("FROM (spans WHERE trace_id|error_groups)", statement), (statement, plan)
    connection.close()


def test_a_search_of_traces_reads_an_index_alone(filled):
    """One that finds nothing looks at all of them: an index has them together, in the order of the answer."""
    connection = schema.open_for_reading(str(filled.database))
    plans = {}
    for name, given in {
        "text": {"text": "nothing"},
        "slower": {"slower": 10**6},
        "service": {"text": "nothing", "slower": 10**6, "service": "web", "failed": True},
        "failed": {"text": "nothing", "slower": 10**6, "failed": True},
        "session": {"text": "nothing", "slower": 10**6, "service": "web", "session_id": SESSION, "failed": True},
    }.items():
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        assert queries.traces(connection, queries.Asked(10), **given)["items"] == []
        connection.set_trace_callback(None)
        (statement,) = statements
        (step,) = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        (index,) = re.findall(r"USING INDEX (\w+)", step)
        columns = {row[2] for row in connection.execute(f"PRAGMA index_info({index})")}
        plans[name] = index, columns >= {"name", "end"}
    connection.close()
    assert plans == {
        "text": ("traces_by_start", True),
        "slower": ("traces_by_start", True),
        "service": ("traces_by_service", True),
        "failed": ("traces_by_failure", True),
        "session": ("traces_by_session", False),  # there are few of one session
    }


def test_readers_see_whole_batches_and_write_nothing(filled):
    connection = schema.open_for_reading(str(filled.database))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM logs")
    connection.close()
