"""logbook: what its handlers would have, with the session, once; and its output as without the agent."""

from __future__ import annotations

import re

PROGRAM = """
import logging, multiprocessing, sys
import highlight_autoinstrument as highlight
import logbook
from logbook.compat import LoggingHandler, redirected_logging
from logbook.queues import MultiProcessingHandler, MultiProcessingSubscriber

logbook.set_datetime_format("local")
FORMAT = "{record.level_name} {record.channel} {record.func_name} {record.lineno} {record.message} {record.extra}"
output = logbook.StreamHandler(sys.stdout, format_string=FORMAT, level="INFO")
log = logbook.Logger("shop")

def everything():
    for level in ("trace", "debug", "info", "notice", "warning", "error", "critical"):
        getattr(log, level)("at {}", level)
    log.info("sold {what} <b>", what="tea", extra={"user": 7, "level": "own"})
    try:
        raise ValueError("boom")
    except ValueError as error:
        log.exception("caught {}", 1)
        log.error("again", exc_info=error)
        logging.getLogger("other").error("echo", exc_info=True)
        log.warning("no error", exc_info=True)
    log.info("misfit {} {}", 1)
    log.info(b"bytes")
    with logbook.Processor(lambda record: record.extra.update(added="by a processor")):
        log.info("processed")
    with logbook.NullHandler().applicationbound():
        log.error("nobody wants this")
    quiet = logbook.Logger("quiet", level=logbook.ERROR)
    quiet.warning("below its logger")

def passed_on():
    with LoggingHandler().applicationbound():
        log.warning("to logging")
    with redirected_logging():
        logging.getLogger("std").warning("from logging")
    queue = multiprocessing.Queue()
    with MultiProcessingHandler(queue).applicationbound():
        log.warning("through a queue")
    MultiProcessingSubscriber(queue).dispatch_once()

with output.applicationbound():
    WITH
print("done")
"""
INSIDE = """
    with highlight.trace("job"):
        everything()
        passed_on()
    log.info("after")
"""


def test_records_arrive_as_its_handlers_have_them(receiver, run_python):
    program = PROGRAM.replace("    WITH\n", INSIDE)
    done = run_python(program)
    bare = run_python(program, under_agent=False)
    assert done.returncode == bare.returncode == 0, done.stderr

    def plain(text):
        return re.sub("0x[0-9a-f]+", "", text)

    assert plain(done.stdout) == plain(bare.stdout)
    assert plain(done.stderr) == plain(bare.stderr)
    receiver.wait(logs=17, spans=1)
    logs = receiver.logs
    assert [(log.severity_text, log.logger, log.body) for log in logs] == [
        ("INFO", "shop", "at info"),
        ("INFO", "shop", "at notice"),
        ("WARN", "shop", "at warning"),
        ("ERROR", "shop", "at error"),
        ("FATAL", "shop", "at critical"),
        ("INFO", "shop", "sold tea\u00a0<b>"),
        ("ERROR", "shop", "caught 1"),
        ("ERROR", "shop", "again"),
        ("ERROR", "other", "echo"),
        ("WARN", "shop", "no error"),
        ("INFO", "shop", "misfit {} {}"),
        ("INFO", "shop", "b'bytes'"),
        ("INFO", "shop", "processed"),
        ("WARN", "shop", "to logging"),
        ("WARN", "std", "from logging"),
        ("WARN", "shop", "through a queue"),
        ("INFO", "shop", "after"),
    ]
    assert [log.span_id != "" for log in logs] == [True] * 16 + [False]
    assert [(error.type, error.message, error.record.body) for error in receiver.errors] == [
        ("ValueError", "boom", "caught 1")
    ]
    sold = logs[5].attributes
    assert (sold["user"], sold["extra.level"]) == (7, "own")
    assert sold["code.function.name"] == "everything"
    assert sold["code.line.number"] == program[: program.index("sold {what}")].count("\n") + 1
    assert logs[12].attributes["added"] == "by a processor"


APP = """
import logging, os
import logbook
from flask import Flask

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
log = logbook.Logger("shop")
logbook.StderrHandler().push_application()

@app.get("/<name>")
def hello(name):
    log.warning("hello {}", name)
    with log.catch_exceptions("caught"):
        raise ValueError(name)
    return name

app.run(port=int(os.environ["PORT"]))
"""


def test_records_have_the_session_of_their_request(receiver, run_service):
    service = run_service("python app.py", files={"app.py": APP})
    assert service.get("/ann", {"x-highlight-request": "s1/r1"}).status == 200
    assert service.get("/bob").status == 200

    receiver.wait(spans=2, logs=4, errors=2)
    assert [(log.body, log.session) for log in receiver.logs] == [
        ("hello ann", "s1"),
        ("caught", "s1"),
        ("hello bob", None),
        ("caught", None),
    ]
    assert [(error.message, error.session) for error in receiver.errors] == [("ann", "s1"), ("bob", None)]
    assert [span.session for span in receiver.spans] == ["s1", None]
