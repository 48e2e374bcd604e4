"""The database's tables. A change is a new entry of MIGRATIONS; those that stand are never edited once released."""

from __future__ import annotations

import sqlite3

OLDEST_SQLITE = (3, 34, 0)  # upserts in triggers, JSON, FTS5, 32,766 variables of one statement

# Sums are kept by triggers, which see only rows that are really new: what is sent twice is counted once.
_FIRST = """
CREATE TABLE slices (
    -- What came after each other; the oldest slice is dropped whole. Rows up to these belong to it and those before.
    id INTEGER PRIMARY KEY, began INTEGER NOT NULL, size INTEGER NOT NULL DEFAULT 0,
    spans INTEGER NOT NULL DEFAULT 0, logs INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0,
    chunks INTEGER NOT NULL DEFAULT 0, network INTEGER NOT NULL DEFAULT 0, pages INTEGER NOT NULL DEFAULT 0
);
INSERT INTO slices (id, began) VALUES (1, 0);

CREATE TABLE resources (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, attributes TEXT NOT NULL, touched INTEGER NOT NULL
);

CREATE TABLE spans (
    id INTEGER PRIMARY KEY AUTOINCREMENT, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT,
    name TEXT NOT NULL, kind INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, status INTEGER NOT NULL,
    status_message TEXT NOT NULL, service TEXT NOT NULL, session_id TEXT, request_id TEXT, attributes TEXT NOT NULL,
    events TEXT NOT NULL, links TEXT NOT NULL, resource_id INTEGER NOT NULL
);
CREATE UNIQUE INDEX spans_by_ids ON spans (trace_id, span_id);

CREATE TABLE traces (
    trace_id TEXT PRIMARY KEY, start INTEGER NOT NULL, "end" INTEGER NOT NULL, spans INTEGER NOT NULL,
    failed INTEGER NOT NULL, name TEXT NOT NULL, service TEXT NOT NULL, session_id TEXT,
    root INTEGER NOT NULL, -- the start of the span that gives the name; far later for one with a parent
    touched INTEGER NOT NULL
);
CREATE INDEX traces_by_start ON traces (start, trace_id, name); -- a search for a name reads nothing else
CREATE INDEX traces_by_service ON traces (service, start, trace_id);
CREATE INDEX traces_by_session ON traces (session_id, start, trace_id) WHERE session_id IS NOT NULL;
CREATE INDEX traces_by_failure ON traces (start, trace_id) WHERE failed > 0;

CREATE TABLE requests (
    -- The browser's request, as its header names it, and the traces that it began.
    request_id TEXT NOT NULL, trace_id TEXT NOT NULL, touched INTEGER NOT NULL, PRIMARY KEY (request_id, trace_id)
) WITHOUT ROWID;
CREATE INDEX requests_by_trace ON requests (trace_id);

CREATE TRIGGER span_added AFTER INSERT ON spans BEGIN
    INSERT INTO traces (trace_id, start, "end", spans, failed, name, service, session_id, root, touched) VALUES (
        new.trace_id, new.start, new."end", 1, new.status = 2, new.name, new.service, new.session_id,
        new.start + (new.parent_id IS NOT NULL) * 4611686018427387904 * (new.start < 4611686018427387904),
        (SELECT max(id) FROM slices)
    ) ON CONFLICT (trace_id) DO UPDATE SET
        start = min(start, excluded.start), "end" = max("end", excluded."end"), spans = spans + 1,
        failed = failed + excluded.failed,
        name = CASE WHEN excluded.root < root THEN excluded.name ELSE name END,
        service = CASE WHEN excluded.root < root THEN excluded.service ELSE service END,
        session_id = coalesce(session_id, excluded.session_id),
        root = min(root, excluded.root), touched = excluded.touched;
    INSERT INTO requests SELECT new.request_id, new.trace_id, (SELECT max(id) FROM slices)
        WHERE new.request_id IS NOT NULL
        ON CONFLICT (request_id, trace_id) DO UPDATE SET touched = excluded.touched;
END;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT, time INTEGER NOT NULL, level INTEGER NOT NULL,
    severity TEXT NOT NULL, service TEXT NOT NULL, logger TEXT NOT NULL, body TEXT NOT NULL, session_id TEXT,
    trace_id TEXT, span_id TEXT,
    request_id TEXT, attributes TEXT NOT NULL, resource_id INTEGER NOT NULL
);
CREATE UNIQUE INDEX logs_by_uid ON logs (uid) WHERE uid IS NOT NULL;
CREATE INDEX logs_by_time ON logs (time);
CREATE INDEX logs_by_service ON logs (service, time);
CREATE INDEX logs_by_session ON logs (session_id, time) WHERE session_id IS NOT NULL;
CREATE INDEX logs_of_console ON logs (session_id, time) WHERE logger = 'console';
CREATE INDEX logs_by_trace ON logs (trace_id, time) WHERE trace_id IS NOT NULL;
CREATE INDEX logs_by_failure ON logs (time) WHERE level >= 17;
CREATE INDEX logs_by_warning ON logs (time) WHERE level >= 13;
CREATE INDEX logs_by_service_warning ON logs (service, time) WHERE level >= 13;
-- The service, the level and the session are words of it too, so that a search within them is one of the index.
CREATE VIRTUAL TABLE logs_text USING fts5(body, service, severity, session_id, content='logs', content_rowid='id');

CREATE TABLE error_groups (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, message TEXT NOT NULL, file TEXT NOT NULL, line INTEGER NOT NULL,
    function TEXT NOT NULL, count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL
);
CREATE INDEX error_groups_by_last ON error_groups (last, id);
CREATE TABLE reach (
    -- The services ('service') and sessions ('session') in which errors of a group happened, and how often.
    group_id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (group_id, kind, name)
) WITHOUT ROWID;
CREATE INDEX reach_by_name ON reach (kind, name, group_id);

CREATE TABLE errors (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, group_id TEXT NOT NULL,
    type TEXT NOT NULL, message TEXT NOT NULL, stack TEXT NOT NULL, file TEXT NOT NULL, line INTEGER NOT NULL,
    function TEXT NOT NULL, source TEXT NOT NULL, service TEXT NOT NULL, session_id TEXT, trace_id TEXT, span_id TEXT,
    request_id TEXT, url TEXT NOT NULL, attributes TEXT NOT NULL, resource_id INTEGER NOT NULL
);
CREATE INDEX errors_by_group ON errors (group_id, time);
CREATE INDEX errors_by_session ON errors (session_id, time) WHERE session_id IS NOT NULL;
CREATE INDEX errors_by_trace ON errors (trace_id, time) WHERE trace_id IS NOT NULL;
CREATE INDEX errors_by_request ON errors (request_id, time) WHERE request_id IS NOT NULL;
CREATE VIRTUAL TABLE errors_text USING fts5(type, message, content='errors', content_rowid='id');

CREATE TRIGGER error_added AFTER INSERT ON errors BEGIN
    INSERT INTO error_groups VALUES (
        new.group_id, new.type, new.message, new.file, new.line, new.function, 1, new.time, new.time
    ) ON CONFLICT (id) DO UPDATE SET
        message = CASE WHEN excluded.last >= last THEN excluded.message ELSE message END,
        line = CASE WHEN excluded.last >= last THEN excluded.line ELSE line END,
        count = count + 1, first = min(first, excluded.first), last = max(last, excluded.last);
    INSERT INTO reach VALUES (new.group_id, 'service', new.service, 1)
        ON CONFLICT (group_id, kind, name) DO UPDATE SET count = count + 1;
    INSERT INTO reach SELECT new.group_id, 'session', new.session_id, 1 WHERE new.session_id IS NOT NULL
        ON CONFLICT (group_id, kind, name) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER error_dropped AFTER DELETE ON errors BEGIN
    UPDATE error_groups SET count = count - 1 WHERE id = old.group_id;
    DELETE FROM error_groups WHERE id = old.group_id AND count <= 0;
    UPDATE reach SET count = count - 1 WHERE group_id = old.group_id AND kind = 'service' AND name = old.service;
    UPDATE reach SET count = count - 1 WHERE group_id = old.group_id AND kind = 'session' AND name = old.session_id;
    DELETE FROM reach WHERE group_id = old.group_id AND kind = 'service' AND name = old.service AND count <= 0;
    DELETE FROM reach WHERE group_id = old.group_id AND kind = 'session' AND name = old.session_id AND count <= 0;
END;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, service TEXT, environment TEXT, version TEXT,
    user_agent TEXT, client_id TEXT, user_identifier TEXT, user TEXT NOT NULL, properties TEXT NOT NULL,
    events INTEGER NOT NULL DEFAULT 0, touched INTEGER NOT NULL
);
CREATE INDEX sessions_by_last ON sessions (last, id);

CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, payload_id TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, events INTEGER NOT NULL, snapshots INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE UNIQUE INDEX chunks_by_payload ON chunks (session_id, payload_id);
CREATE INDEX chunks_by_time ON chunks (session_id, first);
CREATE TRIGGER chunk_added AFTER INSERT ON chunks BEGIN
    UPDATE sessions SET events = events + new.events WHERE id = new.session_id;
END;
CREATE TRIGGER chunk_dropped AFTER DELETE ON chunks BEGIN
    UPDATE sessions SET events = events - old.events WHERE id = old.session_id;
END;

CREATE TABLE network (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL,
    method TEXT NOT NULL, url TEXT NOT NULL, status INTEGER, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    request_id TEXT, trace_id TEXT,
    data TEXT NOT NULL
);
CREATE UNIQUE INDEX network_by_key ON network (session_id, key);
CREATE INDEX network_by_start ON network (session_id, start);
CREATE INDEX network_by_request ON network (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX network_by_trace ON network (trace_id) WHERE trace_id IS NOT NULL;

CREATE TABLE pages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, time INTEGER NOT NULL, url TEXT NOT NULL,
    UNIQUE (session_id, time, url)
);
"""

# A search of traces, and one for slow ones, reads nothing but an index until it has found what it looks for.
_COVERING = """
DROP INDEX traces_by_start;
DROP INDEX traces_by_service;
DROP INDEX traces_by_failure;
CREATE INDEX traces_by_start ON traces (start, trace_id, name, "end");
CREATE INDEX traces_by_service ON traces (service, start, trace_id, name, "end", failed);
CREATE INDEX traces_by_failure ON traces (start, trace_id, name, "end") WHERE failed > 0;
"""

MIGRATIONS = (_FIRST, _COVERING)
_LATER = "the database is a later version's (schema {}): update, or name another with --db"


class SchemaError(Exception):
    """The database cannot be used; the text is one line for its user."""


def open_for_writing(path: str) -> sqlite3.Connection:
    """The database, made or brought up to date."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE[:2]))
        raise SchemaError(f"this Python has SQLite {sqlite3.sqlite_version}; {wanted} or later is needed")
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
    except sqlite3.Error as error:
        raise SchemaError(f"{path}: {error}") from error
    try:
        # What was committed is in the system's hands: killing this process does not lose it. Only a power failure may
        # take the last commits, which synchronous=FULL would prevent at a wait for the disk with each of them.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp_store = MEMORY")
        migrate(connection)
    except sqlite3.Error as error:
        connection.close()
        raise SchemaError(f"{path}: {error}") from error
    except SchemaError:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what a database lacks, each step whole or not at all."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise SchemaError(_LATER.format(version))
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version = {number};COMMIT;")
        except sqlite3.Error:  # noqa: PERF203
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def check(connection: sqlite3.Connection) -> None:
    """That a database, which is only read, is of this version."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise SchemaError(_LATER.format(version))
    if version < len(MIGRATIONS):
        raise SchemaError(
            f"the database is an earlier version's (schema {version}): start highlight-local with it once"
        )


def open_for_reading(path: str) -> sqlite3.Connection:
    """A connection that only reads; it sees whole batches."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA mmap_size = 268435456")
    except sqlite3.Error:  # it is no database
        connection.close()
        raise
    return connection
