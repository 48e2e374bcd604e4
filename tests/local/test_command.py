"""The command: its options, its one line about what is wrong, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from highlight_autoinstrument import __version__
from highlight_autoinstrument.local import launchers, schema
from tests.support.local import COMMAND, Local, environment, logs, program
from tests.support.services import PATIENCE_SECONDS, wait_until


def test_help_and_version_go_to_stdout(tmp_path):
    for option in ("--help", "-h"):
        found = program(option, folder=tmp_path)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.startswith("usage: highlight-local [OPTIONS]\n")
        for name in ("--port", "--host", "--db", "--keep", "--while-used", "--version", "4318", "500MB"):
            assert name in found.stdout
        assert all(len(line) <= 100 for line in found.stdout.splitlines())
    assert program("--version", folder=tmp_path).stdout == f"highlight-local {__version__}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nonsense"], "unknown option --nonsense; see highlight-local --help"),
        (["serve"], "unknown option serve; see highlight-local --help"),
        (["--port"], "--port needs a value: --port PORT"),
        (["--while-used=1"], "--while-used takes no value"),
        (["--db", "--port", "1"], "--db needs a value: --db FILE"),
        (["--port", "http"], "--port must be a number from 0 to 65535, not http"),
        (["--port=65536"], "--port must be a number from 0 to 65535, not 65536"),
        (["--keep", "much"], "--keep must be a size of at least 8MB such as 500MB or 2GB, not much"),
        (["--keep", "1MB"], "--keep must be a size of at least 8MB such as 500MB or 2GB, not 1MB"),
        (["--keep", "9" * 12 + "TB"], f"--keep must be a size of at least 8MB such as 500MB or 2GB, not {'9' * 12}TB"),
    ],
)
def test_a_wrong_command_line_is_said_in_one_line(tmp_path, arguments, said):
    found = program(*arguments, folder=tmp_path)

    assert (found.returncode, found.stdout, found.stderr) == (2, "", f"highlight-local: {said}\n")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("starlette", "starlette"),
        ("uvicorn", "uvicorn"),
        ("google.protobuf", "protobuf"),
        ("sqlite3", "Python's sqlite3"),
    ],
)
def test_without_the_extra_it_says_what_to_install(tmp_path, module, name):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from highlight_autoinstrument.local.command import main; sys.exit(main([]))"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=60)

    install = f"{sys.executable} -m pip install 'highlight-autoinstrument[local]'"
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == f"highlight-local: {name} is not installed; install it with: {install}\n"


def test_a_second_start_says_where_the_first_is(start, tmp_path):
    first = start(folder=tmp_path / "data")
    try:
        found = program("--port", "0", "--db", str(tmp_path / "another.db"), folder=tmp_path / "data")
        said = f"highlight-local: it runs already: {first.url} (process {first.process.pid})\n"
        assert (found.returncode, found.stdout, found.stderr) == (1, "", said)
        assert not (tmp_path / "another.db").exists()
        first.process.kill()
        first.process.wait()
        again = start(folder=tmp_path / "data")  # however the first has ended
        assert again.stop() == 0
    finally:
        first.kill()


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = program("--port", str(port), folder=tmp_path)
    assert found.returncode == 1
    assert found.stderr == (
        f"highlight-local: 127.0.0.1:{port}: Address already in use; name another with --port {port + 1}\n"
    )


def test_a_database_that_cannot_be_used_is_said_in_one_line(tmp_path):
    later = tmp_path / "later.db"
    connection = sqlite3.connect(later)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    (tmp_path / "text.db").write_text("this is no database at all, but long enough to be taken for one" * 100)
    cases = {
        "later.db": "the database is a later version's (schema 999): update, or name another with --db",
        "text.db": f"{tmp_path / 'text.db'}: file is not a database",
        "none/x.db": f"{tmp_path / 'none/x.db'}: unable to open database file",
    }
    for name, said in cases.items():
        found = program("--port", "0", "--db", str(tmp_path / name), folder=tmp_path)
        assert (found.returncode, found.stderr) == (1, f"highlight-local: {said}\n")
    assert later.stat().st_size < 10_000


def test_a_database_of_each_earlier_version_is_brought_up_to_date_with_what_is_in_it(tmp_path):
    new = tmp_path / "new.db"
    schema.open_for_writing(str(new)).close()
    for version in range(1, len(schema.MIGRATIONS)):
        folder = tmp_path / f"version{version}"
        folder.mkdir()
        connection = sqlite3.connect(folder / "local.db", isolation_level=None)
        for script in schema.MIGRATIONS[:version]:
            connection.executescript(script)
        connection.execute(f"PRAGMA user_version = {version}")
        names = 'trace_id, span_id, name, kind, start, "end", status, status_message, service'
        connection.execute(
            f"INSERT INTO spans ({names}, attributes, events, links, resource_id)"
            " VALUES (?, ?, 'GET /', 2, 5, 6, 2, '', 'web', '{}', '[]', '[]', 1)",
            ("a" * 32, "b" * 16),
        )
        connection.close()

        server = Local(folder)
        assert [trace["name"] for trace in server.api("traces?text=GET&service=web&failed=1")["items"]] == ["GET /"]
        assert server.stop() == 0
        server.check()
        assert tables(folder / "local.db") == tables(new)


def tables(path):
    """What is in a database: its version, and its tables and indexes as they were made."""
    connection = sqlite3.connect(path)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()
        return version, sorted(connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall(), key=str)
    finally:
        connection.close()


def test_by_default_the_database_is_in_the_users_data_folder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "highlight_autoinstrument.local.command", "--port=0"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    path = tmp_path / "highlight-autoinstrument" / "local.db"
    try:
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()

    assert re.fullmatch(
        rf"highlight-local: listening at http://127\.0\.0\.1:\d+, keeping at most 500 MB in {path}\n", line
    )
    assert (process.returncode, rest) == (0, "")
    assert path.exists()
    assert os.stat(path.parent).st_mode & 0o077 == 0, "others could read it"


def test_it_ends_orderly_with_all_that_it_took_and_goes_on_with_it(start):
    server = start()
    stream = socket.create_connection((server.host, server.port), timeout=PATIENCE_SECONDS)
    stream.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert stream.recv(100).startswith(b"HTTP/1.1 200")
    server.post("/v1/logs", logs({"body": "before the end"}))

    assert server.stop() == 0
    stream.close()
    server.check()
    assert not server.database.with_name("local.db-wal").exists()
    connection = sqlite3.connect(server.database)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
    connection.close()

    again = start()
    assert [log["body"] for log in again.api("logs")["items"]] == ["before the end"]
    assert again.stop() == 0


def listening(path: str, port: int) -> socket.socket:
    """A stream of events that has begun."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    return connection


def test_while_used_it_ends_after_the_last_that_uses_it(tmp_path):
    process = subprocess.Popen(
        [COMMAND, "--while-used", "--port=0", "--db", str(tmp_path / "local.db")],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        told = json.loads(process.stdout.readline())
        assert process.stdout.read() == "", "it has a log"
        port = int(told["url"].rpartition(":")[2])
        log = str(tmp_path / "local.log")
        mine = {"url": f"http://127.0.0.1:{port}", "process": process.pid, "log": log}
        assert told == {**mine, "note": "", "started": True}
        page = listening("/api/live", port)
        first, second = (listening("/api/live?stay=1", port) for _ in range(2))

        another = program("--while-used", folder=tmp_path)
        assert (another.returncode, json.loads(another.stdout), another.stderr) == (0, mine, "")
        first.close()
        # Longer than it would wait, if it did: it is asked again and again until then.
        until = time.monotonic() + launchers.GRACE_SECONDS * 2
        wait_until(lambda: time.monotonic() > until or process.poll() is not None, what="for nothing")
        assert process.poll() is None
        second.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        page.close()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    assert (tmp_path / "local.log").read_text() == ""
    assert os.stat(tmp_path / "local.log").st_mode & 0o077 == 0, "others could read it"


def test_while_used_it_ends_where_nobody_comes(tmp_path):
    found = program("--while-used", "--port=0", "--db", str(tmp_path / "local.db"), folder=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["started"]


def test_a_log_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "local.log").mkdir()
    found = program("--while-used", "--port=0", "--db", str(tmp_path / "local.db"), folder=tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == f"highlight-local: {tmp_path / 'local.log'}: Is a directory\n"
