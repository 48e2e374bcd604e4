"""The soak: very many requests at a time, each with a session of its own, and whether every record has the right one.

All that a request does says its number: the path, the text of its logs and errors, the path of the call that it makes.
What its session must be follows from that. What an application does for no request, in the same pools, has none.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .records import decode_logs, decode_traces, errors_of
from .services import Service, wait_until
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT_A_TIME = 100
PATIENCE_SECONDS = 300
CHUNKS = 4

# What a request does by its number. Each tenth number is one without a header, in all of them.
KINDS = ("plain", "plain", "plain", "plain", "plain", "fail", "cancel", "timeout", "stream", "cut")


def kind_of(number: int) -> str:
    return KINDS[number // 10 % 10]


def header_of(number: int) -> str | None:
    """What comes in with a request, if anything."""
    return f"session{number}/request{number}" if number % 10 else None


# The applications. Each logs in its handler, in a job of a pool and in a task, calls another service, and does what
# its kind says: fails, waits for too long, goes on after it was answered, or sends its answer in pieces.

COMMON = """
import logging, os
from tests.support.soak import CHUNKS, kind_of

log = logging.getLogger("app")
log.setLevel("INFO")
log.propagate = False
log.addHandler(logging.NullHandler())
logging.lastResort = None
TARGET = os.environ["TARGET"]
"""

# What belongs to no request, in the threads that work for requests as well.
TICKING = """
def tick():
    while not os.path.exists("quiet"):
        log.warning("tick thread")
        pool.submit(log.warning, "tick pool").result()
        time.sleep(0.05)

threading.Thread(target=tick, daemon=True).start()
"""

FLASK = (
    COMMON
    + """
import concurrent.futures, threading, time
from concurrent.futures import ThreadPoolExecutor
import urllib3
from flask import Flask, Response

app = Flask("soak")
pool = ThreadPoolExecutor(8)
http = urllib3.PoolManager(maxsize=32, block=True)

def say(words, seconds=0):
    if seconds:
        time.sleep(seconds)
    log.warning(words)

def pieces(number):
    for piece in range(CHUNKS):
        log.warning("%s piece %s", number, piece)
        yield f"piece {piece}\\n"
        time.sleep(0.01)

@app.get("/work/<int:number>")
def work(number):
    kind = kind_of(number)
    log.warning("%s handler", number)
    thread = threading.Thread(target=say, args=[f"{number} task"])
    thread.start()
    job = pool.submit(say, f"{number} pool")
    if kind == "cancel":
        time.sleep(0.05)
    http.request("GET", f"{TARGET}/sub/{number}").data
    if kind == "timeout":
        late = pool.submit(say, f"{number} late", 0.05)
        try:
            late.result(0.01)
        except concurrent.futures.TimeoutError:
            pass
        log.warning("%s timeout", number)
    job.result()
    thread.join()
    if kind == "fail":
        raise LookupError(f"failed {number}")
    if kind in ("stream", "cut"):
        return Response(pieces(number), mimetype="text/plain")
    return f"done {number}"
"""
    + TICKING
)

GEVENT = FLASK.replace("threading, time", "gevent, threading, time").replace(
    'threading.Thread(target=say, args=[f"{number} task"])', 'gevent.Greenlet(say, f"{number} task")'
)

ASYNC = (
    COMMON
    + """
import asyncio
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(8)

async def task(words, seconds=0):
    await asyncio.sleep(seconds)
    log.warning(words)

async def pieces(number):
    for piece in range(CHUNKS):
        log.warning("%s piece %s", number, piece)
        yield f"piece {piece}\\n".encode()
        await asyncio.sleep(0.01)

async def tick():
    while not os.path.exists("quiet"):
        log.warning("tick loop")
        await asyncio.get_running_loop().run_in_executor(pool, log.warning, "tick pool")
        await asyncio.create_task(task("tick task"))
        await asyncio.sleep(0.05)

background = set()

def begin():
    background.add(asyncio.get_running_loop().create_task(tick()))

async def fan_out(number):
    kind = kind_of(number)
    log.warning("%s handler", number)
    beside = asyncio.create_task(task(f"{number} task"))
    job = asyncio.get_running_loop().run_in_executor(pool, log.warning, f"{number} pool")
    if number % 2:  # the same by another door
        await job
        job = asyncio.to_thread(log.warning, f"{number} thread")
    if kind == "cancel":
        await asyncio.sleep(0.05)
    await call(number)
    if kind == "timeout":
        late = asyncio.create_task(task(f"{number} late", 0.05))
        background.add(late)
        late.add_done_callback(background.discard)
        try:
            await asyncio.wait_for(asyncio.shield(late), 0.01)
        except asyncio.TimeoutError:
            pass
        log.warning("%s timeout", number)
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.001)
        except asyncio.TimeoutError:
            pass
    await asyncio.gather(beside, job)
    if kind == "fail":
        raise LookupError(f"failed {number}")
    return kind
"""
)

FASTAPI = (
    ASYNC
    + """
import contextlib
import httpx
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse

@contextlib.asynccontextmanager
async def lifespan(app):
    begin()
    yield

app = FastAPI(lifespan=lifespan)
client = httpx.AsyncClient(timeout=None, trust_env=False)

async def call(number):
    await client.get(f"{TARGET}/sub/{number}")

@app.middleware("http")
async def around(request, call_next):
    number = request.path_params.get("number") or request.url.path.rpartition("/")[2]
    log.warning("%s middleware", number)
    return await call_next(request)

@app.get("/work/{number}")
async def work(number: int):
    if await fan_out(number) in ("stream", "cut"):
        return StreamingResponse(pieces(number))
    return PlainTextResponse(f"done {number}")
"""
)

AIOHTTP = (
    ASYNC
    + """
import aiohttp
from aiohttp import web

async def call(number):
    async with app["client"].get(f"{TARGET}/sub/{number}") as response:
        await response.read()

async def work(request):
    number = int(request.match_info["number"])
    if await fan_out(number) in ("stream", "cut"):
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in pieces(number):
            await response.write(piece)
        return response
    return web.Response(text=f"done {number}")

async def client(app):
    begin()
    async with aiohttp.ClientSession() as app["client"]:
        yield

app = web.Application()
app.router.add_get("/work/{number}", work)
app.cleanup_ctx.append(client)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), handler_cancellation=True, access_log=None)
"""
)

_GUNICORN = (
    "gunicorn --bind 127.0.0.1:{port} --keep-alive 300 --graceful-timeout 5 --timeout 300 --log-level critical app:app"
)
SERVERS = {
    "gunicorn": (f"{_GUNICORN} --workers 2 --worker-class gthread --threads 32", FLASK),
    "gevent": (f"{_GUNICORN} --workers 2 --worker-class gevent", GEVENT),
    "uvicorn": (
        "uvicorn --port {port} --no-access-log --log-level critical --timeout-keep-alive 300 app:app",
        FASTAPI,
    ),
    "aiohttp": ("python app.py", AIOHTTP),
}

# Celery: a task in the place of a request, sent by a program that has a unit of work for each.

TASKS = (
    COMMON
    + """
import concurrent.futures, threading, time
from concurrent.futures import ThreadPoolExecutor
import urllib3
from celery import Celery
from opentelemetry import trace as opentelemetry

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_pool_limit=16,
    broker_transport_options={"global_keyprefix": "soak:"},
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=16,
)
pool = ThreadPoolExecutor(4)
http = urllib3.PoolManager(maxsize=32, block=True)

def say(words, seconds=0):
    if seconds:
        time.sleep(seconds)
    log.warning(words)

@app.task(bind=True, max_retries=1, default_retry_delay=0)
def work(self, number):
    kind = kind_of(number)
    opentelemetry.get_current_span().set_attribute("number", number)
    if kind == "cancel" and not self.request.retries:
        raise self.retry(exc=ConnectionError(f"again {number}"))
    log.warning("%s handler", number)
    job = pool.submit(say, f"{number} pool")
    http.request("GET", f"{TARGET}/sub/{number}").data
    if kind == "timeout":
        late = pool.submit(say, f"{number} late", 0.05)
        try:
            late.result(0.01)
        except concurrent.futures.TimeoutError:
            pass
        log.warning("%s timeout", number)
    job.result()
    if kind == "stream":
        follow.delay(number)
    if kind == "fail":
        raise LookupError(f"failed {number}")

@app.task
def follow(number):
    opentelemetry.get_current_span().set_attribute("number", number)
    log.warning("%s follow", number)

from celery.signals import celeryd_init, worker_process_init

@worker_process_init.connect
@celeryd_init.connect
def begin(**_):
"""
    + TICKING.replace("\n", "\n    ")
)

SENDER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from highlight_autoinstrument import trace
from opentelemetry import trace as opentelemetry
from app import work
from tests.support.soak import header_of

def send(number):
    session, _, request = (header_of(number) or "/").partition("/")
    with trace("send", session_secure_id=session or None, request_id=request or None):
        opentelemetry.get_current_span().set_attribute("number", number)
        work.delay(number)

with ThreadPoolExecutor(8) as senders:
    for _ in senders.map(send, range(int(sys.argv[1]))):
        pass
"""
_CELERY = "celery --app app worker --loglevel CRITICAL --without-gossip --without-mingle --without-heartbeat"
WORKERS = {
    "celery-prefork": f"{_CELERY} --pool prefork --concurrency 2",
    "celery-threads": f"{_CELERY} --pool threads --concurrency 16",
}


# What must have come, for each number


def expected_of(server: str, number: int) -> tuple[list[str], bool]:
    """The records of a number, and whether all of them must be there: of a request that is cut off, some may be."""
    kind = kind_of(number)
    if server in WORKERS:
        return _expected_of_task(kind), True
    records = ["server", "client", "sub", "log handler", "log pool", "log task"]
    if server in ("uvicorn", "aiohttp") and number % 2:
        records.append("log thread")
    if server == "uvicorn":
        records.append("log middleware")
    if kind == "fail":
        records.append("error LookupError")
    if kind == "timeout":
        records += ["log timeout", "log late"]
    if kind in ("stream", "cut"):
        records += [f"log piece {piece}" for piece in range(CHUNKS)]
    return records, kind not in ("cancel", "cut")


def _expected_of_task(kind: str) -> list[str]:
    # The sender's own span and that of sending; the task's and that of its call.
    records = ["internal", "producer", "consumer", "client", "sub", "log handler", "log pool"]
    if kind == "fail":
        records.append("error LookupError")
    if kind == "timeout":
        records += ["log timeout", "log late"]
    if kind == "cancel":  # is tried again
        records += ["producer", "consumer"]
    if kind == "stream":  # another task follows
        records += ["producer", "consumer", "log follow"]
    return records


# The client


@dataclass
class Load:
    """What was sent, and what became of it."""

    port: int
    requests: int
    seconds: float = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Send the requests, many at a time, on connections that are kept as long as nobody cuts them."""
        began = time.monotonic()
        asyncio.run(self._run())
        self.seconds = time.monotonic() - began

    async def _run(self) -> None:
        numbers = iter(range(self.requests))
        await asyncio.gather(*(self._work(numbers) for _ in range(min(AT_A_TIME, self.requests))))

    async def _work(self, numbers: Iterator[int]) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in numbers:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                outcome = await asyncio.wait_for(self._request(number, *connection), PATIENCE_SECONDS)
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                self.wrong.append(f"request {number} ({kind_of(number)}): {error!r}")
                outcome = "lost"
            self.outcomes[outcome] += 1
            if outcome != "answered":
                connection[1].transport.abort() if number % 2 else connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()

    async def _request(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        header = header_of(number)
        ids = f"x-highlight-request: {header}\r\n" if header else ""
        writer.write(f"GET /work/{number} HTTP/1.1\r\nHost: soak\r\n{ids}\r\n".encode())
        kind = kind_of(number)
        if kind == "cancel":
            await asyncio.sleep(number % 7 / 100)
            return "cancelled"
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if kind == "cut":
            await reader.readuntil(b"piece 0\n")
            return "cut off"
        if "transfer-encoding: chunked" in head:
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            found = re.search(r"content-length: (\d+)", head)
            body = await reader.readexactly(int(found[1])) if found else b""
        if kind == "fail":
            if status != 500:
                self.wrong.append(f"request {number} was answered by {status}")
            return "failed"  # after which some servers hang up
        whole = "".join(f"piece {piece}\n" for piece in range(CHUNKS)) if kind == "stream" else f"done {number}"
        if status != 200 or body.decode() != whole:
            self.wrong.append(f"request {number} was answered by {status} {body!r}")
        return "answered"


# What came


@dataclass
class Checked:
    """What has come, and what is wrong with it."""

    records: Counter[str] = field(default_factory=Counter)
    wrong_sessions: list[str] = field(default_factory=list)
    wrong_records: list[str] = field(default_factory=list)
    without_number: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.records.values())


class _Check:
    """Goes through what a sink has, and compares it with what the requests must have left."""

    def __init__(self, server: str) -> None:
        self.checked = Checked()
        self._server = server
        self._seen: dict[int, list[str]] = {}  # the records of each number
        self._traces: dict[str, int] = {}
        self._span_ids: set[str] = set()
        self._unknown: list[tuple[str, str, Any, str]] = []  # what does not say its number: its trace does

    def export(self, signal: str, body: bytes) -> None:
        """Take an export, or a call."""
        if signal == "calls":
            number, header = _call(body)
            self._add(number, "sub", "", _ids_in(header), header)
            return
        spans = decode_traces(body) if signal == "traces" else []
        logs = decode_logs(body) if signal == "logs" else []
        for span in spans:
            if span.span_id in self._span_ids:
                self.checked.wrong_records.append(f"the span {span.name} has come twice")
            self._span_ids.add(span.span_id)
            self._add(_number_of_span(span), span.kind.lower(), span.trace_id, _ids(span.attributes), span.name)
        for log in logs:
            if log.logger == "app" and log.body.startswith("tick "):
                self._add(None, log.body, log.trace_id, _ids(log.attributes), log.body)
            elif log.logger == "app":
                number_text, _, words = log.body.partition(" ")
                self._add(int(number_text), f"log {words}", log.trace_id, _ids(log.attributes), log.body)
            elif "exception.type" not in log.attributes:
                self._add(None, "line", log.trace_id, _ids(log.attributes), f"{log.logger}: {log.body:.80}")
        for error in errors_of(spans, logs):
            found = re.search(r"\d+$", error.message)
            what = f"error {error.type.rpartition('.')[2]}"
            trace_id = error.record.trace_id
            self._add(int(found[0]) if found else None, what, trace_id, _ids(error.attributes), error.message)

    def _add(self, number: int | None, what: str, trace_id: str, ids: Any, text: str) -> None:
        self.checked.records[what.partition(" ")[0]] += 1
        if number is None:
            self._unknown.append((what, trace_id, ids, text))
            return
        self._seen.setdefault(number, []).append(what)
        if trace_id and self._traces.setdefault(trace_id, number) != number:
            self.checked.wrong_sessions.append(f"{what} {text} is in the trace of {self._traces[trace_id]}")
        if not self._is_right(ids, _ids_of(number), trace_id):
            self.checked.wrong_sessions.append(f"{what} {text} has {ids}")

    def _is_right(self, ids: Any, expected: Any, trace_id: str) -> bool:
        """Whether a record has its ids; in a task, which continues its sender's trace, that one's for the request's."""
        continued = trace_id if self._server in WORKERS else expected[1]
        return ids[0] == expected[0] and ids[1] in {expected[1], continued}

    def end(self, requests: int) -> Checked:
        """Compare: `requests` is how many there were."""
        checked, seen = self.checked, self._seen
        for what, trace_id, ids, text in self._unknown:
            number = self._traces.get(trace_id)
            if not self._is_right(ids, _ids_of(number), trace_id):
                checked.wrong_sessions.append(f"{what} {text} has {ids}, and is in the trace of {number}")
            elif what.startswith("tick ") and trace_id:
                checked.wrong_sessions.append(f"{what} is in the trace of {number}")
            elif number is not None and what != "line":
                seen[number].append(what)
            else:
                checked.without_number[f"{what} {re.sub('[0-9]+', 'N', text)}"] += 1
        for number in range(requests):
            expected, whole = expected_of(self._server, number)
            found = sorted(seen.pop(number, []))
            missing, surplus = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
            # One that has left any record has reached the application, and has its span.
            if surplus or (missing and (whole or (found and "server" in missing))):
                words = f"missing {sorted(missing.elements())}, too much {sorted(surplus.elements())}"
                checked.wrong_records.append(f"{number} ({kind_of(number)}): {words}")
        checked.wrong_records += [f"{number} was never sent: {found}" for number, found in seen.items()]
        return checked


def check(sink: Sink, server: str, requests: int) -> Checked:
    """Compare what a sink has with what the requests must have left."""
    comparison = _Check(server)
    for signal, body in sink.exports():
        comparison.export(signal, body)
    return comparison.end(requests)


def _ids_of(number: int | None) -> tuple[str | None, str | None]:
    return _ids_in((number is not None and header_of(number)) or "")


def _ids_in(header: str) -> tuple[str | None, str | None]:
    session, _, request = header.partition("/")
    return session or None, request or None


def _ids(attributes: dict[str, Any]) -> tuple[str | None, str | None]:
    return attributes.get("highlight.session_id"), attributes.get("highlight.trace_id")


def _number_of_span(span: Any) -> int | None:
    if "number" in span.attributes:
        return int(span.attributes["number"])
    url = span.attributes.get("url.path") or span.attributes.get("url.full") or ""
    number = url.rpartition("/")[2]
    return int(number) if number.isdecimal() else None


def _call(head: bytes) -> tuple[int, str]:
    lines = head.decode("latin-1").lower().split("\r\n")
    headers = [line.partition(":")[2].strip() for line in lines[1:] if line.startswith("x-highlight-request:")]
    return int(lines[0].split(" ")[1].rpartition("/")[2]), ", ".join(headers)


# All of it


@dataclass
class Result:
    """What a run has shown."""

    server: str
    load: Load
    checked: Checked
    said: list[str]

    @property
    def wrong(self) -> list[str]:
        return [*self.load.wrong, *self.checked.wrong_sessions, *self.checked.wrong_records, *self.said]


# Whoever sends that much at once waits for none of it to be dropped.
SETTINGS = {"OTEL_BSP_MAX_QUEUE_SIZE": "1000000", "OTEL_BSP_SCHEDULE_DELAY": "200"}


def soak(server: str, requests: int, folder: Path, broker: str = "") -> Result:
    """Run one server and send it the requests. `broker`: Redis, for Celery."""
    sink = Sink(folder / "exports")
    env = {"TARGET": sink.url, "PYTHONPATH": str(sink.root), **SETTINGS}
    try:
        if server in WORKERS:
            env["BROKER"] = broker
            service = Service(
                WORKERS[server], files={"app.py": TASKS}, folder=folder, endpoint=sink.url, env=env, wait=None
            )
        else:
            command, source = SERVERS[server]
            service = Service(command, files={"app.py": source}, folder=folder, endpoint=sink.url, env=env)
        try:
            load = Load(service.port, requests)
            if server in WORKERS:
                _send_tasks(load, folder, sink, env)
            else:
                load.run()
            # Until nothing more comes: cut off requests go on for a while.
            (folder / "quiet").touch()
            _wait_for_silence(sink)
            service.stop()
        finally:
            service.kill()
    finally:
        sink.close()
    said = [*service.agent_lines, *(["the agent has failed:\n" + service.stderr] if _failed(service) else [])]
    return Result(server, load, check(sink, server, requests), said)


def _failed(service: Service) -> bool:
    try:
        service.check()
    except AssertionError:
        return True
    return False


def _send_tasks(load: Load, folder: Path, sink: Sink, env: dict[str, str]) -> None:
    import redis

    began = time.monotonic()
    sender = Service(
        ["python", "send.py", str(load.requests)],
        files={"send.py": SENDER},
        folder=folder,
        endpoint=sink.url,
        env=env,
        wait=None,
        name="sender",
    )
    try:
        status = sender.process.wait(3600)
        if status or _failed(sender):
            load.wrong.append(f"the sender has ended with {status}: {sender.stderr}")
        queue = redis.Redis.from_url(env["BROKER"])
        wait_until(lambda: not queue.llen("soak:celery") and not queue.hlen("soak:unacked"), 3600, "for the tasks")
        queue.close()
    finally:
        sender.kill()
    load.outcomes["sent"] = load.requests
    load.seconds = time.monotonic() - began


def _wait_for_silence(sink: Sink) -> None:
    wait_until(lambda: _is_silent(sink), 120, "for the last records")


def _is_silent(sink: Sink, seconds: float = 2.0) -> bool:
    size = sink.size
    time.sleep(seconds)
    return sink.size == size
