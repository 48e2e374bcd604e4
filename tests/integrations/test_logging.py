"""The standard library's logging: what is sent of a record, and that nothing else happens to it."""

from __future__ import annotations

import sys
import time

import pytest

BEGIN = """
import logging, sys
from highlight_autoinstrument import record_exception, trace
root = logging.getLogger()
"""


@pytest.fixture
def run(run_python):
    def run(program, **options):
        done = run_python(BEGIN + program, **options)
        assert done.returncode == 0, done.stderr
        assert "highlight: " not in done.stderr
        return done

    return run


def told(receiver):
    return [(log.severity_text, log.logger, log.body) for log in receiver.logs]


def extras(log):
    own = ("logger.name", "code.", "highlight.", "exception.")
    return {key: value for key, value in log.attributes.items() if not key.startswith(own)}


def test_a_record_arrives_with_all_that_is_known_of_it(run, receiver, tmp_path):
    (tmp_path / "program.py").write_text(
        BEGIN
        + """
def order(number):
    logging.getLogger("shop.orders").warning("order %s of %r", number, "Ada", extra={"customer": 7}, stack_info=True)

with trace("work", session_secure_id="session1", request_id="request1"):
    order(13)
root.error("outside")
"""
    )
    before = time.time_ns()
    run(f"sys.path.insert(0, {str(tmp_path)!r}); import program")
    after = time.time_ns()

    receiver.wait(spans=1, logs=2)
    [span] = receiver.spans
    inside, outside = receiver.logs
    stack = inside.attributes.pop("code.stacktrace")
    assert stack.startswith("Stack (most recent call last):\n")
    assert stack.splitlines()[-1].strip().startswith('logging.getLogger("shop.orders").warning(')
    assert inside.body == "order 13 of 'Ada'"
    assert (inside.severity_text, inside.severity_number) == ("WARN", 13)
    assert (inside.trace_id, inside.span_id) == (span.trace_id, span.span_id)
    assert inside.attributes == {
        "highlight.session_id": "session1",
        "highlight.request_id": "request1",
        "highlight.trace_id": "request1",
        "logger.name": "shop.orders",
        "code.function.name": "order",
        "code.file.path": str(tmp_path / "program.py"),
        "code.line.number": 7,
        "customer": 7,
    }
    assert before < inside.time_ns <= inside.observed_ns < outside.time_ns < after
    assert (outside.body, outside.trace_id, outside.session, outside.highlight_trace) == ("outside", "", None, None)


@pytest.mark.parametrize(
    ("setting", "sent"),
    [
        (None, ["INFO 20", "INFO 25", "WARN 30", "WARN 35", "ERROR 40", "FATAL 50", "FATAL 60"]),
        ("TRACE", ["TRACE 5", "DEBUG 10", "DEBUG 15", "INFO 20", "INFO 25", "WARN 30", "WARN 35", "ERROR 40"]),
        ("ERROR", ["ERROR 40", "FATAL 50", "FATAL 60"]),
    ],
)
def test_records_are_sent_from_the_lowest_level_on_with_the_nearest_word(run, receiver, setting, sent):
    env = {} if setting is None else {"HIGHLIGHT_LOG_LEVEL": setting}
    levels = (5, 10, 15, 20, 25, 30, 35, 40, 50, 60)[: 8 if setting == "TRACE" else None]
    run(f"root.setLevel(1)\nfor level in {levels}: root.log(level, '%s', level)", env=env)

    receiver.wait(logs=len(sent))
    assert [f"{log.severity_text} {log.body}" for log in receiver.logs] == sent


def test_what_a_logger_does_not_let_pass_is_not_sent(run, receiver):
    run("""
class Hidden(logging.Filter):
    def filter(self, record):
        record.msg = record.msg.replace("secret", "***")
        return "dropped" not in record.msg

class Other(logging.Filter):
    def filter(self, record):
        return logging.makeLogRecord({**record.__dict__, "msg": "another record"})

filtered, replaced, off, quiet, alone = map(logging.getLogger, ("filtered", "replaced", "off", "quiet", "alone"))
filtered.addFilter(Hidden())
replaced.addFilter(Other())
off.disabled = True
quiet.setLevel(logging.CRITICAL)
alone.propagate = False
alone.addHandler(logging.NullHandler(level=logging.CRITICAL))
filtered.error("dropped")
filtered.error("a secret")
replaced.error("a record")
off.error("off")
quiet.error("quiet")
alone.error("alone")
logging.disable(logging.ERROR)
root.error("all disabled")
""")
    receiver.wait(logs=3)
    assert told(receiver) == [
        ("ERROR", "filtered", "a ***"),
        ("ERROR", "replaced", "another record" if sys.version_info >= (3, 12) else "a record"),
        ("ERROR", "alone", "alone"),
    ]


# What an application may see of its own logging: whom its handlers are called by, what its configuration leaves.
SAME = """
import logging.config, logging.handlers, queue, warnings

class Stack(logging.Handler):
    def emit(self, record):
        frame, names = sys._getframe(), []
        while frame is not None:
            names.append(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")
            frame = frame.f_back
        print(record.getMessage(), sorted(record.__dict__), names)

logging.basicConfig(format="%(levelname)s %(name)s %(funcName)s %(lineno)d %(message)s", stream=sys.stdout)
print(root.handlers, logging.getLogger("other").handlers, logging.lastResort)
root.warning("configured")
logging.config.dictConfig({
    "version": 1,
    "disable_existing_loggers": True,
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
    "root": {"handlers": ["out"], "level": "INFO"},
})
print(root.handlers)
logging.getLogger("other").error("disabled by the configuration")
root.addHandler(Stack())
root.info("seen %s", "once", extra={"one": 1})
logging.LoggerAdapter(root, {"two": 2}).error("adapted")
try:
    root.error("%d pieces", "some")
except Exception as error:
    print("raised", error)
root.warning("late", stacklevel=2)
logging.captureWarnings(True)
def careless():
    warnings.warn("careful", stacklevel=2)
careless()
try:
    1 / 0
except ZeroDivisionError:
    root.exception("divided")
print(logging.Logger.filter.__name__, logging.Logger.filter.__qualname__, logging.Logger.filter.__module__)
logging.shutdown()
"""


def test_the_application_sees_the_same_with_the_agent_and_without(run, run_python, receiver):
    done = run(SAME)
    bare = run_python(BEGIN + SAME, under_agent=False)

    assert done.stdout == bare.stdout
    assert done.stderr == bare.stderr
    assert done.stderr.count("--- Logging error ---") == 1
    receiver.wait(logs=7)
    [divided] = receiver.errors
    assert (divided.type, divided.record.body) == ("ZeroDivisionError", "divided")
    warning = receiver.logs[5]
    assert warning.body.startswith("<string>:")
    assert "UserWarning: careful" in warning.body
    assert told(receiver) == [
        ("WARN", "root", "configured"),
        ("INFO", "root", "seen once"),
        ("ERROR", "root", "adapted"),
        ("ERROR", "root", "%d pieces"),
        ("WARN", "root", "late"),
        ("WARN", "py.warnings", warning.body),
        ("ERROR", "root", "divided"),
    ]
    assert extras(receiver.logs[2]) == {"two": 2}


def test_a_filter_may_put_extras_in_place_of_what_every_record_has(run, receiver):
    run("""
def swap(record):
    del record.msecs
    record.tenant = 7
    return True

def first(record):
    values = dict(vars(record))
    values.pop("msecs")
    record.__dict__.clear()
    record.__dict__.update(tenant=8, **values)
    return True

root.addFilter(swap)
root.warning("swapped")
root.removeFilter(swap)
root.addFilter(first)
root.warning("first")
""")
    receiver.wait(logs=2)
    assert [(log.body, extras(log)) for log in receiver.logs] == [("swapped", {"tenant": 7}), ("first", {"tenant": 8})]


def test_extras_are_sent_under_names_that_mean_nothing_else_and_no_code_of_theirs_runs(run, receiver):
    done = run("""
import datetime, decimal, enum, pathlib, uuid

class Slow:
    def __repr__(self):
        print("called", type(self).__name__)
        raise OSError
    __str__ = __format__ = __hash__ = __eq__ = __repr__

class Text(str):
    __str__ = __repr__ = encode = Slow.__repr__

class Mapping(dict):
    items = __iter__ = keys = Slow.__repr__

class Color(enum.Enum):
    RED = 1
    __str__ = Slow.__repr__

root.warning("extras", extra={
    "level": "high", "exception.type": "mine", "highlight.session_id": "forged", "service.name": "mine", "code.x": 1,
    "plain": "text", "number": 1.5, "yes": True, "nothing": None, "bytes": b"b\\xff",
    "slow": Slow(), "text": Text("text"), "mapping": Mapping(a=Slow()), "color": Color.RED,
    "list": [1, (2, {"three": [Slow(), {"too": "deep"}]})], "long": list(range(1000)),
    "date": datetime.date(2020, 1, 2), "decimal": decimal.Decimal("1.50"), "uuid": uuid.UUID(int=1),
    "path": pathlib.PurePosixPath("/tmp/x"), "error": ValueError("bad"), 5: "five",
})
""")
    receiver.wait(logs=1)
    assert done.stdout == ""
    [log] = receiver.logs
    assert log.attributes["logger.name"] == "root"
    sent = extras(log)
    assert sent.pop("long") == list(range(50))
    assert sent == {
        "extra.level": "high",
        "extra.exception.type": "mine",
        "extra.highlight.session_id": "forged",
        "extra.service.name": "mine",
        "extra.code.x": 1,
        "plain": "text",
        "number": 1.5,
        "yes": "true",
        "bytes": "b\\xff",
        "slow": "<__main__.Slow>",
        "text": "text",
        "mapping": {"a": "<__main__.Slow>"},
        "color": "<__main__.Color>",
        "list": [1, [2, {"three": "<builtins.list>"}]],
        "date": "2020-01-02",
        "decimal": "1.50",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "path": "/tmp/x",
        "error": "bad",
        "5": "five",
    }


def test_an_exception_is_an_error_at_error_and_above_and_only_once(run, receiver):
    run("""
def fail(text):
    try:
        raise LookupError(text)
    except LookupError as error:
        return error

root.setLevel(logging.INFO)
with trace("work", session_secure_id="session1"):
    try:
        1 / 0
    except ZeroDivisionError as error:
        logging.exception("first")
        logging.exception("again")
        root.error("third", exc_info=error)
    root.critical("given", exc_info=fail("given"))
    root.warning("only a warning", exc_info=fail("warned"))
    root.info("three", exc_info=(LookupError, fail("tuple"), None))
    known = fail("reported elsewhere")
    record_exception(known)
    root.error("reported", exc_info=known)
    root.error("none", exc_info=True)
    root.error("an end", exc_info=SystemExit(3))
""")
    receiver.wait(logs=9, errors=3)
    shown = [
        (log.severity_text, log.body, log.attributes.get("exception.type"), "traceback" in log.attributes)
        for log in receiver.logs
    ]
    assert shown == [
        ("ERROR", "first", "ZeroDivisionError", False),
        ("ERROR", "again", None, False),
        ("ERROR", "third", None, False),
        ("FATAL", "given", "LookupError", False),
        ("WARN", "only a warning", None, True),
        ("INFO", "three", None, True),
        ("ERROR", "reported", None, False),
        ("ERROR", "none", None, False),
        ("ERROR", "an end", None, False),
    ]
    assert {log.session for log in receiver.logs} == {"session1"}
    assert receiver.logs[4].attributes["traceback"].endswith("LookupError: warned\n")
    assert sorted((error.type, error.message, error.session) for error in receiver.errors) == [
        ("LookupError", "given", "session1"),
        ("LookupError", "reported elsewhere", "session1"),
        ("ZeroDivisionError", "division by zero", "session1"),
    ]


def test_a_record_that_a_listener_replays_is_sent_once(run, receiver):
    run("""
import logging.handlers, multiprocessing, queue, threading

class Again(logging.Handler):
    def handle(self, record):
        logging.getLogger("again").handle(record)

def listen(records):
    listener = logging.handlers.QueueListener(records, Again(), logging.StreamHandler())
    listener.start()
    return listener

def child(records):
    logging.getLogger("child").handlers = [logging.handlers.QueueHandler(records)]
    logging.getLogger("child").error("from a child")
    records.close()
    records.join_thread()

records = queue.Queue()
queued = logging.getLogger("queued")
queued.addHandler(logging.handlers.QueueHandler(records))
listener = listen(records)
with trace("work", session_secure_id="session1"):
    queued.error("replayed by a thread")
listener.stop()

fork = multiprocessing.get_context("fork")
records = fork.Queue()
process = fork.Process(target=child, args=(records,))
process.start()
logging.getLogger("again").handle(records.get())
process.join()

logging.getLogger("made").handle(logging.makeLogRecord({"msg": "made by hand", "name": "made", "levelno": 20}))
try:
    logging.getLogger("made").handle(logging.makeLogRecord({"msg": "odd", "levelno": "?", "created": None}))
except TypeError:
    pass  # logging cannot compare the level either
""")
    receiver.wait(logs=4)
    assert [(log.severity_text, log.logger, log.body, log.session) for log in receiver.logs] == [
        ("ERROR", "queued", "replayed by a thread", "session1"),
        ("ERROR", "child", "from a child", None),
        ("INFO", "made", "made by hand", None),
        ("INFO", "", "odd", None),
    ]


def test_messages_that_are_hard_to_send_arrive(run, receiver):
    run("""
class Strange:
    def __str__(self):
        raise KeyError("strange")

class Talks:
    def __str__(self):
        logging.getLogger("inner").error("asked")
        return "talks"

class Endless:
    def __str__(self):
        root.info("%s", self)
        return "endless"

root.addHandler(logging.NullHandler())
root.setLevel(logging.INFO)
root.error("a <b> < c")
root.error("<b> <c>")
root.error("half \\ud800 of \\0 it")
root.error("x" * 10_000_000)
root.error("%s", "y" * 10_000_000)
root.error(b"bytes")
root.error(Strange())
root.error("%s", Strange())
root.error(ValueError("an exception"))
root.error("%s %s", "too few")
root.error("it %s", Talks())
root.error("it is %s", Endless())
root.error("%(one)s %(two)s", {"one": 1, "two": 2})
""")
    receiver.wait(logs=13)
    assert [log.body for log in receiver.logs] == [
        "a\u00a0<b>\u00a0< c",
        "<b> <c>",
        "half \\ud800 of \0 it",
        "x" * 65_536,
        "y" * 65_536,
        "b'bytes'",
        "<__main__.Strange>",
        "%s",
        "an exception",
        "%s %s",
        "it talks",
        "it is endless",
        "1 2",
    ]


def test_a_message_is_put_together_once_more_than_the_handlers_do_and_below_the_level_never(run, receiver):
    done = run("""
class Counted:
    def __str__(self):
        print("asked")
        return "counted"

root.setLevel(logging.DEBUG)
root.addHandler(logging.NullHandler())
root.debug("%s", Counted())
root.error("%s", Counted())
""")
    receiver.wait(logs=1)
    assert done.stdout == "asked\n"
    assert told(receiver) == [("ERROR", "root", "counted")]


def test_logging_can_be_left_out(run, receiver):
    run("root.error('not sent')\nwith trace('work'): pass", env={"HIGHLIGHT_DISABLED_INTEGRATIONS": "logging"})

    receiver.wait(spans=1)
    assert told(receiver) == []
