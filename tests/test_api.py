"""What an application may call itself: by hand, without the launcher, and while the agent is off."""

from __future__ import annotations

import pytest

API = "import highlight_autoinstrument as highlight\n"


def run(run_python, code, *, expected=0, **options):
    done = run_python(API + code, **options)
    assert (done.returncode, done.stderr) == (expected, ""), done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("headers", "ids"),
    [
        ("{'X-Highlight-Request': 's/r'}", ("s", "r")),
        ("{b'x-highlight-request': b's/r'}", ("s", "r")),
        ("[('a', 'b'), ('x-highlight-request', b's/')]", ("s", None)),
        ("{'cookie': 'sessionSecureID=abc'}", ("abc", None)),
        ("{}", (None, None)),
        ("None", (None, None)),
        ("17", (None, None)),
        ("[1, 2]", (None, None)),
        ("{'x-highlight-request': 'null'}", (None, None)),
        ("{'x-highlight-request': 'a\\r\\nb/c'}", (None, None)),
    ],
)
def test_parse_headers_takes_any_form(run_python, headers, ids):
    assert run(run_python, f"print(tuple(highlight.parse_headers({headers})))") == [str(ids)]


def test_consume_error_reports_against_the_ids(run_python, receiver):
    run(
        run_python,
        """
error = ValueError("lost")
highlight.consume_error(error, "session1", "request1", topic="orders", message="collides")
highlight.consume_error(error, "session1", "request1")
highlight.consume_error("only words", "session2")
""",
    )

    receiver.wait(logs=2)
    assert receiver.spans == []
    assert [(e.type, e.message, e.session, e.highlight_trace) for e in receiver.errors] == [
        ("ValueError", "lost", "session1", "request1"),
        ("Exception", "only words", "session2", None),
    ]
    attributes = receiver.errors[0].attributes
    assert (attributes["topic"], attributes["extra.message"]) == ("orders", "collides")


def test_record_exception_takes_the_one_that_is_being_handled_and_does_not_fail_the_unit(run_python, receiver):
    run(
        run_python,
        """
with highlight.trace("job", session_secure_id="s1"):
    try:
        1 / 0
    except ZeroDivisionError:
        highlight.record_exception(step=2)
highlight.record_exception()
""",
    )

    receiver.wait(spans=1)
    assert [(span.name, span.status, span.session) for span in receiver.spans] == [("job", "UNSET", "s1")]
    assert [(e.type, e.session, e.attributes["step"]) for e in receiver.errors] == [("ZeroDivisionError", "s1", 2)]


def test_trace_is_a_unit_of_work_and_inside_one_a_span(run_python, receiver):
    run(
        run_python,
        """
import asyncio, logging
logging.getLogger().addHandler(logging.NullHandler())
@highlight.trace(session_secure_id="s2")
def decorated(): logging.warning("in it")

@highlight.trace("coroutine")
async def coroutine():
    async with highlight.trace("inner", rows=3) as span:
        span.set_attribute("more", True)

with highlight.trace("outer", headers={"x-highlight-request": "s1/r1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}):
    with highlight.trace("nested"): pass
decorated()
asyncio.run(coroutine())
""",
    )

    receiver.wait(spans=5, logs=1)
    outer, nested, decorated, coroutine, inner = receiver.spans
    assert [(span.name, span.kind, span.session) for span in receiver.spans] == [
        ("outer", "INTERNAL", "s1"),
        ("nested", "INTERNAL", "s1"),
        ("decorated", "INTERNAL", "s2"),
        ("coroutine", "INTERNAL", None),
        ("inner", "INTERNAL", None),
    ]
    assert (outer.trace_id, outer.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (nested.trace_id, nested.parent_id, nested.highlight_trace) == (
        outer.trace_id,
        outer.span_id,
        outer.trace_id,
    )
    assert decorated.parent_id == coroutine.parent_id == ""
    assert inner.parent_id == coroutine.span_id
    assert (inner.attributes["rows"], inner.attributes["more"]) == (3, "true")
    assert [(log.body, log.session, log.span_id) for log in receiver.logs] == [("in it", "s2", decorated.span_id)]


def test_an_exception_that_leaves_the_outermost_trace_is_reported_once(run_python, receiver):
    run(
        run_python,
        """
with highlight.trace("tried again"):
    try:
        with highlight.trace("attempt"): raise OSError("first")
    except OSError: pass
try:
    with highlight.trace("job", session_secure_id="s1"):
        with highlight.trace("step"): raise KeyError("k")
except KeyError as error:
    highlight.record_exception(error)
for harmless in (KeyboardInterrupt, SystemExit, GeneratorExit):
    try:
        with highlight.trace("stopped"): raise harmless
    except harmless: pass
""",
    )

    receiver.wait(spans=7)
    assert [(span.name, span.status) for span in receiver.spans] == [
        ("tried again", "UNSET"),
        ("attempt", "ERROR"),
        ("job", "ERROR"),
        ("step", "ERROR"),
        ("stopped", "UNSET"),
        ("stopped", "UNSET"),
        ("stopped", "UNSET"),
    ]
    assert [(e.type, e.message, e.session, e.record.name) for e in receiver.errors] == [
        ("KeyError", "'k'", "s1", "job")
    ]


def test_a_generator_cannot_be_decorated(run_python):
    code = """
try:
    @highlight.trace()
    def numbers(): yield 1
except TypeError as error: print(error)
"""
    assert run(run_python, code) == ["trace cannot decorate a generator: use `with trace(...)` inside it"]


def test_a_decorated_function_stays_what_it_was(run_python):
    code = """
import inspect
@highlight.trace()
def add(a: int, b: int = 2) -> int:
    "Adds."
    return a + b
@highlight.trace()
async def later(): ...
print(inspect.signature(add), add.__doc__, add(1), inspect.iscoroutinefunction(later))
"""
    assert run(run_python, code) == ["(a: int, b: int = 2) -> int Adds. 3 True"]


@pytest.mark.parametrize(
    "env", [{"HIGHLIGHT_ENABLED": "false"}, {"HIGHLIGHT_PROJECT_ID": "", "HIGHLIGHT_RAISE_ERRORS": "true"}]
)
def test_it_is_safe_to_call_while_the_agent_is_off(run_python, receiver, env):
    done = run_python(
        API
        + """
highlight.consume_error(ValueError("x"), "s", "r")
highlight.record_exception(ValueError("x"))
with highlight.trace("job", a=1) as span: span.set_attribute("b", 2)
print(highlight.flush(), highlight.parse_headers({"x-highlight-request": "s/r"}).session_id)
""",
        env=env,
    )

    assert (done.returncode, done.stdout) == (0, "True s\n")
    receiver.settle()
    assert (receiver.spans, receiver.logs) == ([], [])


def test_the_api_works_without_the_launcher(run_python, receiver):
    run(run_python, "with highlight.trace('alone', session_secure_id='s1'): pass", under_agent=False)

    receiver.wait(spans=1)
    assert [(span.name, span.session) for span in receiver.spans] == [("alone", "s1")]


def test_flush_sends_what_has_been_recorded(run_python, receiver):
    code = """
with highlight.trace("before"): pass
print(highlight.flush())
import os; os._exit(0)
"""
    assert run(run_python, code, env={"OTEL_BSP_SCHEDULE_DELAY": "60000"}) == ["True"]

    receiver.wait(spans=1)
    assert [span.name for span in receiver.spans] == ["before"]


def test_debug_lines_can_go_to_a_logger_and_are_not_exported(run_python, receiver):
    code = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level="DEBUG", format="%(name)s %(message)s")
highlight.set_debug_mode(logging.getLogger("agent"))
with highlight.trace("job"): logging.getLogger("app").warning("hello")
highlight.flush()
"""
    lines = run(run_python, code, env={"HIGHLIGHT_LOG_LEVEL": "DEBUG"})

    receiver.wait(spans=1, logs=1)
    assert "app hello" in lines
    assert any(line.startswith("agent highlight: export of 1 ") for line in lines)
    assert [log.logger for log in receiver.logs] == ["app"]
