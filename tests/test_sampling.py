"""OTEL_TRACES_SAMPLER leaves out spans, and nothing else: errors, logs and headers are as those of any request."""

from __future__ import annotations

import http.client
import json
import random

import pytest

# Waits until what the request held has gone, and says whether it has.
AFTER = """
import gc, time, weakref

class Thing: pass

def after(thing):
    end = time.monotonic() + 30
    while thing() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    log.warning("gone: %s", thing() is None)
"""
FLASK = (
    AFTER
    + """
import _thread, concurrent.futures, contextvars, json, logging, os, urllib.request
from flask import Flask, Response, request
from opentelemetry import baggage, context, propagate, trace

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
log = app.logger
pool = concurrent.futures.ThreadPoolExecutor(2)

@app.get("/quiet")
def quiet(): return "fine"

@app.get("/log")
def logs():
    log.warning("seen")
    return "fine"

@app.get("/boom")
def boom(): raise ValueError("boom")

@app.get("/stream/<int:fail>")
def stream(fail):
    def chunks():
        yield "one "
        log.warning("between")
        if fail: raise RuntimeError("half-way")
        yield "two"
    return Response(chunks())

@app.get("/closed")
def closed():
    answer = Response("fine")
    answer.call_on_close(lambda: log.warning("closed"))
    return answer

@app.get("/pool")
def pooled():
    work = [pool.submit(log.warning, "job %s", number) for number in range(2)]
    return str([job.result() for job in work])

@app.get("/after")
def afterwards():
    request.environ["app.thing"] = thing = Thing()
    inside = contextvars.Context()  # without Flask's own variables, which have the request
    inside.run(context.attach, context.get_current())  # looks into nothing
    _thread.start_new_thread(inside.run, (after, weakref.ref(thing)))
    return "fine"

@app.get("/call")
def call():
    with urllib.request.urlopen(request.host_url + "echo") as answer:
        return json.loads(answer.read())

@app.get("/echo")
def echo():
    names = ("X-Highlight-Request", "Traceparent")
    return {name.lower(): request.headers[name] for name in names if name in request.headers}

@app.get("/opentelemetry")
def opentelemetry():
    around = context.get_current()
    ids = trace.get_current_span().get_span_context()
    inside = baggage.set_baggage("a", "b")
    same = trace.get_current_span(inside).get_span_context() == ids
    return {"trace": f"{ids.trace_id:032x}", "flags": ids.trace_flags, "same": same,
            "recording": trace.get_current_span().is_recording(), "kept": len(around) == len(dict(around)),
            "current": context.get_current() == around, "injected": "traceparent" in propagated()}

def propagated():
    carrier = {}
    propagate.inject(carrier)
    return carrier

@app.get("/copied")
def copied():
    return {"spans": len({trace.get_current_span({**context.get_current()}).get_span_context().span_id,
                          trace.get_current_span().get_span_context().span_id})}

def outer(environ, start_response):
    if environ["PATH_INFO"] == "/told":
        try:
            raise KeyError("told")
        except KeyError:
            import sys
            start_response("500 Oh", [("Content-Type", "text/plain")], sys.exc_info())
            return iter([b"oh"])
    return app(environ, start_response)

if __name__ == "__main__":
    from werkzeug.serving import run_simple
    run_simple("127.0.0.1", int(os.environ["PORT"]), outer, threaded=True)
"""
)
FASTAPI = (
    AFTER
    + """
import asyncio, http, logging, os
import httpx, uvicorn
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from opentelemetry import baggage, context, propagate, trace

app = FastAPI()
log = logging.getLogger("app")

@app.get("/quiet", response_class=PlainTextResponse)
async def quiet(): return "fine"

@app.get("/log", response_class=PlainTextResponse)
async def logs():
    log.warning("seen")
    return "fine"

@app.get("/boom")
async def boom(): raise ValueError("boom")

@app.get("/stream/{fail}")
async def stream(fail: int):
    async def chunks():
        yield "one "
        log.warning("between")
        if fail: raise RuntimeError("half-way")
        yield "two"
    return StreamingResponse(chunks())

@app.get("/closed", response_class=PlainTextResponse)
async def closed(tasks: BackgroundTasks):
    tasks.add_task(log.warning, "closed")
    return "fine"

@app.get("/pool", response_class=PlainTextResponse)
async def pooled():
    task = asyncio.create_task(asyncio.to_thread(log.warning, "job 0"))
    return str([await task, log.warning("job 1")])

@app.get("/after", response_class=PlainTextResponse)
async def afterwards(request: Request):
    request.scope["app.thing"] = thing = Thing()
    app.state.kept = request.scope["type"]  # as whoever copies a scope does
    app.state.task = asyncio.create_task(asyncio.to_thread(after, weakref.ref(thing)))
    return "fine"

@app.get("/call")
async def call(request: Request):
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{request.base_url}echo")).json()

@app.get("/echo")
async def echo(request: Request):
    return {name: request.headers[name] for name in ("x-highlight-request", "traceparent") if name in request.headers}

@app.get("/opentelemetry")
def opentelemetry():
    around = context.get_current()
    ids = trace.get_current_span().get_span_context()
    inside = baggage.set_baggage("a", "b")
    same = trace.get_current_span(inside).get_span_context() == ids
    carrier = {}
    propagate.inject(carrier)
    return {"trace": f"{ids.trace_id:032x}", "flags": ids.trace_flags, "same": same,
            "recording": trace.get_current_span().is_recording(), "kept": len(around) == len(dict(around)),
            "current": context.get_current() == around, "injected": "traceparent" in carrier}

@app.get("/copied")
async def copied():
    return {"spans": len({trace.get_current_span({**context.get_current()}).get_span_context().span_id,
                          trace.get_current_span().get_span_context().span_id})}

@app.get("/told")
async def told(): raise KeyError("told")

@app.exception_handler(KeyError)
async def answer(request, error): return PlainTextResponse("oh", http.HTTPStatus.INTERNAL_SERVER_ERROR)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
"""
)
REQUEST_ID = "fedcba9876543210fedcba9876543210"
KEPT_ID = "fedcba987654321000000000000000ff"  # its lower half is among the first hundredth of all
ODD_ID = "0123456789abcdef-123456789abcdef"  # a number to Python, in part or as a whole, and no trace's id
HEADERS = {"x-highlight-request": f"s1/{REQUEST_ID}"}
PARENT = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(params=[FLASK, FASTAPI], ids=["flask", "fastapi"])
def service(request, run_service):
    def run(sampler="always_off", ratio="0.01"):
        variables = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": ratio}
        return run_service("python app.py", files={"app.py": request.param}, env=variables)

    return run


def of(log):
    return log.body, log.session, log.highlight_trace, log.trace_id


@pytest.mark.parametrize(
    "sampler", ["always_off", "parentbased_traceidratio", "traceidratio", "parentbased_always_off"]
)
def test_what_is_left_out_of_the_sample_is_spans(service, receiver, sampler):
    service = service(sampler)
    assert service.get("/quiet", HEADERS).text == "fine"
    assert service.get("/log", HEADERS).text == "fine"
    assert service.get("/pool", HEADERS).text == "[None, None]"
    assert service.get("/stream/0", HEADERS).text == "one two"
    assert service.get("/closed", HEADERS).text == "fine"

    receiver.wait(logs=5)
    receiver.settle()
    bodies = ["between", "closed", "job 0", "job 1", "seen"]
    assert sorted(map(of, receiver.logs)) == [(body, "s1", REQUEST_ID, REQUEST_ID) for body in bodies]
    assert (receiver.spans, receiver.errors) == ([], [])


def test_what_goes_on_after_the_answer_has_the_ids_and_does_not_keep_the_request(service, receiver):
    service = service()
    assert service.get("/after", HEADERS).text == "fine"
    receiver.wait(logs=1)
    receiver.settle()
    assert list(map(of, receiver.logs)) == [("gone: True", "s1", REQUEST_ID, REQUEST_ID)]
    assert (receiver.spans, receiver.errors) == ([], [])


def test_errors_are_all_sent(service, receiver):
    service = service()
    assert service.get("/boom", HEADERS).status == 500
    assert service.get("/told", HEADERS).text == "oh"
    with pytest.raises(http.client.IncompleteRead):
        service.get("/stream/1", HEADERS)

    receiver.wait(errors=3, logs=2)
    receiver.settle()
    assert sorted((e.type, e.message, e.session, e.highlight_trace, e.record.trace_id) for e in receiver.errors) == [
        ("KeyError", "'told'", "s1", REQUEST_ID, REQUEST_ID),
        ("RuntimeError", "half-way", "s1", REQUEST_ID, REQUEST_ID),
        ("ValueError", "boom", "s1", REQUEST_ID, REQUEST_ID),
    ]
    assert receiver.spans == []


def test_one_span_stands_for_a_request_all_along(service, receiver):
    service = service()
    told = json.loads(service.get("/opentelemetry", HEADERS).text)
    assert told == {
        "trace": REQUEST_ID,
        "flags": 0,
        "same": True,
        "recording": False,
        "kept": True,
        "current": True,
        "injected": True,
    }
    assert json.loads(service.get("/copied", HEADERS).text) == {"spans": 1}
    receiver.settle()
    assert receiver.spans == []


def test_the_ids_go_on(service, receiver):
    service = service()
    sent = json.loads(service.get("/call", HEADERS).text)
    assert sent["x-highlight-request"] == f"s1/{REQUEST_ID}"
    assert sent["traceparent"].startswith(f"00-{REQUEST_ID}-")
    assert sent["traceparent"].endswith("-00")
    receiver.settle()
    assert receiver.spans == []


@pytest.mark.parametrize(
    ("headers", "session", "trace"),
    [
        ({}, None, None),
        ({"cookie": "sessionSecureID=fromcookie"}, "fromcookie", None),
        ({"baggage": "highlight.session_id=frombaggage"}, "frombaggage", None),
        ({"x-highlight-request": "s1/short"}, "s1", "short"),
        ({"x-highlight-request": f"s1/{ODD_ID}"}, "s1", ODD_ID),
        ({"x-highlight-request": f"s1/-{REQUEST_ID[1:]}"}, "s1", f"-{REQUEST_ID[1:]}"),
        ({"x-highlight-request": f"a/b, s1/{REQUEST_ID}"}, "a", "b"),
        ({"x-highlight-request": f"\xe9/{REQUEST_ID}", "cookie": "sessionID=c1"}, "c1", None),
        ({**HEADERS, "traceparent": f"00-{PARENT}-b7ad6b7169203331-00"}, "s1", PARENT),
        ({"traceparent": f"00-{PARENT}-b7ad6b7169203331-00", "cookie": "sessionID=c1"}, "c1", PARENT),
        ({**HEADERS, "traceparent": f"00-{PARENT}-b7ad6b7169203331-00", "tracestate": "a=b"}, "s1", PARENT),
        ({**HEADERS, "traceparent": "nonsense"}, "s1", REQUEST_ID),
    ],
)
def test_whatever_came_in_is_read(service, receiver, headers, session, trace):
    service = service("always_off")
    service.get("/log", headers)
    receiver.wait(logs=1)
    receiver.settle()
    assert [(log.body, log.session, log.highlight_trace) for log in receiver.logs] == [("seen", session, trace)]
    assert (receiver.spans, receiver.errors) == ([], [])


def test_the_parent_decides_where_there_is_one(service, receiver):
    service = service("parentbased_always_on")
    for flags in ("00", "01", "02", "03"):
        service.get("/log", {**HEADERS, "traceparent": f"00-{PARENT}-b7ad6b7169203331-{flags}"})
    receiver.wait(spans=2, logs=4)
    receiver.settle()
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(PARENT, "b7ad6b7169203331")] * 2
    assert [of(log) for log in receiver.logs] == [("seen", "s1", PARENT, PARENT)] * 4


@pytest.mark.parametrize(
    "request_id", [ODD_ID, f"0x{'1' * 30}", f"-{REQUEST_ID[1:]}", f"+{REQUEST_ID[1:]}", f"{'_'.join('0' * 16)}1"]
)
def test_an_id_that_is_a_number_in_another_way_is_no_trace(service, receiver, request_id):
    service = service("always_on")
    service.get("/log", {"x-highlight-request": f"s1/{request_id}"})
    receiver.wait(spans=1, logs=1)
    receiver.settle()
    assert [(log.body, log.session, log.highlight_trace) for log in receiver.logs] == [("seen", "s1", request_id)]
    (span,) = receiver.spans
    assert (span.session, span.highlight_trace, len(span.trace_id)) == ("s1", request_id, 32)
    assert request_id[2:] not in span.trace_id


@pytest.mark.parametrize("sampler", ["parentbased_traceidratio", "traceidratio"])
def test_the_ratio_goes_by_the_traces_id_wherever_that_comes_from(service, receiver, sampler):
    service = service(sampler)
    service.get("/quiet", HEADERS)
    service.get("/quiet", {"x-highlight-request": f"s1/{KEPT_ID}"})
    if sampler == "traceidratio":
        service.get("/quiet", {"traceparent": f"00-{KEPT_ID}-b7ad6b7169203331-00"})
        service.get("/quiet", {"traceparent": f"00-{PARENT}-b7ad6b7169203331-01"})
    expected = 2 if sampler == "traceidratio" else 1
    receiver.wait(spans=expected)
    receiver.settle()
    assert [(span.name, span.trace_id) for span in receiver.spans] == [("GET /quiet", KEPT_ID)] * expected


def test_calls_go_by_the_sample_of_their_request(service, receiver):
    service = service("traceidratio", "0.5")
    for number in range(20):
        headers = {"x-highlight-request": f"s1/short{number}"} if number % 2 else {}
        assert json.loads(service.get("/call", headers).text)["traceparent"].endswith(("-00", "-01"))
    receiver.settle()
    named = {}
    for span in receiver.spans:
        named.setdefault(span.trace_id, []).append((span.name, span.kind))
    # Of each trace there is all or nothing.
    whole = [("GET", "CLIENT"), ("GET /call", "SERVER"), ("GET /echo", "SERVER")]
    assert [sorted(spans) for spans in named.values()] == [whole] * len(named)
    assert 0 < len(named) < 20


def test_middleware_may_change_what_came_in(run_python, receiver):
    done = run_python(
        """
import logging
from flask import Flask
from werkzeug.test import create_environ

app = Flask(__name__)
plain = app.wsgi_app

@app.get("/log")
def logs():
    logging.getLogger("shop").warning("seen")
    return "fine"

def taking_away(environ, start_response):
    for name in ("HTTP_X_HIGHLIGHT_REQUEST", "HTTP_COOKIE"):
        environ.pop(name, None)
    return plain(environ, start_response)

def exchanging(environ, start_response):
    environ["HTTP_X_HIGHLIGHT_REQUEST"] = "other/" + "1" * 32
    return plain(environ, start_response)

for app.wsgi_app in (taking_away, exchanging):
    for headers in ({"x-highlight-request": "s1/" + "f" * 32}, {"cookie": "sessionID=s1"}):
        b"".join(app(create_environ("/log", headers=headers), lambda status, headers: None))
""",
        env={"OTEL_TRACES_SAMPLER": "always_off"},
    )
    assert done.returncode == 0, done.stderr
    receiver.wait(logs=4)
    receiver.settle()
    assert [(log.body, log.session) for log in receiver.logs] == [("seen", "s1")] * 4


def test_a_request_that_is_over_is_not_taken_for_the_one_that_it_makes(run_python, receiver):
    done = run_python(
        """
import _thread, contextvars, logging, threading
from flask import Flask, request
from opentelemetry import context

app = Flask(__name__)
go, done = threading.Event(), threading.Event()

def ask(session, query=""):
    app.test_client().get("/x" + query, headers={"x-highlight-request": session + "/" + "f" * 32})

def job():
    go.wait(30)
    ask("s2")
    done.set()

@app.get("/x")
def x():
    if "first" in request.args:
        inside = contextvars.Context()
        inside.run(context.attach, context.get_current())
        _thread.start_new_thread(inside.run, (job,))
    else:
        logging.getLogger("shop").warning("seen")
    return "fine"

ask("s1", "?first=1")
go.set()
done.wait(30)
""",
        env={"OTEL_TRACES_SAMPLER": "always_off"},
    )
    assert done.returncode == 0, done.stderr
    receiver.wait(logs=1)
    receiver.settle()
    assert [(log.body, log.session) for log in receiver.logs] == [("seen", "s2")]


@pytest.mark.parametrize("headers", [{}, {"x-highlight-request": "s1/0123abcXYZ"}, {"cookie": "sessionID=c1"}])
@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_the_share_of_traces_that_begin_here_is_the_one_asked_for(service, receiver, sampler, headers):
    service = service(sampler, "0.5")
    for _ in range(400):
        service.get("/quiet", headers)
    receiver.settle()
    # Six standard deviations on either side; drawn twice, they were 100.
    assert 140 < len(receiver.spans) < 260
    assert len({span.trace_id for span in receiver.spans}) == len(receiver.spans)
    assert (receiver.logs, receiver.errors) == ([], [])


@pytest.mark.parametrize("form", ["s1/{}", "s1/{}, s1/{other}", "s1/{} , s1/{other}", "s1/{}/{other}", "s1/ {}"])
@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_browsers_trace_is_sampled_by_its_own_id(service, receiver, sampler, form):
    numbers = random.Random(form)
    ids = [f"{numbers.getrandbits(128):032x}" for _ in range(40)]
    kept = {trace for trace in ids if int(trace[16:], 16) < 1 << 63}
    service = service(sampler, "0.5")
    for trace in ids:
        other = f"{numbers.getrandbits(128):032x}"
        service.get("/log", {"x-highlight-request": form.format(trace, other=other)})

    receiver.wait(spans=len(kept), logs=40)
    receiver.settle()
    assert sorted(span.trace_id for span in receiver.spans) == sorted(kept)
    assert [of(log) for log in receiver.logs] == [("seen", "s1", trace, trace) for trace in ids]


# As the ordinary request, whose baggage is read when it comes, the one that is put off.
IN_PROCESS = """
import logging
from flask import Flask
from opentelemetry import context, trace
from werkzeug.test import create_environ

log = logging.getLogger("shop")
log.propagate = False
log.addHandler(logging.NullHandler())
app = Flask(__name__)
app.logger.disabled = True
framework = app.wsgi_app

def ask(path, **headers):
    environ = create_environ(path, base_url="http://shop.example", headers=headers)
    try:
        return b"".join(app(environ, lambda status, headers, *_: None))
    except KeyError:
        pass

S1 = {"x-highlight-request": "s1/" + "f" * 32}
S2 = {"x-highlight-request": "s2/" + "e" * 32}
"""


@pytest.fixture
def in_process(run_python, receiver):
    def run(program, **env):
        done = run_python(IN_PROCESS + program, env={"OTEL_TRACES_SAMPLER": "always_off", **env})
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        receiver.settle()
        assert receiver.spans == []
        return done.stdout

    return run


def test_a_request_that_is_looked_into_with_the_last_of_the_stack_is_begun_later(in_process, receiver):
    in_process("""
import sys

def go(depth):
    if depth: return go(depth - 1)
    trace.get_current_span()

def serve(environ, start_response):
    try: go(int(environ["PATH_INFO"][1:]))
    except RecursionError: pass
    log.warning("after")
    raise KeyError("left")

app.wsgi_app = serve
limit = sys.getrecursionlimit()
for depth in range(limit - 60, limit):
    ask(f"/{depth}", **S1)
""")
    assert [(log.body, log.session) for log in receiver.logs] == [("after", "s1"), ("KeyError: 'left'", "s1")] * 60
    assert [(error.message, error.session) for error in receiver.errors] == [("'left'", "s1")] * 60


def test_a_time_limit_of_the_applications_reaches_it_wherever_its_signal_comes(in_process, receiver):
    said = in_process(
        """
import signal, sys, time

class TooLate(Exception): pass

def late(*_): raise TooLate

signal.signal(signal.SIGALRM, late)
places, stopped = [], 0

def at_each_place(frame, event, argument):  # of ours, while a request is looked into, one after another
    if event == "call" and "highlight_autoinstrument" in frame.f_code.co_filename:
        frame.f_trace_opcodes = False
        return count
    return None

def count(frame, event, argument):
    global left
    if event == "line":
        left -= 1
        if left == 0:
            sys.settrace(None)
            signal.raise_signal(signal.SIGALRM)
    return count

def serve(environ, start_response):
    global stopped
    try:
        sys.settrace(at_each_place)
        trace.get_current_span()
        sys.settrace(None)
    except TooLate:
        stopped += 1
    log.warning("after")
    raise KeyError("left")

app.wsgi_app = serve
tries = 0
while True:
    tries += 1
    left = tries
    ask("/", **S1)
    sys.settrace(None)
    if left > 0:  # there are no more places
        break
print(tries > 30, stopped == tries - 1)
""",
        HIGHLIGHT_RAISE_ERRORS="false",
    )
    assert said == "True True\n"
    tries = len(receiver.errors)
    assert tries > 30
    assert [(log.body, log.session) for log in receiver.logs] == [("after", "s1"), ("KeyError: 'left'", "s1")] * tries
    assert [(error.message, error.session) for error in receiver.errors] == [("'left'", "s1")] * tries


def test_a_request_that_ends_while_a_thread_looks_into_it_is_over(in_process, receiver):
    in_process("""
import _thread, threading
from highlight_autoinstrument import incoming

began, go, done = threading.Event(), threading.Event(), threading.Event()
plain = incoming.unit

def slow(*args, **options):
    unit = plain(*args, **options)
    if not began.is_set():
        began.set()
        go.wait(30)
    return unit

incoming.unit = slow

def job(inside):
    context.attach(inside)
    trace.get_current_span()
    ask("/", **S2)
    done.set()

def serve(environ, start_response):
    if not began.is_set():
        _thread.start_new_thread(job, (context.get_current(),))
        began.wait(30)
    else:
        log.warning("in the second")
    start_response("200 OK", [])
    return [b"fine"]

app.wsgi_app = serve
ask("/", **S1)
go.set()
done.wait(30)
""")
    assert [(log.body, log.session) for log in receiver.logs] == [("in the second", "s2")]


def test_what_a_request_asks_for_is_what_it_asked_for_when_it_came(in_process, receiver):
    in_process("""
other = Flask("other")

@other.get("/b")
def inner():
    log.warning("inside")
    return "fine"

@app.get("/b")
def outer():
    other.test_client().get("/b", base_url="http://shop.example", headers=S2)
    return "fine"

def rewriting(environ, start_response):
    environ["PATH_INFO"] = "/b"
    return framework(environ, start_response)

app.wsgi_app = rewriting
ask("/a", **S1)
""")
    assert [(log.body, log.session) for log in receiver.logs] == [("inside", "s2")]


def test_a_session_is_as_old_as_it_was_when_the_request_came(in_process, receiver):
    in_process("""
import json, time, urllib.parse

now = time.time_ns
data = urllib.parse.quote(json.dumps({"sessionSecureID": "abc", "lastPushTime": now() // 10**6}))

@app.get("/")
def stream():
    def chunks():
        yield "a quarter of an hour"
        time.time_ns = lambda: now() + 16 * 60 * 10**9
        log.warning("late")
    return app.response_class(chunks())

ask("/", cookie="sessionData_abc=" + data)
""")
    assert [(log.body, log.session) for log in receiver.logs] == [("late", "abc")]


def test_a_request_is_the_same_one_in_both_processes_of_a_fork(in_process, receiver):
    in_process("""
import os

@app.get("/")
def fork():
    child = os.fork()
    if child == 0:
        log.warning("child")
        from highlight_autoinstrument import flush
        flush(10)
        os._exit(0)
    os.waitpid(child, 0)
    log.warning("parent")
    return "fine"

ask("/", cookie="sessionID=c1")
""")
    child, parent = receiver.logs
    assert [(log.body, log.session) for log in (child, parent)] == [("child", "c1"), ("parent", "c1")]
    assert (child.trace_id, child.span_id) == (parent.trace_id, parent.span_id)
