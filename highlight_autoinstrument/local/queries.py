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
LAUNCHER = "highlight.local.launcher"  # the attribute of a resource that `highlight-run --local` gives to its own
MOST_SPANS = 5000  # of one trace
_AT_ONCE = 512 * 1024  # bytes of a replay that are read in one go
_AROUND_NS = 60_000_000_000  # each side: the logs of a session that are shown with an error outside any trace
_BEFORE_MS, _AFTER_MS = 10_000, 30_000  # of a moment: what of a long replay is shown with it

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
        """Conditions on columns, for those that are asked for; what meets the last of them is the fewest."""
        given = [(column, value) for column, value in columns.items() if value is not None]
        for column, value in given[:-1]:
            self.where(f"+{column} = ?", value)  # a sign, for which SQLite leaves the index of that column alone
        for column, value in given[-1:]:
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


def errors(connection: sqlite3.Connection, asked: Asked, *, ascending: bool = False, **columns: str | None) -> Item:
    """Single errors, the newest first; of a `group_id`, a `session_id` or a `trace_id`."""
    asked.equal(**columns)
    rows, following = asked.page(connection, f"SELECT {_ERROR} FROM errors", ("time", "id"), ascending=ascending)
    return {"items": [_error(row) for row in rows], "next": following}


def arrived(connection: sqlite3.Connection, asked: Asked, since: int | None, launcher: str | None) -> Item:
    """The errors that have come after the one of an id, in that order: the first of them, and their `count`.

    `last` is the id to go on from; without `since` there is nothing else. `launcher`: leave out those of others.
    """
    last = _first(connection, "SELECT max(id) FROM errors") or 0
    if since is None:
        return {"items": [], "count": 0, "last": last}
    asked.where("id > ? AND id <= ?", since, last)
    if launcher is not None:
        of_another = f"id = errors.resource_id AND json_extract(attributes, '$.\"{LAUNCHER}\"') <> ?"
        asked.where(f"NOT EXISTS (SELECT 1 FROM resources WHERE {of_another})", launcher)
    where = " AND ".join(asked.conditions)
    count = _first(connection, f"SELECT count(*) FROM errors WHERE {where}", *asked.values)
    rows = _in_order(connection, asked, f"SELECT {_ERROR} FROM errors", "id", "ASC")
    return {"items": [_error(row) for row in rows], "count": count, "last": max(last, since)}


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
    pages = connection.execute(f"{_PAGES} ORDER BY time LIMIT ?", (session_id, MOST))
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
    columns = 'id, kind, method, url, status, request_id, trace_id, start, "end"'
    rows, following = asked.page(connection, f"SELECT {columns} FROM network", ("start", "id"), ascending=True)
    return {"items": [_network(connection, row) for row in rows], "next": following}


def request(connection: sqlite3.Connection, session_id: str, number: int) -> Item | None:
    """One of them as the browser's client recorded it, with headers and bodies."""
    question = "SELECT data FROM network WHERE id = ? AND session_id = ?"
    data = _first(connection, question, number, session_id) if number < 1 << 63 else None
    return {"id": number, "data": json.loads(data)} if data else None


def console(connection: sqlite3.Connection, asked: Asked, session_id: str) -> Item:
    """What a session's pages wrote to the browser's console, in its order."""
    asked.equal(session_id=session_id)
    asked.where("logger = 'console'")  # written out, as the index has it
    rows, following = asked.page(connection, "SELECT * FROM logs", ("time", "id"), ascending=True)
    return {"items": [_log(row) for row in rows], "next": following}


def replay(connection: sqlite3.Connection, session_id: str, since: int) -> tuple[int, int]:
    """The last of a session's chunks that there are now, and the one after which a page knows none."""
    last = _first(connection, "SELECT max(id) FROM chunks WHERE session_id = ?", session_id)
    return last or since, since


def chunks(
    connection: sqlite3.Connection, session_id: str, since: int, after: tuple[int, int] | None
) -> tuple[tuple[int, int], list[bytes]] | None:
    """Some of the chunks that follow in a replay and came after one, each a JSON list, and the last one's place."""
    found: list[bytes] = []
    size = 0
    place = after or (-1, -1)
    for first, number, data in connection.execute(
        "SELECT first, id, data FROM chunks WHERE session_id = ? AND (first, id) > (?, ?) AND id > ?"
        " ORDER BY first, id",
        (session_id, *place, since),
    ):
        place = (first, number)
        found.append(zlib.decompress(data))
        size += len(found[-1])
        if size >= _AT_ONCE:
            break
    return (place, found) if found else None


def replay_around(connection: sqlite3.Connection, session_id: str, moment: float, most: int) -> list[bytes]:
    """A replay's chunks, each a JSON list; where all of them take more than `most` bytes, those around a moment.

    They begin with the last one that holds a full snapshot and is older than the seconds before the moment.
    """
    question = "SELECT id, first FROM chunks WHERE session_id = ?{} ORDER BY first, id"
    ids = [number for number, _ in connection.execute(question.format(""), (session_id,))]
    found, whole = _chunks_up_to(connection, ids, most)
    if whole:
        return found
    snapshots = connection.execute(question.format(" AND snapshots > 0"), (session_id,)).fetchall()
    begin, at, end = (_ns(moment + shift) for shift in (-_BEFORE_MS, 0, _AFTER_MS))
    for latest in (begin, at):
        earlier = [number for number, first in snapshots if first <= latest]
        if earlier:
            break
    start = ids.index((earlier or [snapshots[0][0]])[-1])
    until = " AND first <= ?"
    seen = [number for number, _ in connection.execute(question.format(until), (session_id, end))]
    return _chunks_up_to(connection, seen[start:], most)[0]


def _chunks_up_to(connection: sqlite3.Connection, ids: list[int], most: int) -> tuple[list[bytes], bool]:
    """What chunks hold, as long as it is not too much together, and whether that is all."""
    found: list[bytes] = []
    size = 0
    for number in ids:
        data = zlib.decompress(_first(connection, "SELECT data FROM chunks WHERE id = ?", number))
        size += len(data)
        if size > most and found:
            return found, False
        found.append(data)
    return found, size <= most


def _session(connection: sqlite3.Connection, row: sqlite3.Row) -> Item:
    names = ("id", "service", "environment", "version", "user_agent", "user_identifier", "events")
    url = "SELECT url FROM pages WHERE session_id = ? ORDER BY time LIMIT 1"
    return {
        **{name: row[name] for name in names},
        "first": _ms(row["first"]),
        "last": _ms(row["last"]),
        "url": _first(connection, url, row["id"]),
        **{table: _count(connection, of, row["id"]) for table, of in _COUNTED.items()},
    }


# The client tells a page's URL at its first load twice, and with each full snapshot again.
_PAGES = (
    "SELECT time, url FROM pages AS page WHERE session_id = ? AND url IS NOT (SELECT url FROM pages"
    " WHERE session_id = page.session_id AND (time, url) < (page.time, page.url) ORDER BY time DESC, url DESC LIMIT 1)"
)
_COUNTED = {
    "errors": "SELECT 1 FROM errors WHERE session_id = ?",
    "network": "SELECT 1 FROM network WHERE session_id = ?",
    "pages": _PAGES,
}


def _count(connection: sqlite3.Connection, of: str, session_id: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM ({of})", (session_id,)).fetchone()[0])


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
        "events": [{**event, "time": _ms(event["time"])} for event in _list(row["events"])],
        "links": _list(row["links"]),
        "resource_id": str(row["resource_id"]),  # JavaScript's numbers are too short for it
    }


def _list(text: str) -> list[Any]:
    """A JSON list; most of them are empty, and a trace has thousands."""
    return [] if text == "[]" else list(json.loads(text))


# Logs


def logs(
    connection: sqlite3.Connection,
    asked: Asked,
    text: str | None = None,
    level: str | None = None,
    since: int | None = None,
    *,
    after: float | None = None,
    before: float | None = None,
    **columns: str | None,
) -> Item:
    """Log records, the newest first: by time, or with `text` as they came.

    `level` is the least; `after` and `before` are times. `since` is for following: those that came after a record's id,
    in that order. `last` is the id to follow from. `columns`: `service`, `session_id`, `trace_id`.
    """
    last = _first(connection, "SELECT max(id) FROM logs") or 0
    asked.between("logs.time", after, before)
    asked.equal(**{f"logs.{column}": value for column, value in columns.items()})  # the index on words has them too
    least = _least(level)
    if least > LEVELS["TRACE"]:
        # Written out, so that SQLite sees which of the indexes on the few and important ones will do.
        asked.conditions += [f"level >= {known}" for known in (13, 17) if known < least] + [f"level >= {least}"]
    words = match("body", text)
    if text and not words:
        return {"items": [], "next": None, "last": last}
    key = "logs_text.rowid" if words else "logs.id"
    select = "SELECT logs.* FROM logs"
    if words:
        # The index on words knows no times and no traces: it is read only where there are records that are meant.
        elsewhere = (after, before, columns.get("trace_id"))
        if any(value is not None for value in elsewhere) and not _bound(connection, asked, key):
            return {"items": [], "next": None, "last": last}
        for column in ("service", "session_id"):
            words = _and(words, match(column, columns.get(column), whole=True))
        if level:
            names = " OR ".join(f'"{name}"' for name, number in LEVELS.items() if number >= least)
            words = _and(words, f"severity : ({names})")
        select = "SELECT logs.*, logs_text.rowid AS found FROM logs_text CROSS JOIN logs ON logs.id = logs_text.rowid"
        asked.where("logs_text MATCH ?", words)
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


def _bound(connection: sqlite3.Connection, asked: Asked, key: str) -> bool:
    """One more condition: the ids between which all log records are that meet the others; False if none does."""
    question = f"SELECT min(id), max(id) FROM logs WHERE {' AND '.join(asked.conditions)}"
    first, last = connection.execute(question, asked.values).fetchone()
    asked.where(f"{key} BETWEEN ? AND ?", first, last)
    return first is not None


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
