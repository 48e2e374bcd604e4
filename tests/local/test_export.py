"""`highlight-local export`: one error in one file, and one line about what hinders it."""

from __future__ import annotations

import html
import json
import re
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import story
from tests.support.local import Local, program, traceback, traces

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

MS = 1_000_000
SESSION = "ALongSession"


def export(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return program("export", *options, folder=folder)


def answers(file: Path) -> dict[str, object]:
    """What an exported file holds."""
    found = re.findall(r'<script type="application/json" id="answers">([^<]*)</script>', file.read_text("utf-8"))
    assert len(found) == 1
    return json.loads(found[0])


def test_a_file_holds_what_the_api_answers_whether_a_server_runs_or_not(local, tmp_path):
    story.tell(local)
    paths = ["/api/error/1", f"/api/traces/{story.TRACE}", f"/api/sessions/{story.SESSION}/events"]
    told = {path: local.api(path.removeprefix("/api/")) for path in paths}
    running, ended = tmp_path / "running.html", tmp_path / "ended.html"
    options = ("--error", "1", "--db", str(local.database), "--output")

    said = export(tmp_path, *options, str(running))
    local.stop()

    assert (said.returncode, said.stderr) == (0, "")
    assert re.fullmatch(rf"highlight-local: error 1 is in {re.escape(str(running))} \(\d\.\d MB\)\n", said.stdout)
    assert export(tmp_path, *options, str(ended)).returncode == 0
    assert answers(running) == answers(ended) == told
    written, _, _ = running.read_text("utf-8").partition('<script type="module">')
    title = html.escape(f"shop.PaymentRefused: no money for order 17 {story.HOSTILE}"[:121])
    elements = re.findall(r"</?([a-z]+)", re.sub(r"<style>[^<]*</style>", "", written))
    assert f"<title>{title}</title>" in written
    assert elements == [
        *("html", "head", "meta", "meta", "meta", "meta", "link", "title", "title", "head"),
        *("body", "noscript", "noscript", "div", "div", "script", "script"),
    ]


def test_of_a_long_replay_there_is_what_is_around_the_error(start, tmp_path):
    server: Local = start()
    ms = time.time_ns() // MS - 3_600_000
    at = ms + 200_000
    filler = "x" * 4_000_000
    for number in range(8):  # a snapshot in every second one, 50 seconds each
        kind = 2 if number % 2 == 0 else 3
        events = [
            {"type": kind, "timestamp": ms + number * 50_000, "data": {"node": {}, "number": number, "text": filler}},
            {"type": 3, "timestamp": ms + number * 50_000 + 49_000, "data": {"number": number}},
        ]
        assert server.push(SESSION, number + 1, {"events": {"events": events}}).status == 200
    event = [("exception", traceback("shop.Late", "order 1"))]
    given = {"trace": "0a" * 16, "span": "01" * 8, "start": at * MS, "attributes": {"highlight.session_id": SESSION}}
    assert server.post("/v1/traces", traces({**given, "events": event})).status == 200

    assert export(tmp_path, "--error", "1", "--db", str(server.database), "--output", str(tmp_path / "a")).stderr == ""

    events = answers(tmp_path / "a")[f"/api/sessions/{SESSION}/events"]
    # From the last snapshot that is ten seconds older than the error, to half a minute after it.
    assert [(event["type"], event["data"]["number"]) for event in events] == [
        (2, 2),
        (3, 2),
        (3, 3),
        (3, 3),
        (2, 4),
        (3, 4),
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "export needs --error ID"),
        (["--error"], 2, "--error needs a value: --error ID"),
        (["--error", "first"], 2, "--error must be the error's number, not first"),
        (["--nonsense"], 2, "unknown option --nonsense; see highlight-local --help"),
        (["--error", "1", "--db", "no.db"], 1, "{folder}/no.db: there is no such database; name it with --db"),
        (
            ["--error", "1"],
            1,
            "{folder}/highlight-autoinstrument/local.db: there is no such database; name it with --db",
        ),
        (["--error", "9", "--db", "local.db"], 1, "there is no error 9, or it was too old to be kept"),
        (["--error", "1", "--db", "text.db"], 1, "{folder}/text.db: file is not a database"),
        (
            ["--error", "1", "--db", "later.db"],
            1,
            "{folder}/later.db: the database is a later version's (schema 99): update, or name another with --db",
        ),
        (
            ["--error", "1", "--db", "local.db", "--output", "text.db"],
            1,
            "text.db exists; name another with --output",
        ),
        (
            ["--error", "1", "--db", "local.db", "--output", "no/file.html"],
            1,
            "no/file.html: No such file or directory",
        ),
    ],
)
def test_what_hinders_it_is_said_in_one_line(databases, arguments, status, said, monkeypatch):
    monkeypatch.chdir(databases)
    before = sorted(databases.iterdir())

    found = export(databases, *arguments)

    expected = f"highlight-local: {said.format(folder=databases)}\n"
    assert (found.returncode, found.stdout, found.stderr) == (status, "", expected)
    assert sorted(databases.iterdir()) == before


@pytest.fixture(scope="module")
def databases(tmp_path_factory) -> Path:
    """A folder with a database, and with what is none."""
    folder = tmp_path_factory.mktemp("databases")
    server = Local(folder / "server")
    story.tell(server)
    server.stop()
    server.database.rename(folder / "local.db")
    (folder / "text.db").write_text("no database " * 1000)
    connection = sqlite3.connect(folder / "later.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    return folder


def test_its_help_names_the_options(tmp_path):
    found = export(tmp_path, "--help")

    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("usage: highlight-local export --error ID [OPTIONS]\n")
    assert re.findall(r"^  (--\w+)", found.stdout, re.MULTILINE) == ["--error", "--output", "--db", "--version"]
