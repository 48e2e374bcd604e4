"""What is stored, a class for each table whose fields are its columns, and a batch of such rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

# Times are nanoseconds since 1970. Attributes and the like are JSON texts. Ids are lower-case hex.

LEVELS = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}


class Span(NamedTuple):
    """A span; `request_id` is the browser's, where it is not the trace id."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: int
    start: int
    end: int
    status: int
    status_message: str
    service: str
    session_id: str | None
    request_id: str | None
    attributes: str
    events: str
    links: str
    resource_id: int


class Log(NamedTuple):
    """A log record, of a backend or of a browser's console; `uid` is what a repeated one has again."""

    uid: str | None
    time: int
    level: int
    severity: str
    service: str
    logger: str
    body: str
    session_id: str | None
    trace_id: str | None
    span_id: str | None
    request_id: str | None
    attributes: str
    resource_id: int


class Error(NamedTuple):
    """One time that something went wrong; those of one type and place have one `group_id`."""

    key: str
    time: int
    group_id: str
    type: str
    message: str
    stack: str
    file: str
    line: int
    function: str
    source: str
    service: str
    session_id: str | None
    trace_id: str | None
    span_id: str | None
    request_id: str | None
    url: str
    attributes: str
    resource_id: int


class Chunk(NamedTuple):
    """Some events of rrweb, as a compressed JSON list; `snapshots` of them hold the whole page."""

    session_id: str
    payload_id: str
    first: int
    last: int
    events: int
    snapshots: int
    data: bytes


class Network(NamedTuple):
    """A request that the browser made, or a message of one of its websockets."""

    session_id: str
    key: str
    kind: str
    method: str
    url: str
    status: int | None
    start: int
    end: int
    request_id: str | None
    trace_id: str | None
    data: str


class Page(NamedTuple):
    """A page that the session's browser was on."""

    session_id: str
    time: int
    url: str


@dataclass
class Session:
    """What is new about a session; None and {} leave what is known."""

    first: int
    last: int
    service: str | None = None
    environment: str | None = None
    version: str | None = None
    user_agent: str | None = None
    client_id: str | None = None
    user_identifier: str | None = None
    user: dict[str, object] = field(default_factory=dict)
    properties: dict[str, object] = field(default_factory=dict)


class Resource(NamedTuple):
    """Who sent something."""

    id: int
    service: str
    attributes: str


@dataclass
class Batch:
    """What one request brings."""

    size: int = 0  # in bytes, about
    spans: list[Span] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    network: list[Network] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    resources: dict[int, Resource] = field(default_factory=dict)
    of_session: str | None = None  # what has no service is of this session's, which the database knows

    def seen(self, session_id: str, first: int, last: int) -> Session:
        """A session was there at these times."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(first, last)
        else:
            session.first = min(session.first, first)
            session.last = max(session.last, last)
        return session


def session_id(value: object) -> str | None:
    """An id of a session or a request as it may come from anybody; None for what can be none."""
    if isinstance(value, str) and 0 < len(value) <= 256 and value.isascii() and value.isprintable():
        return None if value in ("null", "undefined") else value
    return None


def level_of(severity: str, number: int = 0) -> tuple[int, str]:
    """A severity as a number of OpenTelemetry's and one of six names."""
    name = severity.upper()
    name = {"WARNING": "WARN", "CRITICAL": "FATAL", "PANIC": "FATAL", "LOG": "INFO", "ASSERT": "ERROR"}.get(name, name)
    if not 1 <= number <= 24:
        number = LEVELS.get(name, LEVELS["INFO"])
    return number, list(LEVELS)[(number - 1) // 4]
