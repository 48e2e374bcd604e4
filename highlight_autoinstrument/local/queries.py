"""What the pages ask of the database; each list is read from an index, and goes on where a cursor says.

A list is a dict of `items` and `next`, the cursor of those that follow, or None. Times are milliseconds since
1970, with fractions; durations are milliseconds.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Any

from . import places
from .refusal import Refusal
from .rows import LEVELS

if TYPE_CHECKING:
    import sqlite3

PAGE = 50
MOST = 500  # items of one answer
MOST_SPANS = 5000  # of one trace
_AROUND_NS = 60_000_000_000  # each side: the logs of a session that are shown with an error outside any trace

Item = dict[str, Any]
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


class Asked:
    """A list that is asked for: how many items, from where on, and the conditions that they meet."""

    def __init__(self, limit: int = PAGE, cursor: str | None = None) -> None:
        self.limit = max(1, min(limit, MOST))
        self.cursor = cursor
        self.conditions: list[str] = []
        self.values: list[Any] = []

    def where(self, condition: str, *values: Any) -> None:
        """One more condition."""
        self.conditions.append(condition)
        self.values += values

    def equal(self, **columns: str | None) -> None:
        """Conditions on columns, for those that are asked for."""
        for column, value in columns.items():
            if value is not None:
                self.where(f"{column} = ?", value)

    def between(self, column: str, after: float | None, before: float | None) -> None:
        """A range of time, in milliseconds."""
        if after is not None:
            self.where(f"{column} >= ?", _ns(after))
        if before is not None:
            self.where(f"{column} < ?", _ns(before))

    def page(
        self, connection: sqlite3.Connection, select: str, by: tuple[str, str], *, ascending: bool = False
    ) -> tuple[list[sqlite3.Row], str | None]:
        """The rows in the order of two columns, the second of which is unique, and the next cursor."""
        sign, direction = (">", "ASC") if ascending else ("<", "DESC")
        if self.cursor is not None:
            first, _, second = self.cursor.partition("~")
            if not re.fullmatch(r"\d{1,19}", first, re.ASCII) or not second:
                raise Refusal(400, "no such cursor")
            self.where(f"({by[0]}, {by[1]}) {sign} (?, ?)", _integer(first), _integer(second))
        where = f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        order = f" ORDER BY {by[0]} {direction}, {by[1]} {direction} LIMIT ?"
        rows = connection.execute(f"{select}{where}{order}", (*self.values, self.limit + 1)).fetchall()
        if len(rows) <= self.limit:
            return rows, None
        last = rows[self.limit - 1]
        return rows[: self.limit], f"{last[_name(by[0])]}~{last[_name(by[1])]}"


# Errors


def error_groups(connection: sqlite3.Connection, asked: Asked, text: str | None, **reach: str | None) -> Item:
    """Errors by type and place, those that happened last first; `reach`: of a `service` or in a `session`."""
    for kind, name in reach.items():
        if name is not None:
            asked.where("id IN (SELECT group_id FROM reach WHERE kind = ? AND name = ?)", kind, name)
    words = match("type message", text)
    if words:
        # The newest of those that match: a word that most of them have need not be looked up for all.
        found = "SELECT rowid FROM errors_text WHERE errors_text MATCH ? ORDER BY rowid DESC LIMIT 20000"
        asked.where(f"id IN (SELECT group_id FROM errors WHERE errors.id IN ({found}))", words)
    rows, following = asked.page(connection, "SELECT * FROM error_groups", ("last", "id"))
    return {"items": [_group(connection, row) for row in rows], "next": following}


def error_group(connection: sqlite3.Connection, group_id: str) -> Item | None:
    """One of them."""
    row = connection.execute("SELECT * FROM error_groups WHERE id = ?", (group_id,)).fetchone()
    return _group(connection, row) if row else None


def errors(connection: sqlite3.Connection, asked: Asked, **columns: str | None) -> Item:
    """Single errors, the newest first; of a `group_id`, a `session_id` or a `trace_id`."""
    asked.equal(**columns)
    rows, following = asked.page(connection, f"SELECT {_ERROR} FROM errors", ("time", "id"))
    return {"items": [_error(row) for row in rows], "next": following}


def error(connection: sqlite3.Connection, error_id: int) -> Item | None:
    """An error with all that is known of it: frames, request, logs around it, the session and its moment there."""
    if error_id >= 1 << 63:
        return None
    row = connection.execute("SELECT * FROM errors WHERE id = ?", (error_id,)).fetchone()
    if row is None:
        return None
    trace = _trace_of(connection, row)
    beside = "SELECT id FROM errors WHERE group_id = ? AND (time, id) {} (?, ?) ORDER BY time {}, id {} LIMIT 1"
    around = (row["group_id"], row["time"], row["id"])
    return {
        **_error(row),
        "stack": row["stack"],
        "frames": [frame._asdict() for frame in places.frames(row["stack"])],
        "attributes": json.loads(row["attributes"]),
        "resource": _resource(connection, row["resource_id"]),
        "previous": _first(connection, beside.format("<", "DESC", "DESC"), *around),
        "following": _first(connection, beside.format(">", "ASC", "ASC"), *around),
        "span": _span_of(connection, trace, row["span_id"]),
        "request": _server_span(connection, trace),
        "trace_id": trace,
        "logs": _logs_around(connection, trace, row),
        "moment": _moment(connection, row["session_id"], row["time"]),
    }


def _group(connection: sqlite3.Connection, row: sqlite3.Row) -> Item:
    reach = "SELECT {} FROM reach WHERE group_id = ? AND kind = ?"
    services = connection.execute(reach.format("name") + " ORDER BY name LIMIT 20", (row["id"], "service"))
    return {
        **{name: row[name] for name in ("id", "type", "message", "file", "line", "function", "count")},
        "first": _ms(row["first"]),
        "last": _ms(row["last"]),
        "services": [service for (service,) in services],
        "sessions": _first(connection, reach.format("count(*)"), row["id"], "session"),
        "latest": _first(
            connection, "SELECT id FROM errors WHERE group_id = ? ORDER BY time DESC, id DESC LIMIT 1", row["id"]
        ),
    }


_ERROR = (
    "id, time, group_id, type, substr(message, 1, 1000) AS message, file, line, function, source, service, session_id,"
    " trace_id, span_id, request_id, url"
)


def _error(row: sqlite3.Row) -> Item:
    names = (
        "id",
        "group_id",
        "type",
        "message",
        "file",
        "line",
        "function",
        "source",
        "service",
        "session_id",
        "trace_id",
        "span_id",
        "request_id",
        "url",
    )
    return {**{name: row[name] for name in names}, "time": _ms(row["time"])}


def _trace_of(connection: sqlite3.Connection, row: sqlite3.Row) -> str | None:
    """The trace of an error; that of the browser's request, where it names none itself."""
    if row["trace_id"] is not None or row["request_id"] is None:
        found = row["trace_id"]
    else:
        found = _first(connection, "SELECT trace_id FROM requests WHERE request_id = ? LIMIT 1", row["request_id"])
    return None if found is None else str(found)


def _span_of(connection: sqlite3.Connection, trace_id: str | None, span_id: str | None) -> Item | None:
    question = "SELECT * FROM spans WHERE trace_id = ? AND span_id = ?"
    row = connection.execute(question, (trace_id, span_id)).fetchone()
    return _span(row) if row else None


def _server_span(connection: sqlite3.Connection, trace_id: str | None) -> Item | None:
    question = "SELECT * FROM spans WHERE trace_id = ? AND kind IN (2, 5) ORDER BY start LIMIT 1"
    row = connection.execute(question, (trace_id,)).fetchone()
    return _span(row) if row else None


def _logs_around(connection: sqlite3.Connection, trace_id: str | None, row: sqlite3.Row) -> list[Item]:
    asked = Asked(limit=200)
    if trace_id is not None:
        asked.equal(trace_id=trace_id)
    elif row["session_id"] is not None:
        asked.equal(session_id=row["session_id"])
        asked.where("time BETWEEN ? AND ?", row["time"] - _AROUND_NS, row["time"] + _AROUND_NS)
    else:
        return []
    rows, _ = asked.page(connection, "SELECT * FROM logs", ("time", "id"), ascending=True)
    return [_log(found) for found in rows]


def _moment(connection: sqlite3.Connection, session_id: str | None, time: int) -> Item | None:
    """Where in a session's replay something happened; None where nothing was recorded then."""
    if session_id is None:
        return None
    question = "SELECT min(first), max(last), sum(snapshots) FROM chunks WHERE session_id = ?"
    first, last, snapshots = connection.execute(question, (session_id,)).fetchone()
    if not snapshots:
        return None
    return {"offset": _ms(time - first), "recorded": first <= time <= last}


# Sessions


def sessions(connection: sqlite3.Connection, asked: Asked, text: str | None, *, failed: bool = False) -> Item:
    """Sessions, those seen last first; `text`: a part of the user's name or the beginning of an id."""
    if text:
        asked.where(
            "(user_identifier LIKE ? ESCAPE '!' OR id LIKE ? ESCAPE '!')", f"%{_like(text)}%", f"{_like(text)}%"
        )
    if failed:
        asked.where("EXISTS (SELECT 1 FROM errors WHERE errors.session_id = sessions.id)")
    rows, following = asked.page(connection, "SELECT * FROM sessions", ("last", "id"))
    return {"items": [_session(connection, row) for row in rows], "next": following}


def session(connection: sqlite3.Connection, session_id: str) -> Item | None:
    """A session with the pages that its browser was on."""
    row = connection.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)).fetchone()
    if row is None:
        return None
    pages = connection.execute(
        "SELECT time, url FROM pages WHERE session_id = ? ORDER BY time LIMIT ?", (session_id, MOST)
    )
    replay = "SELECT min(first), max(last), sum(snapshots) FROM chunks WHERE session_id = ?"
    first, last, snapshots = connection.execute(replay, (session_id,)).fetchone()
    return {
        **_session(connection, row),
        "user": json.loads(row["user"]),
        "properties": json.loads(row["properties"]),
        "client_id": row["client_id"],
        "pages": [{"time": _ms(time), "url": url} for time, url in pages],
        "replay": {"first": _ms(first), "last": _ms(last)} if snapshots else None,
    }


def network(connection: sqlite3.Connection, asked: Asked, session_id: str) -> Item:
    """The requests of a session's browser in their order, each with the traces, errors and logs behind it."""
    asked.equal(session_id=session_id)
    rows, following = asked.page(connection, "SELECT * FROM network", ("start", "id"), ascending=True)
    return {"items": [_network(connection, row) for row in rows], "next": following}


def replay(connection: sqlite3.Connection, session_id: str, since: int) -> tuple[int, int]:
    """The last of a session's chunks that there are now, and the one after which a page knows none."""
    last = _first(connection, "SELECT max(id) FROM chunks WHERE session_id = ?", session_id)
    return last or since, since


def chunk(
    connection: sqlite3.Connection, session_id: str, since: int, after: tuple[int, int] | None
) -> tuple[tuple[int, int], bytes] | None:
    """The next events of a replay that came after a chunk, as a JSON list, and their place; None after the last."""
    row = connection.execute(
        "SELECT first, id, data FROM chunks WHERE session_id = ? AND (first, id) > (?, ?) AND id > ?"
        " ORDER BY first, id LIMIT 1",
        (session_id, *(after or (-1, -1)), since),
    ).fetchone()
    return ((row[0], row[1]), zlib.decompress(row[2])) if row else None


def _session(connection: sqlite3.Connection, row: sqlite3.Row) -> Item:
    names = ("id", "service", "environment", "version", "user_agent", "user_identifier", "events")
    url = "SELECT url FROM pages WHERE session_id = ? ORDER BY time LIMIT 1"
    return {
        **{name: row[name] for name in names},
        "first": _ms(row["first"]),
        "last": _ms(row["last"]),
        "url": _first(connection, url, row["id"]),
        **{table: _count(connection, table, row["id"]) for table in ("errors", "network", "pages")},
    }


def _count(connection: sqlite3.Connection, table: str, session_id: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table} WHERE session_id = ?", (session_id,)).fetchone()[0])


def _network(connection: sqlite3.Connection, row: sqlite3.Row) -> Item:
    traces = [
        trace_id
        for (trace_id,) in connection.execute(
            "SELECT trace_id FROM requests WHERE request_id = ?"
            " UNION SELECT trace_id FROM traces WHERE trace_id = ? LIMIT 20",
            (row["request_id"], row["trace_id"]),
        )
    ]
    found: list[Item] = []
    logs = 0
    for trace_id in traces:
        found += errors(connection, Asked(limit=20), trace_id=trace_id)["items"]
        logs += _first(connection, "SELECT count(*) FROM logs WHERE trace_id = ?", trace_id)
    if row["request_id"] is not None:
        known = {item["id"] for item in found}
        more = errors(connection, Asked(limit=20), request_id=row["request_id"])["items"]
        found += [item for item in more if item["id"] not in known]
    names = ("id", "kind", "method", "url", "status", "request_id")
    return {
        **{name: row[name] for name in names},
        "start": _ms(row["start"]),
        "duration": _ms(row["end"] - row["start"]),
        "data": json.loads(row["data"]),
        "traces": traces,
        "errors": found,
        "logs": logs,
    }


# Traces


def traces(
    connection: sqlite3.Connection,
    asked: Asked,
    text: str | None = None,
    slower: float | None = None,
    *,
    failed: bool = False,
    **columns: str | None,
) -> Item:
    """Traces, the newest first; `columns`: the `service` or `session_id` of the first span."""
    asked.equal(**columns)
    if failed:
        asked.where("failed > 0")
    if slower is not None:
        asked.where('"end" - start >= ?', _ns(slower))
    if text:
        asked.where("name LIKE ? ESCAPE '!'", f"%{_like(text)}%")
    rows, following = asked.page(connection, "SELECT * FROM traces", ("start", "trace_id"))
    return {"items": [_trace(row) for row in rows], "next": following}


def trace(connection: sqlite3.Connection, trace_id: str) -> Item | None:
    """A trace with its spans in their order, errors, logs, and the requests of a browser that it belongs to."""
    row = connection.execute("SELECT * FROM traces WHERE trace_id = ?", (trace_id,)).fetchone()
    if row is None:
        return None
    question = "SELECT * FROM spans WHERE trace_id = ? ORDER BY start, id LIMIT ?"
    spans = connection.execute(question, (trace_id, MOST_SPANS + 1)).fetchall()
    asked = Asked(limit=MOST)
    asked.equal(trace_id=trace_id)
    logs, more_logs = asked.page(connection, "SELECT * FROM logs", ("time", "id"), ascending=True)
    by_browser = connection.execute(
        "SELECT id, session_id, method, url FROM network WHERE trace_id = ? UNION"
        " SELECT n.id, n.session_id, n.method, n.url FROM requests r JOIN network n ON n.request_id = r.request_id"
        " WHERE r.trace_id = ? LIMIT 20",
        (trace_id, trace_id),
    )
    return {
        **_trace(row),
        "items": [_span(span) for span in spans[:MOST_SPANS]],
        "more_spans": len(spans) > MOST_SPANS,
        "resources": {str(number): _resource(connection, number) for number in {span["resource_id"] for span in spans}},
        "errors": errors(connection, Asked(limit=MOST), trace_id=trace_id)["items"],
        "logs": [_log(log) for log in logs],
        "more_logs": more_logs is not None,
        "requests": [dict(found) for found in by_browser],
    }


def _trace(row: sqlite3.Row) -> Item:
    names = ("trace_id", "name", "service", "session_id", "spans", "failed")
    return {
        **{name: row[name] for name in names},
        "start": _ms(row["start"]),
        "duration": _ms(row["end"] - row["start"]),
    }


def _span(row: sqlite3.Row) -> Item:
    names = ("trace_id", "span_id", "parent_id", "name", "status_message", "service", "session_id", "request_id")
    return {
        **{name: row[name] for name in names},
        "kind": KINDS[row["kind"]],
        "status": ("unset", "ok", "error")[row["status"]],
        "start": _ms(row["start"]),
        "duration": _ms(row["end"] - row["start"]),
        "attributes": json.loads(row["attributes"]),
        "events": [{**event, "time": _ms(event["time"])} for event in json.loads(row["events"])],
        "links": json.loads(row["links"]),
        "resource_id": str(row["resource_id"]),  # JavaScript's numbers are too short for it
    }


# Logs


def logs(
    connection: sqlite3.Connection,
    asked: Asked,
    text: str | None = None,
    level: str | None = None,
    since: int | None = None,
    **columns: str | None,
) -> Item:
    """Log records, the newest first: by time, or with `text` as they came.

    `level` is the least. `since` is for following: those that came after a record's id, in that order. `last` is the
    id to follow from. `columns`: `service`, `session_id`, `trace_id`.
    """
    last = _first(connection, "SELECT max(id) FROM logs") or 0
    asked.equal(**{f"logs.{column}": value for column, value in columns.items()})  # the index on words has them too
    least = _least(level)
    if least > LEVELS["TRACE"]:
        # Written out, so that SQLite sees which of the indexes on the few and important ones will do.
        asked.conditions += [f"level >= {known}" for known in (13, 17) if known < least] + [f"level >= {least}"]
    words = match("body", text)
    if text and not words:
        return {"items": [], "next": None, "last": last}
    select = "SELECT logs.* FROM logs"
    if words:
        for column in ("service", "session_id"):
            words = _and(words, match(column, columns.get(column), whole=True))
        if level:
            names = " OR ".join(f'"{name}"' for name, number in LEVELS.items() if number >= least)
            words = _and(words, f"severity : ({names})")
        select = "SELECT logs.*, logs_text.rowid AS found FROM logs_text CROSS JOIN logs ON logs.id = logs_text.rowid"
        asked.where("logs_text MATCH ?", words)
    key = "logs_text.rowid" if words else "logs.id"
    if since is not None:
        asked.where(f"{key} > ?", since)
        rows = _in_order(connection, asked, select, key, "ASC")
        return {"items": [_log(row) for row in rows], "next": None, "last": rows[-1]["id"] if rows else last}
    if words:
        if asked.cursor is not None:
            asked.where(f"{key} < ?", _integer(asked.cursor))
        rows = _in_order(connection, asked, select, key, "DESC")
        following = str(rows[-1]["id"]) if len(rows) == asked.limit else None
    else:
        rows, following = asked.page(connection, select, ("time", "id"))
    return {"items": [_log(row) for row in rows], "next": following, "last": last}


def _in_order(connection: sqlite3.Connection, asked: Asked, select: str, key: str, direction: str) -> list[sqlite3.Row]:
    where = " AND ".join(asked.conditions)
    question = f"{select} WHERE {where} ORDER BY {key} {direction} LIMIT ?"
    return connection.execute(question, (*asked.values, asked.limit)).fetchall()


def _log(row: sqlite3.Row) -> Item:
    names = ("id", "level", "severity", "service", "logger", "body", "session_id", "trace_id", "span_id", "request_id")
    return {
        **{name: row[name] for name in names},
        "time": _ms(row["time"]),
        "attributes": json.loads(row["attributes"]),
    }


def _least(level: str | None) -> int:
    if level is None:
        return LEVELS["TRACE"]
    if level.upper() not in LEVELS:
        raise Refusal(400, f"level must be one of {', '.join(LEVELS)}")
    return LEVELS[level.upper()]


# What they share


def services(connection: sqlite3.Connection) -> Item:
    """The names of all services that have sent something."""
    names = connection.execute(
        "SELECT service FROM resources UNION SELECT service FROM sessions WHERE service IS NOT NULL"
    )
    return {"items": sorted(name for (name,) in names), "next": None}


def state(connection: sqlite3.Connection) -> Item:
    """How much there is."""
    size = _first(connection, "PRAGMA page_count") * _first(connection, "PRAGMA page_size")
    # Rows go at the oldest end alone, so the ids tell their number without a count.
    counted = {
        table: _first(connection, f"SELECT (SELECT max(id) FROM {table}) - (SELECT min(id) FROM {table}) + 1") or 0
        for table in ("spans", "logs", "errors")
    }
    return {"bytes": size, **counted, "sessions": _first(connection, "SELECT count(*) FROM sessions")}


def match(columns: str, text: str | None, *, whole: bool = False) -> str:
    """A question to a full-text index: all words and "phrases" of a text, the last of which may be a beginning."""
    if not text:
        return ""
    parts = [(text, "")] if whole else re.findall(r'"([^"]*)"|([^\s"]+)', text)
    found = [(phrase or word, bool(word)) for phrase, word in parts if any(c.isalnum() for c in phrase or word)]
    if not found:
        return ""
    quoted = ['"{}"'.format(words.replace('"', '""').replace("\0", " ")) for words, _ in found]
    if found[-1][1]:
        quoted[-1] += " *"
    return f"{{{columns}}} : ({' AND '.join(quoted)})"


def _and(one: str, other: str) -> str:
    return f"({one}) AND ({other})" if other else one


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _resource(connection: sqlite3.Connection, number: int) -> Item:
    found = _first(connection, "SELECT attributes FROM resources WHERE id = ?", number)
    return dict(json.loads(found)) if found else {}


def _first(connection: sqlite3.Connection, question: str, *values: Any) -> Any:
    row = connection.execute(question, values).fetchone()
    return row[0] if row else None


def _name(column: str) -> str:
    return column.rpartition(".")[2]


def _ms(ns: int) -> float:
    return round(ns / 1_000_000, 3)


def _ns(ms: float) -> int:
    return int(max(0.0, min(ms, 9e12)) * 1000) * 1000


def _integer(text: str) -> Any:
    """A part of a cursor: a number where it is one."""
    if re.fullmatch(r"\d{1,19}", text, re.ASCII):
        return min(int(text), (1 << 63) - 1)
    return text
