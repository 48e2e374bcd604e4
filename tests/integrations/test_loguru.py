"""loguru: what is sent of a record, and that its handlers, their ids and levels stay what they are."""

from __future__ import annotations

import pytest

BEGIN = """
import logging, sys
from highlight_autoinstrument import record_exception, trace
from loguru import logger
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


def test_a_record_arrives_with_all_that_is_known_of_it(run, receiver, tmp_path):
    (tmp_path / "shop.py").write_text("""
from loguru import logger

def order(number):
    logger.bind(customer=7, level="high").info("order {} of {name}", number, name="Ada")
""")
    run(f"""
sys.path.insert(0, {str(tmp_path)!r})
import shop
logger.configure(extra={{"region": "eu"}})
with trace("work", session_secure_id="session1", request_id="request1"), logger.contextualize(batch=9):
    shop.order(13)
logger.error("outside")
""")
    receiver.wait(spans=1, logs=2)
    [span] = receiver.spans
    inside, outside = receiver.logs
    assert inside.body == "order 13 of Ada"
    assert (inside.severity_text, inside.severity_number) == ("INFO", 9)
    assert (inside.trace_id, inside.span_id) == (span.trace_id, span.span_id)
    assert span.start_ns < inside.time_ns < span.end_ns
    assert inside.attributes == {
        "highlight.session_id": "session1",
        "highlight.request_id": "request1",
        "highlight.trace_id": "request1",
        "logger.name": "shop",
        "code.function.name": "order",
        "code.file.path": str(tmp_path / "shop.py"),
        "code.line.number": 5,
        "region": "eu",
        "batch": 9,
        "customer": 7,
        "extra.level": "high",
        "name": "Ada",
    }
    assert (outside.body, outside.logger, outside.trace_id, outside.session) == ("outside", "__main__", "", None)


def test_levels_become_the_nearest_word(run, receiver):
    run(
        """
logger.remove()
logger.add(sys.stdout, level=0)
logger.level("NOTICE", no=37)
for name in ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "NOTICE", "ERROR", "CRITICAL"):
    logger.log(name, name)
logger.log(3, "3")
""",
        env={"HIGHLIGHT_LOG_LEVEL": "4"},
    )
    receiver.wait(logs=8)
    assert [(log.severity_text, log.body) for log in receiver.logs] == [
        ("TRACE", "TRACE"),
        ("DEBUG", "DEBUG"),
        ("INFO", "INFO"),
        ("INFO", "SUCCESS"),
        ("WARN", "WARNING"),
        ("ERROR", "NOTICE"),
        ("ERROR", "ERROR"),
        ("FATAL", "CRITICAL"),
    ]


# What an application may see of loguru: the ids of its handlers, whether its arguments are called, who calls its sinks.
SAME = """
import asyncio, copy, pickle

def stack(message):
    frame, names = sys._getframe(), []
    while frame is not None:
        names.append(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")
        frame = frame.f_back
    print(str(message).strip(), names)

def costly():
    print("called")
    return "costly"

print(logger)
logger.remove(0)
print(logger.add(stack, format="{level} {name}:{function}:{line} {message} {extra}", level="WARNING"))
logger.info("not wanted {}", costly())
logger.opt(lazy=True).info("not wanted {}", costly)
logger.opt(lazy=True).warning("wanted {}", costly)
logger.opt(depth=0, colors=True, raw=True).warning("<red>{}</red>\\n", 1)
plain = {"format": "{message}", "diagnose": False}
print(logger.configure(handlers=[{"sink": stack, **plain}, {"sink": sys.stdout, "level": "ERROR", **plain}]))
print(logger)
logger.disable("__main__")
logger.error("disabled")
logger.enable("__main__")
logger.patch(lambda record: record["extra"].update(patched=1)).error("patched")
print(len(logger._core.handlers), logger._core.min_level, sorted(vars(logger._core)))
try:
    logger.error("{} {}", 1)
except IndexError as error:
    print("raised", error)
try:
    logger.log("UNKNOWN", "level")
except ValueError as error:
    print("raised", error)
try:
    logger.remove(17)
except ValueError as error:
    print("raised", error)

@logger.catch(message="caught")
def fail():
    raise KeyError("key")

fail()
async def sink(message):
    print("async", message.record["message"])

async def main():
    print(logger.add(sink, format="{message}"))
    logger.warning("awaited")
    await logger.complete()

asyncio.run(main())
logger.remove()
logger.error("removed")
copied = copy.deepcopy(logger)
print(copied, copied.add(sys.stdout), logger, pickle.loads(pickle.dumps(logger)))
print(logger.add(sys.stdout, format="{message}"))
logger.success("again")
"""


def test_the_application_sees_the_same_with_the_agent_and_without(run, run_python, receiver):
    done = run(SAME)
    bare = run_python(BEGIN + SAME, under_agent=False)

    assert bare.returncode == 0, bare.stderr
    assert done.stdout == bare.stdout
    assert done.stderr == bare.stderr
    receiver.wait(logs=6, errors=1)
    assert told(receiver) == [
        ("WARN", "__main__", "wanted costly"),
        ("WARN", "__main__", "1\n"),
        ("ERROR", "__main__", "patched"),
        ("ERROR", "__main__", "caught"),
        ("WARN", "__main__", "awaited"),
        ("INFO", "__main__", "again"),
    ]
    assert receiver.logs[2].attributes["patched"] == 1
    assert [(error.type, error.message) for error in receiver.errors] == [("KeyError", "'key'")]


def test_an_exception_is_an_error_at_error_and_above_and_only_once(run, receiver):
    run("""
@logger.catch(reraise=True)
def fail():
    raise LookupError("lost")

try:
    with trace("work", session_secure_id="session1"):
        with logger.catch():
            1 / 0
        logger.opt(exception=KeyError("given")).critical("given")
        logger.opt(exception=(KeyError, KeyError("warned"), None)).warning("warned")
        logger.opt(exception=True).error("none")
        fail()
except LookupError:
    logger.exception("again")
""")
    receiver.wait(spans=1, logs=6, errors=3)
    assert [
        (log.severity_text, log.attributes.get("exception.type"), "traceback" in log.attributes, log.session)
        for log in receiver.logs
    ] == [
        ("ERROR", "ZeroDivisionError", False, "session1"),
        ("FATAL", "KeyError", False, "session1"),
        ("WARN", None, True, "session1"),
        ("ERROR", None, False, "session1"),
        ("ERROR", "LookupError", False, "session1"),
        ("ERROR", None, False, "session1"),
    ]
    assert [(error.type, error.session) for error in receiver.errors] == [
        ("ZeroDivisionError", "session1"),
        ("KeyError", "session1"),
        ("LookupError", "session1"),
    ]
    assert receiver.spans[0].status == "ERROR"


INTERCEPT = """
class Intercept(logging.Handler):
    def emit(self, record):
        frame, depth = sys._getframe(6), 6
        while frame and frame.f_code.co_filename == logging.__file__:
            frame, depth = frame.f_back, depth + 1
        logger.opt(depth=depth, exception=record.exc_info).log(record.levelname, record.getMessage())
"""


@pytest.mark.parametrize(
    "program",
    [
        "logging.basicConfig(handlers=[Intercept()], level=0)",
        "logging.basicConfig(handlers=[Intercept()], level=0); logger.add(sys.stdout, enqueue=True)",
        """
import logging.handlers, queue
records = queue.SimpleQueue()
logging.basicConfig(handlers=[logging.handlers.QueueHandler(records)], level=0)
listener = logging.handlers.QueueListener(records, Intercept())
listener.start()
import atexit; atexit.register(listener.stop)
""",
    ],
    ids=["handler", "enqueued", "listener"],
)
def test_a_record_that_logging_passes_on_is_sent_once(run, receiver, program):
    done = run(
        INTERCEPT
        + program
        + """
with trace("work", session_secure_id="session1"):
    logging.getLogger("standard").warning("passed %s", "on", extra={"user": 7})
    logger.info("its own")
"""
    )
    receiver.wait(spans=1, logs=2)
    assert "passed on" in done.stderr
    assert [(log.logger, log.body, log.session, log.attributes.get("user")) for log in receiver.logs] == [
        ("standard", "passed on", "session1", 7),
        ("__main__", "its own", "session1", None),
    ]


@pytest.mark.parametrize(
    "sink",
    [
        "Propagate(), format='{message}'",
        "Propagate(), format='{message}', enqueue=True",
        "lambda text: logging.getLogger(text.record['name']).log(30, text.strip()), format='{message}'",
    ],
    ids=["handler", "enqueued", "function"],
)
def test_a_record_that_loguru_passes_on_is_sent_once(run, receiver, sink):
    done = run(f"""
class Propagate(logging.Handler):
    def emit(self, record):
        logging.getLogger(record.name).handle(record)

logging.basicConfig(level=0, format="standard %(message)s", stream=sys.stdout)
logger.add({sink})
with trace("work", session_secure_id="session1"):
    logger.bind(user=7).warning("passed on")
    logging.getLogger("standard").info("its own")
logger.complete()
""")
    receiver.wait(spans=1, logs=2)
    assert sorted(done.stdout.splitlines()) == ["standard its own", "standard passed on"]
    assert [(log.logger, log.body, log.session, log.attributes.get("user")) for log in receiver.logs] == [
        ("__main__", "passed on", "session1", 7),
        ("standard", "its own", "session1", None),
    ]


def test_whoever_is_left_out_leaves_its_records_to_the_other(run, receiver):
    run(
        INTERCEPT
        + "logging.basicConfig(handlers=[Intercept()], level=0)\nlogging.getLogger('standard').warning('passed on')",
        env={"HIGHLIGHT_DISABLED_INTEGRATIONS": "logging"},
    )
    receiver.wait(logs=1)
    assert told(receiver) == [("WARN", "__main__", "passed on")]


SPOILT = """
class Silent:
    def __repr__(self):
        print("called")

    __str__ = __repr__

def spoil(record):
    record.clear()
    record.update(message=Silent(), extra=Silent(), line=Silent())

logger.remove()
logger.configure(patcher=spoil)
logger.add(lambda message: None, format=lambda record: "", level="INFO", filter=lambda record: False)
try:
    logger.info("spoilt")
except KeyError:
    pass  # loguru wants the level
"""


def test_a_record_that_a_patcher_has_spoilt_is_sent_as_it_is(run, run_python, receiver):
    done = run(SPOILT)
    bare = run_python(BEGIN + SPOILT, under_agent=False)

    assert done.stdout == bare.stdout
    receiver.wait(logs=1)
    assert told(receiver) == [("INFO", "", "<__main__.Silent>")]


def test_a_line_that_a_patcher_has_made_something_else_is_left_out(run, receiver):
    run("logger.patch(lambda record: record.update(line=[record['line']])).info('somewhere')")

    receiver.wait(logs=1)
    assert told(receiver) == [("INFO", "__main__", "somewhere")]
    assert "code.line.number" not in receiver.logs[0].attributes
