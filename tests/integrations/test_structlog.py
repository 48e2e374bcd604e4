"""structlog: what is sent of an event, by whatever logger it goes, and that processors see the same callers."""

from __future__ import annotations

import pytest
import structlog

BEGIN = """
import asyncio, logging, sys
import structlog
from structlog import get_logger
from highlight_autoinstrument import trace
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
    own = ("logger.name", "code.", "highlight.", "exception.", "log.record.")
    return {key: value for key, value in log.attributes.items() if not key.startswith(own)}


LEVEL = "structlog.stdlib.add_log_level"
JSON = f"processors=[{LEVEL}, structlog.processors.TimeStamper('iso'), structlog.processors.JSONRenderer()]"
LOGGING = "logger_factory=structlog.stdlib.LoggerFactory()"
BOUND = "wrapper_class=structlog.stdlib.BoundLogger"
FORMATTER = "structlog.stdlib.ProcessorFormatter.wrap_for_formatter"
NAMED = "named" if hasattr(structlog.BytesLogger(), "name") else "shop"  # older ones do not keep their name
CONFIGURATIONS = {
    "default": ("", "shop"),
    "print": (f"{JSON}, logger_factory=structlog.PrintLoggerFactory()", "shop"),
    "write": (f"{JSON}, logger_factory=structlog.WriteLoggerFactory()", "shop"),
    "bytes": (f"{JSON[:-1]}, lambda *all: all[2].encode()], logger_factory=structlog.BytesLoggerFactory()", NAMED),
    "generic": (f"{JSON}, wrapper_class=structlog.BoundLogger", "shop"),
    "no processors": ("processors=[], logger_factory=structlog.testing.CapturingLoggerFactory()", "shop"),
    "logging text": (f"{JSON}, {LOGGING}, {BOUND}", "named"),
    "logging keywords": (f"processors=[{LEVEL}, structlog.stdlib.render_to_log_kwargs], {LOGGING}", "named"),
    "logging formatter": (f"processors=[{LEVEL}, {FORMATTER}], {LOGGING}, {BOUND}", "named"),
    "logging adapter": (
        f"{JSON}, logger_factory=lambda name: logging.LoggerAdapter(logging.getLogger(name), {{}})",
        "named",
    ),
}


@pytest.mark.parametrize(("configuration", "name"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_an_event_is_one_record_with_all_that_is_known_of_it(run, receiver, tmp_path, configuration, name):
    (tmp_path / "shop.py").write_text("""
from structlog import get_logger

def order(number):
    get_logger("named").bind(customer=7).warning("order placed", number=number, level="high")
""")
    done = run(f"""
sys.path.insert(0, {str(tmp_path)!r})
import shop

handler = logging.StreamHandler(sys.stdout)
if "ProcessorFormatter" in {configuration!r}:
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.dev.ConsoleRenderer()))
logging.basicConfig(handlers=[handler], level=logging.INFO)
structlog.configure({configuration})
with trace("work", session_secure_id="session1", request_id="request1"):
    shop.order(13)
""")
    receiver.wait(spans=1, logs=1)
    [span], [log] = receiver.spans, receiver.logs
    assert ("order placed" in done.stdout) is ("Capturing" not in configuration)
    assert (log.severity_text, log.body) == ("WARN", "order placed")
    assert (log.trace_id, log.span_id) == (span.trace_id, span.span_id)
    assert span.start_ns < log.time_ns < span.end_ns
    changed = "add_log_level" in configuration or not configuration  # that processor overwrites it
    assert log.attributes == {
        "highlight.session_id": "session1",
        "highlight.request_id": "request1",
        "highlight.trace_id": "request1",
        "logger.name": name,
        "code.function.name": "order",
        "code.file.path": str(tmp_path / "shop.py"),
        "code.line.number": 5,
        "customer": 7,
        "number": 13,
        "extra.level": "warning" if changed else "high",
    }


def test_loggers_and_wrappers_of_the_applications_own(run, receiver):
    done = run("""
class Wrapper(structlog.BoundLoggerBase):
    def warning(self, event, **values):
        return self._proxy_to_logger("warning", event, **values)

    def direct(self, event, **values):
        args, kwargs = self._process_event("error", event, values)
        print("direct", *args)

class Logger:
    warning = print

def work():
    structlog.wrap_logger(Logger(), wrapper_class=Wrapper).warning("wrapped", number=1)
    structlog.wrap_logger(None, wrapper_class=Wrapper).direct("direct", number=2)

work()
""")
    receiver.wait(logs=2)
    assert [line.split()[0] == "direct" for line in done.stdout.splitlines()] == [False, True]
    assert [
        (log.severity_text, log.body, extras(log), log.attributes["code.function.name"]) for log in receiver.logs
    ] == [
        ("WARN", "wrapped", {"number": 1}, "warning"),
        ("ERROR", "direct", {"number": 2}, "direct"),
    ]


def test_what_processors_add_change_and_drop_is_what_is_sent(run, receiver):
    run("""
def hide(logger, method, event):
    if "card" in event:
        event["card"] = "***"
    if event["event"] == "dropped":
        raise structlog.DropEvent
    if event["event"] == "talks":
        logging.getLogger("processor").warning("a line of its own")
    return event

def late_drop(logger, method, event):
    if event["event"] == "dropped late":
        raise structlog.DropEvent
    return event

structlog.configure(processors=[
    structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, hide, late_drop,
    structlog.processors.EventRenamer("message"), structlog.processors.KeyValueRenderer(),
    lambda logger, method, text: text.upper(),
])
structlog.contextvars.bind_contextvars(request="r")
log = get_logger()
log.info("login", card="secret")
log.info("dropped")
log.info("dropped late")
log.info("talks")
with structlog.testing.capture_logs() as captured:
    log.error("captured")
print(len(captured))
""")
    receiver.wait(logs=3)
    assert [(log.logger, log.body, extras(log)) for log in receiver.logs] == [
        ("__main__", "login", {"request": "r", "card": "***"}),
        ("processor", "a line of its own", {}),
        ("__main__", "talks", {"request": "r"}),
    ]


def test_levels_and_what_is_filtered_away(run, receiver):
    run(
        """
log = structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger("debug"))
for method in ("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "msg"):
    getattr(log, method)(method)
log.log(30, "by number %s", 30)
structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(40)).info("filtered")

structlog.configure(
    processors=[structlog.stdlib.PositionalArgumentsFormatter(), structlog.processors.KeyValueRenderer()],
    logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger,
)
quiet = get_logger("quiet")
quiet.setLevel(logging.ERROR)
quiet.info("filtered by logging")
quiet.warning("filtered by logging")
logging.getLogger("quiet").error("filtered by logging")
quiet.error("formatted %s", "first")
structlog.configure(processors=[structlog.stdlib.render_to_log_args_and_kwargs])
get_logger("late").error("formatted %s", "later", number=1)
""",
        env={"HIGHLIGHT_LOG_LEVEL": "DEBUG"},
    )
    receiver.wait(logs=13)
    assert told(receiver) == [
        ("DEBUG", "__main__", "debug"),
        ("INFO", "__main__", "info"),
        ("WARN", "__main__", "warning"),
        ("WARN", "__main__", "warn"),
        ("ERROR", "__main__", "error"),
        ("ERROR", "__main__", "exception"),
        ("FATAL", "__main__", "critical"),
        ("FATAL", "__main__", "fatal"),
        ("INFO", "__main__", "msg"),
        ("WARN", "__main__", "by number 30"),
        ("ERROR", "quiet", "filtered by logging"),
        ("ERROR", "quiet", "formatted first"),
        ("ERROR", "late", "formatted later"),
    ]
    assert extras(receiver.logs[10]) == {}
    assert extras(receiver.logs[12]) == {"number": 1}


@pytest.mark.parametrize("through_logging", [False, True], ids=["native", "logging"])
def test_an_exception_in_each_form_is_an_error_and_only_once(run, receiver, through_logging):
    run(
        (
            "logging.basicConfig()\n"
            "structlog.configure(logger_factory=structlog.stdlib.LoggerFactory(),"
            "wrapper_class=structlog.stdlib.BoundLogger, "
            if through_logging
            else "structlog.configure("
        )
        + """processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])

class Falsy(Exception):
    def __bool__(self):
        return False

with trace("work", session_secure_id="session1"):
    log = get_logger()
    try:
        1 / 0
    except ZeroDivisionError:
        log.error("true", exc_info=True)
        log.exception("again")
    log.error("instance", exc_info=Falsy("given"))
    log.critical("tuple", exc_info=(LookupError, LookupError("lost"), None))
    log.warning("warning", exc_info=LookupError("warned"))
    log.error("none", exc_info=True)
    log.error("not", exc_info=False)
    log.error("mine", exception="mine")
"""
    )
    receiver.wait(spans=1, logs=8, errors=3)
    assert [
        (log.body, log.attributes.get("exception.type"), "traceback" in log.attributes) for log in receiver.logs
    ] == [
        ("true", "ZeroDivisionError", False),
        ("again", None, False),
        ("instance", "__main__.Falsy", False),
        ("tuple", "LookupError", False),
        ("warning", None, True),
        ("none", None, False),
        ("not", None, False),
        ("mine", None, False),
    ]
    assert [set(extras(log)) - {"traceback"} for log in receiver.logs] == [set()] * 7 + [{"exception"}]
    assert [(error.type, error.message, error.session) for error in receiver.errors] == [
        ("ZeroDivisionError", "division by zero", "session1"),
        ("__main__.Falsy", "given", "session1"),
        ("LookupError", "lost", "session1"),
    ]


@pytest.mark.parametrize("through_logging", [False, True], ids=["native", "logging"])
def test_async_methods_keep_the_session_and_the_caller(run, receiver, through_logging):
    run(
        (
            "structlog.configure(processors=[structlog.processors.JSONRenderer()], "
            "logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger)\n"
            if through_logging
            else ""
        )
        + """
async def work(number):
    with trace("work", session_secure_id=f"session{number}"):
        await get_logger().awarning("asynchronous", number=number)
        try:
            raise LookupError(number)
        except LookupError:
            await get_logger().aexception("failed")

async def main():
    await asyncio.gather(*map(work, range(3)))

asyncio.run(main())
"""
    )
    receiver.wait(spans=3, logs=6, errors=3)
    assert sorted((log.session, log.body, log.attributes["code.function.name"]) for log in receiver.logs) == [
        (f"session{number}", body, "work") for number in range(3) for body in ("asynchronous", "failed")
    ]
    assert sorted((error.session, error.message) for error in receiver.errors) == [
        (f"session{number}", str(number)) for number in range(3)
    ]


def test_an_event_that_goes_to_another_library_is_one_record(run, receiver):
    run("""
from loguru import logger

class Forwards:
    def msg(self, text):
        logging.getLogger("below").warning("rendered %s", text)
    info = warning = msg

render = [structlog.processors.KeyValueRenderer()]
logger.remove()
logger.add(lambda message: get_logger("from loguru").warning(str(message).strip()), format="{message}")
structlog.wrap_logger(Forwards(), processors=render).warning("to a forwarder", number=1)
structlog.wrap_logger(logger, processors=render, wrapper_class=structlog.BoundLogger).warning("to loguru", number=2)
logger.warning("from loguru")
logging.getLogger("below").warning("its own")

class Handler(logging.Handler):
    def emit(self, record):
        get_logger().warning(record.getMessage())

logging.getLogger("above").addHandler(Handler())
logging.getLogger("above").warning("from logging")
""")
    receiver.wait(logs=5)
    assert [(log.logger, log.body, log.attributes.get("number")) for log in receiver.logs] == [
        ("__main__", "to a forwarder", 1),
        ("__main__", "to loguru", 2),
        ("__main__", "from loguru", None),
        ("below", "its own", None),
        ("above", "from logging", None),
    ]


# What an application may see of structlog: whom its processors and handlers are called by, what its loggers hold.
SAME = """
import copy, pickle

def stack(logger, method, event):
    frame, names = sys._getframe(), []
    while frame is not None:
        names.append(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")
        frame = frame.f_back
    return {**event, "stack": names}

class Handler(logging.Handler):
    def emit(self, record):
        print(stack(None, "", {"record": sorted(record.__dict__), "at": (record.funcName, record.lineno)}))

processors = [
    structlog.processors.CallsiteParameterAdder({
        structlog.processors.CallsiteParameter.FUNC_NAME,
        structlog.processors.CallsiteParameter.LINENO,
        structlog.processors.CallsiteParameter.MODULE,
    }),
    structlog.processors.StackInfoRenderer(), stack, structlog.processors.KeyValueRenderer(sort_keys=True),
]
structlog.configure(processors=processors)
def work(log):
    log.warning("here", stack_info=True)
    print(log._processors is processors, log.bind(a=1)._processors is processors, vars(log.bind()).keys())

log = get_logger().bind()
work(log)
copied = pickle.loads(pickle.dumps(structlog.wrap_logger(structlog.PrintLogger(), processors=[]).bind(a=1)))
print(copied, copied == copy.deepcopy(copied), copied._processors)
del copied._processors
try:
    copied._processors
except AttributeError as error:
    print(error)

logging.getLogger().addHandler(Handler())
structlog.configure(logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger)
work(get_logger().bind())
try:
    structlog.wrap_logger(None, processors=[lambda *_: 1 / 0]).info("raises")
except ZeroDivisionError as error:
    traceback = error.__traceback__
    while traceback:
        print(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
for processors in (None, iter([stack])):
    try:
        structlog.wrap_logger(structlog.PrintLogger(), processors=processors).info("strange")
    except Exception as error:
        print(type(error), error)
"""


def test_the_application_sees_the_same_with_the_agent_and_without(run, run_python):
    done = run(SAME)
    bare = run_python(BEGIN + SAME, under_agent=False)

    assert bare.returncode == 0, bare.stderr
    assert done.stdout == bare.stdout
    assert done.stderr == bare.stderr
