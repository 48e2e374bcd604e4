"""How long `highlight-local` takes to answer with much in it: python3 tests/long/reading.py [SPANS] [SESSIONS]

Fills a database (1,000,000 spans, as many log records as a fifth of them, 10,000 sessions by default), and asks each
question of the API a few times. The figures are printed, never asserted: they are the machine's.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from highlight_autoinstrument.local.records import error
from highlight_autoinstrument.local.rows import Batch, Chunk, Log, Network, Resource, Span
from highlight_autoinstrument.local.store import Store
from tests.support.local import Local, traceback

EACH = 5000
TIMES = 5
SERVICES = ("web", "bank-api", "stock", "mail")


def fill(store: Store, spans: int, sessions: int) -> None:
    """Traces of five spans; a log record with each; an error in every hundredth."""
    now = time.time_ns()
    began = now - 7200 * 10**9
    step = 7200 * 10**9 // spans
    for first in range(0, spans, EACH):
        batch = Batch(size=EACH * 500)
        for number in range(first, min(first + EACH, spans)):
            trace, at = f"{number // 5:032x}", began + number * step
            session = f"session{number // 5 % sessions:021d}"
            service = SERVICES[number % 4]
            given = {"highlight.session_id": session, "http.route": "/cart/{id}", "http.response.status_code": 200}
            attributes = json.dumps({**given, "url.path": f"/cart/{number}", "server.address": "shop.test"})
            parent = None if number % 5 == 0 else f"{number // 5 * 5:016x}"
            status = 2 if number % 500 == 0 else 0
            name = f"GET /cart/{{id}}/{number % 200}"
            batch.spans.append(
                Span(
                    *(trace, f"{number:016x}", parent, name, 2, at, at + 10**6 * (1 + number % 997), status, ""),
                    *(service, session, f"request{number // 5}", attributes, "[]", "[]", number % 4),
                )
            )
            batch.seen(session, at, at)
            if number % 5 == 0:
                body = f"order {number} of customer {number % 5000} was paid by card and goes out tomorrow"
                severity = ("INFO", "WARN", "ERROR")[(number // 5 % 50 == 0) + (number // 5 % 200 == 0)]
                level = {"INFO": 9, "WARN": 13, "ERROR": 17}[severity]
                batch.logs.append(
                    Log(None, at, level, severity, service, "shop", body, session, trace, None, None, attributes, 1)
                )
            if number % 500 == 0:
                told = traceback(f"Error{number // 500 % 50}", f"order {number}", function=f"f{number // 500 % 40}")
                what = told["exception.type"], told["exception.message"], told["exception.stacktrace"]
                batch.errors.append(
                    error(f"e{number}", at, what, "span", service, session, (trace, None, None), "", {}, 1)
                )
            if number % 50 == 0:
                key, request = f"k{number}", f"request{number // 5}"
                batch.network.append(
                    Network(session, key, "fetch", "GET", "http://x", 200, at, at + 10**7, request, None, "{}")
                )
                data = zlib.compress(json.dumps([{"type": 3, "timestamp": at // 10**6, "data": number}] * 20).encode())
                batch.chunks.append(Chunk(session, key, at, at, 20, 1, data))
        for index, service in enumerate(SERVICES):
            batch.resources[index] = Resource(index, service, "{}")
        store.put(batch).result()


def main() -> int:
    """Fill, ask, and tell."""
    spans, sessions = (int(sys.argv[n]) if len(sys.argv) > n else default for n, default in ((1, 10**6), (2, 10**4)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "local" / "local.db"
        path.parent.mkdir()
        store = Store(str(path), 10**11, lambda *_: None)
        began = time.monotonic()
        fill(store, spans, sessions)
        store.close()
        took, size = time.monotonic() - began, path.stat().st_size / 1e6
        print(f"{spans} spans and {sessions} sessions in {took:.0f} s, {size:.0f} MB")
        server = Local(path.parent, "--keep", "100GB")
        session = f"session{random.randrange(sessions):021d}"
        trace = f"{random.randrange(spans // 5):032x}"
        group = server.api("errors?limit=1")["items"][0]
        middle = server.api("traces?limit=500")["next"]
        paths = [
            *("state", "services", "errors", "errors?text=order", "errors?service=web", f"errors?session={session}"),
            *(f"errors/{group['id']}", f"errors/{group['id']}/occurrences", f"error/{group['latest']}"),
            *("sessions", "sessions?text=session", "sessions?text=nobody", "sessions?failed=1", f"sessions/{session}"),
            *(f"sessions/{session}/network", f"sessions/{session}/errors", f"sessions/{session}/events"),
            *(
                "traces",
                f"traces?cursor={middle}",
                "traces?service=web",
                "traces?failed=1",
                f"traces?session={session}",
            ),
            *("traces?slower=990", "traces?slower=100000", "traces?text=nothing", f"traces/{trace}"),
            *(
                "logs",
                "logs?service=mail",
                "logs?level=error",
                "logs?service=mail&level=error",
                f"logs?session={session}",
            ),
            *(f"logs?trace={trace}", "logs?text=paid", "logs?text=customer+4711", "logs?text=nothing", "logs?text=p"),
            *("logs?text=paid&service=bank-api&level=error", f"logs?text=paid&session={session}", "logs?since=1"),
            *(f"logs?before={time.time() * 1000 - 3_600_000:.0f}", "logs?service=web&level=warn&text=order"),
        ]
        slowest = 0.0
        for path_ in paths:
            times = []
            for _ in range(TIMES):
                began = time.monotonic()
                items = server.api(path_)
                times.append((time.monotonic() - began) * 1000)
            slowest = max(slowest, sorted(times)[TIMES // 2])
            number = len(items["items"]) if isinstance(items, dict) and "items" in items else "-"
            print(f"{sorted(times)[TIMES // 2]:8.1f} ms  first {times[0]:8.1f} ms  {number!s:>4}  {path_}")
        server.stop()
        server.check()
    print(f"{slowest:8.1f} ms  the slowest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
