"""How long `highlight-local` takes to answer with much in it: python3 tests/long/reading.py [SPANS]

Fills a database (1,000,000 spans by default, of 10,000 sessions, with what their browsers recorded), and asks all that
the pages ask, with every combination of their filters, a few times each. A question that the API or the pages have and
this does not ask is told, and is a failure, as is an answer that takes longer than the pages may wait.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from highlight_autoinstrument.local.api import Api
from highlight_autoinstrument.local.live import Live
from highlight_autoinstrument.local.records import error
from highlight_autoinstrument.local.rows import Batch, Chunk, Log, Network, Page, Resource, Span
from highlight_autoinstrument.local.store import Store
from tests.environment import ROOT
from tests.support.local import Local, logs, traceback

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMES = 3
ROUNDS = 3  # for what takes too long: others use this machine as well, and may have done so just then
MOST_SHOWN = 10
EACH = 1000  # traces in one batch
SPANS = 5  # of a trace
OF_SESSION = 20  # traces
AT_ONCE = 50  # sessions
DAY = 24 * 3600 * 10**9
SECOND = 10**9
SERVICES = ("web", "bank-api", "stock", "mail", "shop-page")
WEB, BANK, STOCK, MAIL, PAGE = range(5)
OF_SPANS = ((2, WEB, "GET /cart/{id}"), (3, WEB, "GET"), (2, BANK, "POST /pay"), (3, BANK, "POST"), (2, STOCK, "take"))
OF_MAILS = ((5, MAIL, "send receipt"), *OF_SPANS[1:])
LONG = "session-of-somebody-who-stays-all-day"  # every fortieth trace
LARGE = "f" * 32  # a trace of very many spans
OF_LARGE = 6000


def session_of(trace: int) -> str:
    """Some sessions are there at the same time, and one all day."""
    if trace % 40 == 7:
        return LONG
    return f"session{trace // (AT_ONCE * OF_SESSION) * AT_ONCE + trace % AT_ONCE:021d}"


def recordings() -> tuple[list[bytes], list[bytes]]:
    """Chunks of a replay: such as begin with the whole page, and such as tell what changed."""
    chance = random.Random(7)

    def words(number: int) -> str:
        return " ".join(f"{chance.randrange(20_000):x}" for _ in range(number))

    def chunk(events: list[dict[str, Any]]) -> bytes:
        return zlib.compress(json.dumps(events).encode())

    def node(number: int) -> dict[str, Any]:
        attributes = {"class": words(3), "href": f"/cart/{number}"}
        text = {"type": 3, "textContent": words(8), "id": number + 1}
        return {"type": 2, "tagName": "a", "attributes": attributes, "id": number, "childNodes": [text]}

    whole, changes = [], []
    for _ in range(12):
        page = {"type": 2, "timestamp": 0, "data": {"node": {"type": 0, "childNodes": [node(n) for n in range(300)]}}}
        moves = [
            {"x": chance.randrange(1280), "y": chance.randrange(800), "id": n, "timeOffset": -n} for n in range(40)
        ]
        told = [{"type": 3, "timestamp": n, "data": {"source": 1, "positions": moves}} for n in range(4)]
        adds = {"source": 0, "adds": [{"parentId": 5, "nextId": None, "node": node(n)} for n in range(20)]}
        whole.append(chunk([page, *told]))
        changes.append(chunk([*told, {"type": 3, "timestamp": 5, "data": adds}]))
    return whole, changes


class Filling:
    """Rows as a day brings them: each trace is of a request that a browser made, which it has recorded as well."""

    def __init__(self, spans: int, now: int) -> None:
        self.traces = spans // SPANS
        self.began, self.step = now - DAY, DAY // self.traces
        self.whole, self.changes = recordings()
        self.seen: defaultdict[str, int] = defaultdict(int)

    def batch(self, first: int) -> Batch:
        """Some traces with all around them."""
        batch = Batch(size=EACH * 8000)
        for number in range(first, min(first + EACH, self.traces)):
            self.trace(batch, number)
        for index, service in enumerate(SERVICES):
            batch.resources[index] = Resource(index, service, json.dumps({"service.name": service}))
        return batch

    def trace(self, batch: Batch, number: int) -> None:
        """One of them."""
        trace, session, at = f"{number:032x}", session_of(number), self.began + number * self.step
        failed = number % 100 == 3
        linked = {"highlight.session_id": session, "highlight.trace_id": trace, "http.route": "/cart/{id}"}
        mail = number % 100 == 50
        for index, (kind, service, name) in enumerate(OF_MAILS if mail else OF_SPANS):
            values = {**linked, "url.path": f"/cart/{number}", "http.response.status_code": 500 if failed else 200}
            lasted = 10**6 * (1 + number % 997) // (index + 1)
            batch.spans.append(
                Span(
                    *(trace, f"{number:08x}{index:08x}", f"{number:08x}{0:08x}" if index else None, name, kind),
                    *(at + index * 1000, at + index * 1000 + lasted, 2 * (failed and index == 0), ""),
                    *(SERVICES[service], session, trace, json.dumps(values), "[]", "[]", service),
                )
            )
        severity, level = ("ERROR", 17) if failed else ("WARN", 13) if number % 25 == 1 else ("INFO", 9)
        body = f"order {number} of customer {number % 5000} was paid by card and goes out tomorrow"
        given = json.dumps({**linked, "code.function.name": "pay"})
        service = SERVICES[MAIL if mail else BANK if number % 2 else WEB]
        batch.logs.append(
            Log(None, at, level, severity, service, "shop", body, session, trace, None, trace, given, WEB)
        )
        if failed:
            kinds = number // 100
            what = traceback(f"Error{kinds % 50}", f"order {number}", function=f"f{kinds // 50 % 20}")
            batch.errors.append(self.error(f"e{number}", at, what, "span", SERVICES[WEB], session, trace))
        self.browser(batch, number, trace, session, at)

    def browser(self, batch: Batch, number: int, trace: str, session: str, at: int) -> None:
        """What the client recorded of it."""
        known = self.seen[session]
        self.seen[session] += 1
        told = batch.seen(session, at, at)
        url = f"https://shop.test/cart/{number % 1000}"
        headers = {f"x-header-{n}": "some value of it" for n in range(15)}
        data = {
            "requestResponsePairs": {"request": {"headers": headers, "body": "{}"}, "response": {"body": "x" * 400}}
        }
        batch.network.append(
            Network(session, f"k{number}", "fetch", "GET", url, 200, at, at + 10**7, trace, trace, json.dumps(data))
        )
        body = f"cart {number % 1000} drawn in {number % 97} ms"
        service = SERVICES[PAGE]
        batch.logs.append(Log(None, at, 9, "INFO", service, "console", body, session, None, None, None, "{}", PAGE))
        if known == 0:
            told.service, told.environment, told.version = service, "production", "1.2"
            told.user_agent, told.user_identifier = "Mozilla/5.0 (X11; Linux x86_64)", f"user{number % 9000}@shop.test"
            told.user = {"plan": "gold"}
            what = {"exception.type": "Error", "exception.message": "ResizeObserver loop", "exception.stacktrace": ""}
            batch.errors.append(self.error(f"b{number}", at, what, "browser", service, session, None))
        if known % 2 == 0:
            kinds = self.changes if known % 20 else self.whole
            chunk = Chunk(session, f"c{number}", at, at + SECOND, 5, int(not known % 20), kinds[number % len(kinds)])
            batch.chunks.append(chunk)
        if known % 4 == 0:
            batch.pages += [Page(session, at, url), Page(session, at + 1, url)]

    def large(self, now: int) -> Batch:
        """A trace of a job with very many steps, all of which log."""
        batch = Batch(size=OF_LARGE * 1000)
        for index in range(OF_LARGE):
            at, values = now + index * 1000, json.dumps({"db.query.text": f"SELECT * FROM orders WHERE id = {index}"})
            span = f"ffffffff{index:08x}"
            batch.spans.append(
                Span(
                    *(LARGE, span, "ffffffff00000000" if index else None, "SELECT orders", 3 if index else 1, at),
                    *(at + 900, 0, "", SERVICES[MAIL], None, None, values, "[]", "[]", MAIL),
                )
            )
            body = f"row {index} was read"
            batch.logs.append(
                Log(None, at, 9, "INFO", SERVICES[MAIL], "job", body, None, LARGE, span, None, "{}", MAIL)
            )
        return batch

    def error(
        self, key: str, at: int, what: dict[str, str], source: str, service: str, session: str, trace: str | None
    ) -> Any:
        told = what["exception.type"], what["exception.message"], what["exception.stacktrace"]
        return error(key, at, told, source, service, session, (trace, None, trace), "", {}, WEB)


def fill(store: Store, spans: int) -> None:
    """Put all of it there."""
    now = time.time_ns()
    filling = Filling(spans, now)
    for first in range(0, filling.traces, EACH):
        store.put(filling.batch(first)).result()
    store.put(filling.large(now)).result()


class Asked(NamedTuple):
    """A path of the API, and the values that what is in braces, and each parameter, may have; None for none."""

    route: str
    values: dict[str, tuple[Any, ...]]

    def paths(self) -> list[str]:
        """Every combination."""
        found = []
        for chosen in itertools.product(*self.values.values()):
            given = {name: value for name, value in zip(self.values, chosen, strict=True) if value is not None}
            path = re.sub(r"{(\w+)(?::\w+)?}", lambda match, given=given: str(given.pop(match[1])), self.route)
            found.append(f"{path}?{urlencode(given)}" if given else path)
        return found


def asked(database: Path) -> list[Asked]:
    """All that the pages ask; what else the API can be asked is here as well."""
    connection = sqlite3.connect(database)

    def one(question: str, *values: Any) -> Any:
        return connection.execute(question, values).fetchone()[0]

    began, ended = one("SELECT min(time) FROM logs"), one("SELECT max(time) FROM logs")
    middle = (began + ended) // 2
    trace = one("SELECT trace_id FROM traces WHERE start > ? ORDER BY start LIMIT 1", middle)
    session = one("SELECT session_id FROM errors WHERE time > ? AND session_id <> ? ORDER BY time", middle, LONG)
    groups = (
        one("SELECT id FROM error_groups ORDER BY count DESC LIMIT 1"),
        one("SELECT id FROM error_groups ORDER BY count LIMIT 1"),
    )
    errors = (
        one("SELECT min(id) FROM errors WHERE source = 'span'"),
        one("SELECT max(id) FROM errors WHERE source = 'span'"),
        one("SELECT max(id) FROM errors WHERE source = 'browser'"),
        one("SELECT max(id) FROM errors WHERE session_id = ?", LONG),
    )
    rows = [one("SELECT max(id) FROM network WHERE session_id = ?", known) for known in (session, LONG)]
    chunk = one("SELECT max(id) FROM chunks WHERE session_id = ?", LONG)
    last = one("SELECT max(id) FROM logs")
    connection.close()

    sessions = {"id": (session, LONG, "nobody")}
    some = {"limit": (50, 500)}  # a list that is followed is asked for as long as it has become, up to 500
    cursor = {"cursor": (None, f"{middle}~0")}
    every = {"limit": (500,), "cursor": (None, f"{middle}~0")}
    narrow = {
        "level": (None, "warn", "error"),
        "service": (None, "web", "mail", "none"),
        "session": (None, session, LONG),
        "trace": (None, trace),
        "after": (None, (middle + (ended - middle) // 2) // 10**6),
        "before": (None, (began + (middle - began) // 2) // 10**6),
    }
    texts = {"text": ("order", "o", "customer 4711", '"paid by card"', "nothing")}
    return [
        Asked("state", {}),
        Asked("services", {}),
        Asked(
            "errors",
            {
                "text": (None, "order", "Error7", "nothing"),
                "service": (None, "web", "none"),
                "session": (None, session, LONG),
                **some,
                **cursor,
            },
        ),
        Asked("errors/{id}", {"id": groups}),
        Asked("errors/{id}/occurrences", {"id": groups, **some, **cursor}),
        Asked("error/{id:int}", {"id": errors}),
        Asked("arrived", {"since": (None, 0, errors[1]), "launcher": (None, "x"), "limit": (50,)}),
        Asked(
            "sessions", {"text": (None, "session", "user4711", "o", "nobody"), "failed": (None, 1), **some, **cursor}
        ),
        Asked("sessions/{id}", {"id": (session, LONG)}),
        Asked("sessions/{id}/network", {**sessions, **every}),
        Asked("sessions/{id}/network/{row:int}", {"id": (session,), "row": (rows[0],)}),
        Asked("sessions/{id}/network/{row:int}", {"id": (LONG,), "row": (rows[1],)}),
        Asked("sessions/{id}/console", {**sessions, **every}),
        Asked("sessions/{id}/errors", {**sessions, **every}),
        Asked("sessions/{id}/events", {"id": (session, "nobody")}),
        Asked("sessions/{id}/events", {"id": (LONG,), "since": (None, chunk - 5)}),
        Asked(
            "traces",
            {
                "text": (None, "cart", "receipt", "nothing"),
                "service": (None, "web", "mail", "none"),
                "session": (None, session, LONG),
                "failed": (None, 1),
                "slower": (None, 900, 100_000),
                **every,
            },
        ),
        Asked("traces/{id}", {"id": (trace, LARGE)}),
        Asked("logs", {**narrow, **every}),
        Asked("logs", {"trace": (LARGE,), **every}),
        Asked("logs", {**narrow, **texts, **every, "cursor": (None, last // 2)}),
        Asked("logs", {**narrow, "text": (None, "order", "nothing"), "limit": (500,), "since": (last - 5000, last)}),
    ]


def not_asked(store: Store, questions: list[Asked]) -> list[str]:
    """The paths that the API has, and the parameters that the pages give, which are not among the questions."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for question in questions:
        known[question.route] |= {"", *question.values}
    wanted = [(route.path.removeprefix("/api/"), "") for route in Api(store, Live(), None).routes()]
    for source in (ROOT / "pages" / "src").rglob("*.ts*"):
        for route, names in re.findall(r'use(List<\w+>\("\w+", |Logs\(){([^}]*)}', source.read_text()):
            path = "logs" if route == "Logs(" else route.split('"')[1]
            wanted += [(path, name.partition(":")[0].strip()) for name in names.split(",")]
    lacking = {(path, name) for path, name in wanted if path != "live" and name not in known[path]}
    return [f"not asked: {path} {name}" for path, name in sorted(lacking)]


class Took(NamedTuple):
    """How long an answer took, in milliseconds, to its first byte and to its last, and its size."""

    begun: float
    whole: float
    size: int


def ask(path: str, connection: http.client.HTTPConnection) -> Took:
    """Ask once."""
    began = time.perf_counter()
    connection.request("GET", f"/api/{path}")
    answer = connection.getresponse()
    body = answer.read(1)
    begun = time.perf_counter()
    body += answer.read()
    whole = time.perf_counter()
    assert answer.status in (200, 404), (path, answer.status, body[:200])
    return Took((begun - began) * 1000, (whole - began) * 1000, len(body))


def ask_live(server: Local) -> tuple[float, float]:
    """The milliseconds until a page is told that it hears of what comes, and until it hears of a record after that."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.request("GET", "/api/live")
    stream = connection.getresponse()
    while not stream.readline().startswith(b"retry"):
        pass
    opened = time.perf_counter()
    assert server.post("/v1/logs", logs({"body": "it is there"})).status == 200
    while not stream.readline().startswith(b"data"):
        pass
    told = time.perf_counter()
    connection.close()
    return (opened - began) * 1000, (told - opened) * 1000


def measure(server: Local, questions: list[Asked], within: float) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """The milliseconds of the answers to each path of a route, to their last byte; of what is streamed, to the first.

    A page shows nothing before the last byte of a recording either, but that is as long as the recording is.
    """
    connection = http.client.HTTPConnection(server.host, server.port, timeout=600)
    for question in questions:
        streamed = question.route.endswith("/events")
        found: dict[str, list[float]] = {}
        for path in question.paths():
            for _ in range(ROUNDS):
                took = [ask(path, connection) for _ in range(TIMES)]
                found[path] = [one.begun if streamed else one.whole for one in took]
                if statistics.median(found[path]) <= within:
                    break
                print(f"{path}: {statistics.median(found[path]):.0f} ms")
            if streamed:
                whole = statistics.median(one.whole for one in took)
                print(f"{path}: {took[0].size / 1e6:.1f} MB, the last byte after {whole:.0f} ms")
        yield question.route, found
    connection.close()
    live = [ask_live(server) for _ in range(TIMES)]
    yield "live", {"live, opened": [one[0] for one in live], "live, a record that was sent": [one[1] for one in live]}


def report(measured: Iterator[tuple[str, dict[str, list[float]]]], within: float) -> list[str]:
    """Print what was measured; return what takes too long: whose median does, in each round."""
    times: defaultdict[str, dict[str, list[float]]] = defaultdict(dict)
    for route, paths in measured:
        times[route] |= paths
    print("| question | ways to ask it | median, ms | the slowest way, ms | the slowest answer, ms |")
    print("|---|---|---|---|---|")
    slowest: dict[str, float] = {}
    for route, paths in times.items():
        medians = {path: statistics.median(took) for path, took in paths.items()}
        most = max(max(took) for took in paths.values())
        usual = statistics.median(medians.values())
        print(f"| `{route}` | {len(paths)} | {usual:.1f} | {max(medians.values()):.1f} | {most:.1f} |")
        slowest |= medians
    for path in sorted(slowest, key=slowest.__getitem__)[-MOST_SHOWN:]:
        print(f"{slowest[path]:8.1f} ms  {path}")
    return [f"too slow: {path}, {took:.1f} ms" for path, took in slowest.items() if took > within]


def main(*arguments: str) -> int:
    """Fill, ask, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spans", nargs="?", type=int, default=10**6)
    parser.add_argument("--within", type=float, default=300, help="milliseconds")
    parser.add_argument("--folder", type=Path, help="keep the database here, and ask the one that is there already")
    options = parser.parse_args(arguments or None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        path = folder / "local.db"
        began = time.monotonic()
        there = path.exists()
        store = Store(str(path), 10**12, lambda *_: None)
        if not there:
            fill(store, options.spans)
        questions = asked(path)
        wrong = not_asked(store, questions)
        store.close()
        server = Local(folder, "--keep", "1000GB")
        size = ", ".join(f"{number:,} {name}" for name, number in server.api("state").items())
        print(f"{size}, in {time.monotonic() - began:.0f} s")
        print(f"CPython {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores", flush=True)
        wrong += report(measure(server, questions, options.within), options.within)
        server.stop()
        server.check()
    print(*wrong or [f"every question of the pages is asked, and answered within {options.within:.0f} ms"], sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
