"""Whatever comes in, is raised or is logged: nothing fails, and nothing goes out that was not sound when it came in.

HYPOTHESIS_PROFILE=long looks for longer, and elsewhere each time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from highlight_autoinstrument import (
    api,
    asgi,
    context,
    errors,
    grpc_server,
    guard,
    incoming,
    logs,
    messaging,
    otlp,
    outgoing,
    recording,
    spans,
    unread,
    wsgi,
)
from tests.support.records import decode_logs
from tests.support.services import LAUNCHER, agent_environment

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
PROFILE = settings(
    max_examples=20_000 if LONG else 200, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.fixture(autouse=True)
def failures_raise(monkeypatch):
    """A failure that the guard would hold fails the test."""
    monkeypatch.setattr(guard, "raises", True)


# What comes in

NAMES = st.sampled_from(
    ["x-highlight-request", "X-Highlight-Request", "traceparent", "tracestate", "baggage", "cookie", "host", "x"]
)
PARTS = st.sampled_from(
    [
        *("S/R", "S", "/", ",", ";", "=", " ", "%2F", "%", "null", "\r\n", "\0", "é", "\udcff", '"', "{}"),
        *("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1", "sessionSecureID=", "sessionData_"),
        *("highlight.session_id=", "x-highlight-request=", "lastPushTime", "x" * 300, "[" * 2000),
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=6).map("".join))
BYTES = st.one_of(st.binary(max_size=40), TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, BYTES, BYTES.map(bytearray), BYTES.map(memoryview)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=5,
)
NAME_IN_ANY_FORM = st.one_of(NAMES, NAMES.map(str.encode), ANYTHING)
HEADERS = st.one_of(
    st.lists(st.tuples(NAME_IN_ANY_FORM, ANYTHING), max_size=5),
    st.dictionaries(st.one_of(NAMES, NAMES.map(str.encode)), ANYTHING, max_size=5),
    st.lists(st.lists(ANYTHING, max_size=3), max_size=3),
    ANYTHING,
)


def check_what_goes_out(work):
    """In a unit of work: the headers that a call would get are sound, and are read by the next service as the same."""
    token = work.attach()
    try:
        pairs = dict(outgoing.pairs())
    finally:
        work.detach(token)
    for name, value in pairs.items():
        assert re.fullmatch("[a-z-]+", name)
        assert re.fullmatch("[ -~]{1,1024}", value)
    assert incoming.read(pairs.get)[0] == work.unit.ids
    ids = work.unit.span.parent
    assert pairs["traceparent"] == f"00-{ids[0]:032x}-{ids[1]:016x}-{ids[2]:02x}"
    for value in work.unit.attributes.values():
        assert re.fullmatch("[ -~]{1,256}", value)


@PROFILE
@given(HEADERS)
@example([("x-highlight-request", b"S" * 1_000_000)])
@example([(b"x-highlight-request", b"a/b"), (b"X-Highlight-Request", b"c/d")])
def test_any_headers_of_a_message(headers):
    get = messaging.getter(headers)
    check_what_goes_out(incoming.begin("message", spans.CONSUMER, get, {}))
    found = api.parse_headers(headers)
    assert all(value is None or re.fullmatch("[ -~]{1,256}", value) for value in found)
    with messaging.process("kafka", "orders", headers):
        pass


@PROFILE
@given(st.lists(st.tuples(NAMES, st.one_of(TEXTS, BYTES)), max_size=6))
def test_any_metadata_of_a_grpc_call(metadata):
    check_what_goes_out(grpc_server.begin("/Shop/Order", metadata))


@PROFILE
@given(st.lists(st.tuples(NAMES.map(str.lower).map(str.encode), BYTES), max_size=8), BYTES, TEXTS)
def test_any_headers_of_an_asgi_request(headers, query, path):
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": headers}
    before = repr(scope)
    request = asgi.Request(scope, send=None, is_inner=False)
    check_what_goes_out(request.work)
    assert repr(scope) == before


@PROFILE
@given(st.dictionaries(NAMES, TEXTS, max_size=6), TEXTS, TEXTS)
def test_any_environ_of_a_wsgi_request(headers, path, query):
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    environ |= {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query}
    before = dict(environ)
    request = wsgi._opened(environ, start_response=None)
    check_what_goes_out(request.work)
    request.end()
    assert environ == before


@contextmanager
def sampling(**attributes):
    """The sampler that leaves out everything, or what differs from it."""
    with ExitStack() as stack:
        for name, value in {
            "keeps_all": False,
            "keeps_new": False,
            "bound": 0,
            "by_parent": False,
            **attributes,
        }.items():
            stack.enter_context(mock.patch.object(recording, name, value))
        yield


TRACES = st.integers(min_value=1, max_value=(1 << 128) - 1).map("{:032x}".format)
FORMS = st.sampled_from(
    ["s1/{}", "s1/{}, s2/{}", "s1/{} ,x", " s1 / {} ", "{}", "/{}", "s1/{}/{}", "a,s1/{}", "null/{}"]
)
IDS = st.one_of(TRACES, TRACES.map(str.upper), st.text("0123456789abcdefxX_+- ", max_size=34), TEXTS)
CAME = st.fixed_dictionaries(
    {},
    optional={
        "x-highlight-request": st.builds(lambda form, one, two: form.format(one, two), FORMS, IDS, IDS),
        "cookie": st.one_of(TEXTS, st.builds("sessionID={}".format, IDS)),
        "traceparent": st.one_of(TEXTS, st.builds("00-{}-00000000000000ab-0{}".format, TRACES, st.integers(0, 3))),
        "tracestate": TEXTS,
        "host": TEXTS,
    },
)


@PROFILE
@given(CAME, TEXTS, st.booleans())
def test_a_request_that_is_put_off_is_the_one_that_it_would_have_been(came, path, by_parent):
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in came.items()}
    environ |= {"REQUEST_METHOD": "GET", "SERVER_NAME": "here", "PATH_INFO": path}
    with sampling(by_parent=by_parent):
        late = wsgi._opened(dict(environ), start_response=None).work.unit
        with mock.patch.object(unread, "put_off", return_value=0):
            early = wsgi._opened(dict(environ), start_response=None).work.unit
    assert (late.ids, late.trace_id, late.asked) == (early.ids, early.trace_id, early.asked)
    assert (late.span.parent_id, late.span.sampled) == (early.span.parent_id, early.span.sampled)
    if early.span.parent_id or (early.ids and early.trace_id == f"{early.span.trace_id:032x}"):
        assert late.span.trace_id == early.span.trace_id


@PROFILE
@given(CAME, TRACES)
def test_what_is_put_off_is_what_the_sampler_leaves_out(came, bound):
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in came.items()}
    with sampling(bound=int(bound[16:], 16)):
        request = wsgi._opened({"REQUEST_METHOD": "GET", **environ}, start_response=None)
        span = request.work.unit.span
        assert span.sampled == recording.sample(None, span.trace_id)


# What is raised


class Raising(type):
    """A metaclass that answers nothing."""

    def __getattribute__(cls, name):
        raise KeyError(name)


def raises(self, *_):
    raise SystemExit


def hostile(*names, slots=False, base=Exception, metaclass=type):
    namespace = dict.fromkeys(names, raises)
    namespace |= {name: property(raises) for name in names if name in PROPERTIES}
    if slots:
        namespace["__slots__"] = ()
    return metaclass("Hostile", (base,), namespace)


PROPERTIES = ("__traceback__", "__cause__", "__context__", "__notes__", "__class__", "exceptions", "__dict__", "args")
METHODS = ("__str__", "__repr__", "__getattribute__", "__setattr__", "__hash__", "__eq__", "__bool__", "__reduce__")
BUILT_IN = (ValueError, KeyError, OSError, RecursionError, MemoryError, BaseException)
CLASSES = st.one_of(
    st.sampled_from(BUILT_IN),
    st.builds(
        lambda names, slots, base, metaclass: hostile(*names, slots=slots, base=base, metaclass=metaclass),
        st.lists(st.sampled_from(PROPERTIES + METHODS), max_size=4),
        st.booleans(),
        st.sampled_from([Exception, BaseException, KeyError]),
        st.sampled_from([type, Raising]),
    ),
)


@st.composite
def exceptions(draw):
    """An exception, raised or not, with whatever chained to it, in whatever circles."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(CLASSES)
        args = draw(st.lists(TEXTS, max_size=2))
        error = kind(*args) if any(kind is each for each in BUILT_IN) else BaseException.__new__(kind, *args)
        if draw(st.booleans()):
            try:
                raise error
            except BaseException:  # noqa: BLE001
                pass
        made.append(error)
    for name in ("__cause__", "__context__"):
        for error in made:
            if draw(st.booleans()):
                BaseException.__dict__[name].__set__(error, made[draw(st.integers(0, len(made) - 1))])
    error = made[0]
    if sys.version_info >= (3, 11) and all(issubclass(type(one), Exception) for one in made):
        for _ in range(draw(st.sampled_from([0, 0, 1, 3, 1000]))):
            error = ExceptionGroup("group", [error, *made[1:2]])  # noqa: F821 - there from 3.11 on
    return Box(error)


class Box:
    """Holds what must not be shown."""

    def __init__(self, error):
        self.error = error


class Itself(Exception):  # noqa: N818
    """A group that holds itself, many times."""

    @property
    def exceptions(self):
        return (self,) * 50


@PROFILE
@given(exceptions())
@example(Box(Itself()))
def test_any_exception(box):
    error = box.error
    unit = incoming.begin("work", spans.INTERNAL, {}.get, {}).unit
    errors.is_error(error)
    errors.type_name(error).encode()
    errors.home_of(error)
    errors.claim(error, unit)
    assert not errors.claim(error, unit) or type(error).__dict__.get("__slots__") is not None
    described = errors.described(error)
    assert described["exception.message"]
    assert described["exception.type"]
    assert re.search(r"Traceback \(most recent call last\):\n", described["exception.stacktrace"])
    json.loads(described["exception.structured_stacktrace"])
    guard.summary(error)
    guard.origin(error)
    record = logs.LogRecord(40, "body", {"error": logs.simple(error), **described}, time_ns=0, logger="")
    (decoded,) = decode_logs(otlp.request(otlp.resource({}), [(otlp.scope("s", "1"), [otlp.log(record)])]))
    assert decoded.body == "body"
    with pytest.raises(BaseException) as caught, messaging.process("kafka", "orders", None):
        raise error
    assert caught.value is error
    assert context.current() is None


# What is logged

MADE = st.sampled_from(
    [
        "hostile",
        "failure",
        "raised",
        "number",
        "str",
        "pairs",
        "bytes",
        "nan",
        "infinity",
        "surrogate",
        "set",
        "error",
        "group",
        "nobody",
        "tuple",
        "endless",
    ]
)
RECIPES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 70), 1 << 70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8"), max_size=9),
        st.sampled_from(["%s", "%d", "%(a)s", "{}", "{a}", "%", " <b>"]),
        MADE.map(lambda name: {"make": name}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "level", "user", "1"]), inner, max_size=3)
    ),
    max_leaves=5,
)
LEVELS = st.one_of(st.sampled_from([10, 20, 30, 40, 50, {"make": "number"}]), st.integers(-5, 200))
EXTRA_NAMES = st.sampled_from(["level", "exception.type", "user", "a", "service.name", "stack", "logger"])
FIELDS = st.sampled_from(
    [
        "msg",
        "args",
        "exc_info",
        "exc_text",
        "stack_info",
        "lineno",
        "funcName",
        "pathname",
        "created",
        "process",
        "thread",
        "extra",
        "message",
        "name",
    ]
)


class Program:
    """The program that logs, bare or under the agent."""

    def __init__(self, folder: Path, endpoint: str, *, bare: bool) -> None:
        env = agent_environment(endpoint, HIGHLIGHT_RAISE_ERRORS="false", HIGHLIGHT_SPOOL_DIR=str(folder / "spool"))
        env |= {"HIGHLIGHT_LOG_LEVEL": "DEBUG", "OTEL_BSP_MAX_QUEUE_SIZE": "100000"}
        self.stderr = (folder / f"stderr{bare}").open("w+")
        program = Path(__file__).parent / "properties" / "records.py"
        command = [sys.executable, str(program)] if bare else [str(LAUNCHER), sys.executable, str(program)]
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, text=True
        )

    def ask(self, line: str) -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def close(self) -> str:
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(30) == 0
        self.stderr.seek(0)
        with self.stderr:
            return self.stderr.read()


def test_any_log_record(receiver, tmp_path, monkeypatch):
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)  # two processes that would differ
    bare, ours = (Program(tmp_path, receiver.url, bare=bare) for bare in (True, False))
    asked = 0

    @settings(PROFILE, max_examples=5000 if LONG else 300)
    @given(
        st.sampled_from(["logging", "record", "loguru", "structlog"]),
        LEVELS,
        RECIPES,
        st.lists(RECIPES, max_size=3),
        RECIPES,
        st.dictionaries(EXTRA_NAMES, RECIPES, max_size=3),
        st.dictionaries(FIELDS, RECIPES, max_size=4),
    )
    def same(library, level, message, args, exc_info, extra, record):
        nonlocal asked
        asked += 1
        recipe = {"library": library, "level": level, "message": message, "args": args, "exc_info": exc_info}
        line = json.dumps({**recipe, "extra": extra, "record": record})
        assert plain(ours.ask(line)) == plain(bare.ask(line))

    try:
        same()
        for library in ("logging", "loguru", "structlog"):
            recipe = {"library": library, "level": 40, "message": f"{library} goes on", "args": [], "exc_info": None}
            line = json.dumps({**recipe, "extra": {}, "record": {}})
            assert ours.ask(line) == bare.ask(line)
    finally:
        said = ours.close()
        bare.close()
    assert said == ""
    assert len(receiver.logs) <= asked + 3
    assert [log.body for log in receiver.logs][-3:] == [
        f"{library} goes on" for library in ("logging", "loguru", "structlog")
    ]


def plain(answer: str) -> str:
    """Without addresses in memory."""
    return re.sub("[0-9a-f]{8,16}", "N", answer)
