"""Keeping the database small: its oldest slice is dropped when what is kept would become too much."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

LEAST = 8 * 1024 * 1024  # bytes to keep
_OF_LOG = 16 * 1024 * 1024  # for SQLite's write-ahead log, a file of its own beside the database
_PAGES_AT_ONCE = 1000  # given back to the system
_PAGES_MERGED = 250  # of the index on words, with each slice that is dropped
_SLICES = 128  # of all that is kept: one is dropped quickly
_TABLES = ("spans", "logs", "errors", "chunks", "network", "pages")
_FTS = {"logs": "body, service, severity, session_id", "errors": "type, message"}


class Retention:
    """Counts what comes, in slices, and drops the oldest; used by the writer alone."""

    def __init__(self, connection: sqlite3.Connection, keep: int) -> None:
        self._connection = connection
        self._most = max(keep - min(_OF_LOG, keep // 4), LEAST // 2)
        self._of_slice = max(keep // _SLICES, 64 * 1024)
        self._page = self._number("PRAGMA page_size")
        of_log = min(_OF_LOG, keep // 4) // 2
        connection.execute(f"PRAGMA journal_size_limit = {of_log}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {of_log // 2 // self._page}")
        if self._number("SELECT size FROM slices ORDER BY id DESC LIMIT 1"):
            # It may be larger than those of now, and what comes next shall not go with it.
            self._begin(self._number("SELECT max(id) FROM slices"), time.time_ns())

    def grown(self, size: int, now: int) -> None:
        """Add to the newest slice what a transaction has written, and begin another if it has become large."""
        last = ", ".join(f"{table} = (SELECT coalesce(max(id), 0) FROM {table})" for table in _TABLES)
        newest = self._number("SELECT max(id) FROM slices")
        self._connection.execute(f"UPDATE slices SET size = size + ?, {last} WHERE id = ?", (size, newest))
        if self._number("SELECT size FROM slices WHERE id = ?", newest) >= self._of_slice:
            self._begin(newest, now)

    def steps(self, size: int) -> int:
        """How many steps are due after so many bytes have come, lest more comes than goes."""
        return 2 + 2 * size // self._of_slice

    def step(self) -> bool:
        """Drop one slice, but never the newest, or give some pages back to the system; False if there is no need."""
        if self._used() > self._most and self._number("SELECT count(*) FROM slices") > 1:
            self._drop_oldest()
        elif self._number("PRAGMA page_count") * self._page > self._most and self._number("PRAGMA freelist_count"):
            # It is a statement of many steps without rows, of which execute() takes only the first.
            self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # which makes the file shorter
        else:
            return False
        return True

    def _begin(self, newest: int, now: int) -> None:
        self._connection.execute(
            f"INSERT INTO slices (id, began, {', '.join(_TABLES)})"
            f" SELECT id + 1, ?, {', '.join(_TABLES)} FROM slices WHERE id = ?",
            (now, newest),
        )

    def _used(self) -> int:
        return (self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")) * self._page

    def _drop_oldest(self) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        oldest, *lasts = connection.execute(
            f"SELECT id, {', '.join(_TABLES)} FROM slices ORDER BY id LIMIT 1"
        ).fetchone()
        for table, last in zip(_TABLES, lasts, strict=True):
            if table in _FTS:
                connection.execute(
                    f"INSERT INTO {table}_text ({table}_text, rowid, {_FTS[table]})"
                    f" SELECT 'delete', id, {_FTS[table]} FROM {table} WHERE id <= ?",
                    (last,),
                )
            connection.execute(f"DELETE FROM {table} WHERE id <= ?", (last,))
        for table in ("traces", "requests", "sessions", "resources"):
            connection.execute(f"DELETE FROM {table} WHERE touched <= ?", (oldest,))
        for table in _FTS:
            # What is deleted is only marked in the index on words, until its parts are merged.
            connection.execute(f"INSERT INTO {table}_text ({table}_text, rank) VALUES ('merge', ?)", (-_PAGES_MERGED,))
        connection.execute("DELETE FROM slices WHERE id = ?", (oldest,))
        connection.execute("COMMIT")

    def _number(self, question: str, *values: int) -> int:
        return int(self._connection.execute(question, values).fetchone()[0])
