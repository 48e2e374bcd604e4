"""What was acknowledged is there after a kill, and what is kept does not outgrow what it may."""

from __future__ import annotations

import http.client
import secrets
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.local import PROTOBUF, Local, logs, packed, traceback, traces
from tests.support.services import wait_until

SENDERS = 4


def test_what_was_acknowledged_survives_sigkill(start):
    server = start()
    acknowledged: list[str] = []
    unknown: list[str] = []

    def send() -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        while True:
            ids = [secrets.token_hex(16) for _ in range(20)]
            body = traces(*({"trace": one, "span": secrets.token_hex(8)} for one in ids))
            try:
                connection.request("POST", "/v1/traces", body, {"Content-Type": PROTOBUF})
                status = connection.getresponse().read() == b""
            except (OSError, http.client.HTTPException):
                unknown.extend(ids)
                return
            assert status
            acknowledged.extend(ids)

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    wait_until(lambda: len(acknowledged) > 2000, what="for acknowledged spans")
    server.process.kill()
    for sender in senders:
        sender.join()
    server.process.wait()

    again = start()  # the database as the kill left it
    again.stop()
    again.check()
    connection = sqlite3.connect(again.database)
    stored = {trace_id for (trace_id,) in connection.execute("SELECT trace_id FROM spans")}
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert set(acknowledged) <= stored
    assert stored <= set(acknowledged) | set(unknown)
    assert unknown, "the kill came when nothing was under way"


def size(server: Local) -> int:
    return sum(file.stat().st_size for file in server.folder.glob("local.db*"))


def test_the_oldest_is_dropped_when_it_becomes_too_much(start):
    keep = 12_000_000
    server = start("--keep", "12MB")
    most = 0
    filling = secrets.token_hex(400)
    for number in range(45):
        session = f"session{number}"
        values = {"highlight.session_id": session, "highlight.request_id": f"request{number}", "x": filling}
        ids = [f"{number:08x}{index:024x}" for index in range(100)]
        failed = [("exception", traceback(f"Error{number // 10}", "x"))]
        body = traces(*({"trace": i, "span": "ab" * 8, "attributes": values, "events": failed} for i in ids))
        assert server.post("/v1/traces", body).status == 200
        body = logs(*({"body": f"word{number} {filling}", "trace": i, "attributes": values} for i in ids))
        assert server.post("/v1/logs", body).status == 200
        event = {"type": 2, "timestamp": number * 1000, "data": secrets.token_hex(20_000)}
        data = packed({"events": {"events": [event]}, "messages": "", "resources": ""})
        variables = {"session_secure_id": session, "payload_id": "1", "data": data}
        assert server.graphql("PushSessionEvents", variables).status == 200
        most = max(most, size(server))

    assert most <= keep
    state = server.api("state")
    assert 500 < state["spans"] < 4000
    assert state["sessions"] < 45
    assert server.api("logs?text=word0&limit=1")["items"] == []
    assert len(server.api("logs?text=word44&limit=500")["items"]) == 100
    assert server.request("GET", "/api/sessions/session0").status == 404
    assert server.api("sessions/session44")["errors"] == 100
    assert server.request("GET", f"/api/traces/{0:08x}{0:024x}").status == 404

    def counted() -> bool:  # the last slices may just be going
        groups = server.api("errors?limit=500")["items"]
        return sum(group["count"] for group in groups) == server.api("state")["errors"]

    wait_until(counted, what="for the sums of errors")
    assert server.stop() == 0
    server.check()

    connection = sqlite3.connect(server.database)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.execute("INSERT INTO logs_text (logs_text, rank) VALUES ('integrity-check', 1)")
    connection.execute("INSERT INTO errors_text (errors_text, rank) VALUES ('integrity-check', 1)")
    for of_errors in ("service", "session"):
        question = f"""
            SELECT count(*) FROM (
                SELECT group_id, {of_errors if of_errors == "service" else "session_id"} AS name, count(*) AS n
                FROM errors GROUP BY 1, 2
                EXCEPT SELECT group_id, name, count FROM reach WHERE kind = ?
            )"""
        assert connection.execute(question, (of_errors,)).fetchone() == (0,)
    connection.close()


def test_a_smaller_size_than_before_is_kept_as_well(start):
    server = start()
    for number in range(10):
        body = logs(*({"body": secrets.token_hex(1000)} for _ in range(500)), service=f"service{number}")
        assert server.post("/v1/logs", body).status == 200
    assert size(server) > 20_000_000
    assert server.stop() == 0

    smaller = start("--keep", "10MB")
    smaller.post("/v1/logs", logs({"body": "one more"}))
    wait_until(lambda: smaller.post("/v1/logs", b"") and size(smaller) <= 10_000_000, what="for the file to shrink")

    assert smaller.api("logs?limit=1")["items"][0]["body"] == "one more"
    assert smaller.stop() == 0
    smaller.check()


def test_a_full_disk_is_said_and_what_comes_later_is_stored(start):
    """A lock that another program holds stands for it: the database cannot be written for a while."""
    server = start()
    server.post("/v1/logs", logs({"body": "first"}))
    another = sqlite3.connect(server.database, isolation_level=None)
    another.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(12) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda _: server.post("/v1/logs", logs({"body": "refused"})), range(12)))
        assert time.monotonic() - began < 15, "each waited for the one before"
    assert {answer.status for answer in answers} == {503}
    assert {answer.header("retry-after") for answer in answers} == {"1"}
    assert all(b"the database cannot be written: database is locked" in answer.body for answer in answers)
    another.execute("ROLLBACK")
    another.close()

    assert server.post("/v1/logs", logs({"body": "later"})).status == 200
    assert [log["body"] for log in server.api("logs")["items"]] == ["later", "first"]
    assert server.stop() == 0
    server.check()


def test_the_end_comes_after_what_was_taken(start):
    """The server is told to end while requests wait for the database; whoever is told 200 finds it stored."""
    server = start()
    another = sqlite3.connect(server.database, isolation_level=None)
    another.execute("BEGIN IMMEDIATE")
    stored: list[str] = []

    def send(body: str) -> None:
        try:
            if server.post("/v1/logs", logs({"body": body})).status == 200:
                stored.append(body)
        except (OSError, http.client.HTTPException):
            pass  # its request had not been read yet

    senders = [threading.Thread(target=send, args=(f"number {number}",)) for number in range(5)]
    for sender in senders:
        sender.start()
    wait_until(lambda: connected(server) >= len(senders), what="for the requests")
    server.process.terminate()
    another.execute("ROLLBACK")
    another.close()
    for sender in senders:
        sender.join()
    assert server.process.wait(60) == 0
    server.check()
    again = start()
    assert set(stored) <= {log["body"] for log in again.api("logs")["items"]}


def connected(server: Local) -> int:
    """The connections that the server has just now."""
    lines = Path(f"/proc/{server.process.pid}/net/tcp").read_text().splitlines()[1:]
    local = f":{server.port:04X}"
    return sum(line.split()[1].endswith(local) and line.split()[3] == "01" for line in lines)


def test_clients_that_go_away_disturb_nobody(start):
    server = start()
    for _ in range(20):
        with socket.create_connection((server.host, server.port), timeout=60) as half:
            half.sendall(
                b"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
                b"Content-Length: 1000\r\n\r\n" + b"x" * 500
            )
    began = time.monotonic()
    assert server.post("/v1/logs", logs({"body": "whole"})).status == 200
    assert time.monotonic() - began < 10
    assert [log["body"] for log in server.api("logs")["items"]] == ["whole"]
    assert server.stop() == 0
    server.check()
