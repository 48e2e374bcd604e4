"""The one thread that writes: what has come meanwhile goes into one transaction, acknowledged after its commit."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import Future
from itertools import chain
from typing import TYPE_CHECKING, Any

from . import retention, schema
from .bodies import to_json
from .refusal import Refusal
from .rows import Batch, Chunk, Error, Log, Network, Page, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_WAITING = 192 * 1024 * 1024  # bytes of requests whose rows wait to be written
MOST_TOGETHER = 32 * 1024 * 1024  # of those that are written in one transaction

# Rows in one statement: SQLite lets other threads run while it works on a statement, and asks for Python's lock again
# after each. One row at a time, the writer would wait for whoever decodes, and once for each row.
_STEPS = (256, 32, 4, 1)

_TABLES: dict[str, Any] = {
    "spans": Span,
    "logs": Log,
    "errors": Error,
    "chunks": Chunk,
    "network": Network,
    "pages": Page,
}

_SESSION = """
INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, (SELECT max(id) FROM slices))
ON CONFLICT (id) DO UPDATE SET
    first = min(first, excluded.first), last = max(last, excluded.last),
    service = coalesce(excluded.service, service), environment = coalesce(excluded.environment, environment),
    version = coalesce(excluded.version, version), user_agent = coalesce(excluded.user_agent, user_agent),
    client_id = coalesce(excluded.client_id, client_id),
    user_identifier = coalesce(excluded.user_identifier, user_identifier),
    user = json_patch(user, excluded.user), properties = json_patch(properties, excluded.properties),
    touched = excluded.touched
"""
_RESOURCE = """
INSERT INTO resources VALUES (?, ?, ?, (SELECT max(id) FROM slices))
ON CONFLICT (id) DO UPDATE SET touched = excluded.touched
"""


class Store:
    """The database file, and its writer."""

    def __init__(self, path: str, keep: int, written: Callable[[dict[str, int], set[str]], None]) -> None:
        self.path = path
        self._connection = schema.open_for_writing(path)
        self._retention = retention.Retention(self._connection, keep)
        self._written = written  # told the rows by table, and the sessions, after a commit
        self._waiting: list[tuple[Batch, Future[None]]] = []
        self._size = 0  # of what waits or is being written
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> Future[None]:
        """Have a batch written; the future is done when it cannot be lost any more."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # whoever waits may be given up; the batch is written all the same
        with self._changed:
            if self._closing:
                raise Refusal(503, "the server is ending")
            if self._size and self._size + batch.size > MOST_WAITING:
                raise Refusal(503, "more is coming than can be written; send it again later")
            self._size += batch.size
            self._waiting.append((batch, done))
            self._changed.notify()
        return done

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _run(self) -> None:
        try:
            self._work()
        finally:  # it has been closed, or failed as it should not: nobody shall wait in vain
            with self._changed:
                self._closing = True
                waiting, self._waiting = self._waiting, []
            for _, done in waiting:
                done.set_exception(Refusal(503, "the server is ending"))

    def _work(self) -> None:
        more = True  # what is there may be more than what is to be kept this time
        while True:
            with self._changed:
                while not (self._waiting or self._closing or more):
                    self._changed.wait()
                if self._closing and not self._waiting:
                    return
                taken = self._take()
            size = sum(batch.size for batch, _ in taken)
            if taken:
                self._commit(taken)
            with self._changed:
                self._size -= size
            more = self._keep(self._retention.steps(size) if taken else 1)

    def _keep(self, steps: int) -> bool:
        """Make room for what will come; says whether there is more to do."""
        try:
            return all(self._retention.step() for _ in range(steps))
        except sqlite3.Error:  # tried again after the next batch
            self._roll_back()
            return False

    def _take(self) -> list[tuple[Batch, Future[None]]]:
        size = number = 0
        for batch, _ in self._waiting:
            if number and size + batch.size > MOST_TOGETHER:
                break
            size += batch.size
            number += 1
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        return taken

    def _commit(self, taken: Sequence[tuple[Batch, Future[None]]]) -> None:
        """Write some batches at once; where that fails, each alone, so that none suffers from another."""
        try:
            self._write([batch for batch, _ in taken])
        except Exception as error:  # noqa: BLE001 - it is who waits that has to know
            self._roll_back()
            if len(taken) > 1 and not _of_the_file(error):
                for one in taken:
                    self._commit([one])
                return
            for _, done in taken:
                done.set_exception(_told(error))
            return
        for _, done in taken:
            done.set_result(None)
        rows: Counter[str] = Counter()
        sessions: set[str] = set()
        for batch, _ in taken:
            rows.update({table: len(getattr(batch, table)) for table in _TABLES if getattr(batch, table)})
            sessions.update(batch.sessions)
        self._written(dict(rows), sessions)

    def _write(self, batches: Sequence[Batch]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for batch in batches:
            for resource in batch.resources.values():
                connection.execute(_RESOURCE, resource)
            for session_id, session in batch.sessions.items():
                connection.execute(
                    _SESSION,
                    (
                        session_id,
                        session.first,
                        session.last,
                        session.service,
                        session.environment,
                        session.version,
                        session.user_agent,
                        session.client_id,
                        session.user_identifier,
                        to_json(session.user),
                        to_json(session.properties),
                    ),
                )
        for batch in batches:
            if batch.of_session is not None:
                self._name_service(batch, batch.of_session)
        logs, errors = self._last("logs"), self._last("errors")
        for table, row in _TABLES.items():
            self._insert(table, row, [item for batch in batches for item in getattr(batch, table)])
        for table, columns, last in (
            ("logs", "body, service, severity, session_id", logs),
            ("errors", "type, message", errors),
        ):
            connection.execute(
                f"INSERT INTO {table}_text (rowid, {columns}) SELECT id, {columns} FROM {table} WHERE id > ?",
                (last,),
            )
        self._retention.grown(sum(batch.size for batch in batches), time.time_ns())
        connection.execute("COMMIT")

    def _insert(self, table: str, row: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, but for those that are there already."""
        columns = ", ".join(f'"{name}"' for name in row._fields)
        one = f"({', '.join('?' * len(row._fields))})"
        position = 0
        for step in _STEPS:
            statement = f"INSERT INTO {table} ({columns}) VALUES {', '.join([one] * step)} ON CONFLICT DO NOTHING"
            while len(rows) - position >= step:
                values: Iterable[Any] = chain.from_iterable(rows[position : position + step])
                self._connection.execute(statement, tuple(values))
                position += step

    def _name_service(self, batch: Batch, session_id: str) -> None:
        """The client says its service when a session begins, and not with what it records."""
        row = self._connection.execute("SELECT service FROM sessions WHERE id = ?", (session_id,)).fetchone()
        service = row[0] if row and row[0] else "browser"
        batch.logs = [log._replace(service=log.service or service) for log in batch.logs]
        batch.errors = [error._replace(service=error.service or service) for error in batch.errors]

    def _last(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0])

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _of_the_file(error: Exception) -> bool:
    """Whether it is the database that cannot be written, whatever the rows are."""
    words = ("locked", "full", "disk", "readonly", "unable to open")
    return isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in words)


def _told(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError):  # a full disk, a file that is gone, another that writes
        return Refusal(503, f"the database cannot be written: {error}")
    return error
