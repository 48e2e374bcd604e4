"""How much `highlight-local` takes without loss: python3 tests/long/ingestion.py [SECONDS]

Two processes send as fast as they are answered, 500 records in a request, spans as the agent sends them and a log
record with each. What was acknowledged is counted in the database afterwards. The figure is printed, never asserted:
it is one of the machine's.
"""

from __future__ import annotations

import gzip
import http.client
import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.support.local import Local, logs, traces

EACH = 500
PREPARED = 12  # requests of each kind, in which only the ids differ from one sending to the next


def requests(number: int) -> tuple[bytes, bytes]:
    """Spans with a log record each, in traces of five; the ids begin with a placeholder."""
    spans, records = [], []
    for index in range(EACH):
        mark = f"{number:04x}{index // 5:04x}"
        trace, span = f"{'ee' * 12}{mark}", f"{'ee' * 4}{index:08x}"
        session = f"session{index // 50:021d}"
        linked = {"highlight.session_id": session, "highlight.trace_id": trace, "highlight.request_id": trace}
        values = {**linked, "http.request.method": "GET", "url.path": f"/cart/{index}", "http.route": "/cart/{id}"}
        values |= {"http.response.status_code": 200, "http.method": "GET", "http.url": f"http://shop/cart/{index}"}
        given = {"trace": trace, "span": span, "name": "GET /cart/{id}", "attributes": values}
        spans.append(given if index % 5 == 0 else {**given, "parent": f"{'ee' * 4}{index // 5 * 5:08x}"})
        said = f"order {index} of customer {number} was paid by card and goes out tomorrow"
        values = {**linked, "logger.name": "shop.orders", "code.function.name": "pay", "code.line.number": 17}
        records.append({"body": said, "trace": trace, "span": span, "attributes": values})
    return traces(*spans), logs(*records)


def send(port: int, seconds: float, results: multiprocessing.Queue[tuple[int, int, float]]) -> None:
    """Send until the time is over; say how many records were acknowledged, and how often it was told to wait."""
    prepared = [requests(number) for number in range(PREPARED)]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    taken = waits = 0
    began = time.monotonic()
    end = began + seconds
    while time.monotonic() < end:
        for spans, records in prepared:
            unique = secrets.token_bytes(12)
            for path, body in (("/v1/traces", spans), ("/v1/logs", records)):
                content = gzip.compress(
                    body.replace(b"\xee" * 12, unique).replace(b"ee" * 12, unique.hex().encode()), 1
                )
                headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
                connection.request("POST", path, content, headers)
                answer = connection.getresponse()
                answer.read()
                taken += EACH if answer.status == 200 else 0
                waits += answer.status != 200
    results.put((taken, waits, time.monotonic() - began))


def cpu_seconds(pid: int) -> float:
    """What a process has used of its cores."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, and tell."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        server = Local(Path(folder) / "local", "--keep", "10GB")
        results: multiprocessing.Queue[tuple[int, int, float]] = multiprocessing.Queue()
        senders = [multiprocessing.Process(target=send, args=(server.port, seconds, results)) for _ in range(2)]
        for sender in senders:
            sender.start()
        found = [results.get() for _ in senders]
        for sender in senders:
            sender.join()
        taken, waits, took = sum(one[0] for one in found), sum(one[1] for one in found), max(one[2] for one in found)
        worked = cpu_seconds(server.process.pid)
        state = server.api("state")
        server.stop()
        server.check()
    stored = state["spans"] + state["logs"]
    print(f"acknowledged {taken} records in {took:.1f} s, {waits} requests told to wait")
    print(
        f"stored       {stored}: {state['spans']} spans and {state['logs']} log records, {state['bytes'] / 1e6:.0f} MB"
    )
    print(f"a second     {stored / took / 2:.0f} spans and as many log records")
    print(f"of a core    {worked / stored * 1e6:.0f} µs for each of them, in the server")
    return 0 if stored == taken else 1


if __name__ == "__main__":
    sys.exit(main())
