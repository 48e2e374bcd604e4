"""Flask under its own server: routes, errors that handlers turn into answers, streaming."""

from __future__ import annotations

import pytest

APP = """
import logging, os, time
from flask import Flask, Response, abort, stream_with_context
from flask.views import MethodView

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

class Handled(Exception): pass
class Refused(Exception): pass

class Fields(Exception):
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return self.args[0][name]

@app.errorhandler(Handled)
def handled(error):
    return "sorry", os.environ.get("HANDLED_STATUS", "503 Sorry")

@app.errorhandler(Refused)
def refused(error):
    return "refused", 409

@app.get("/boom/<path:rest>")
def boom(rest): raise ValueError(rest)

@app.get("/handled")
def raise_handled(): raise Handled("by a handler")

@app.get("/words")
def words(): return "fine", "All Right"

@app.get("/fields")
def fields(): raise Fields({"reason": "none"})

@app.get("/refused")
def raise_refused(): raise Refused("by a handler")

@app.get("/abort/<int:code>")
def aborting(code): abort(code)

@app.get("/stream/<int:fail>")
def stream(fail):
    def chunks():
        app.logger.warning("first chunk")
        yield "one "
        if fail: raise RuntimeError("half-way")
        yield "two"
    return Response(stream_with_context(chunks()))

@app.get("/logged")
def logged():
    try:
        raise KeyError("once")
    except KeyError:
        app.logger.exception("caught")
        raise

@app.get("/constant")
def constant(): raise CONSTANT

CONSTANT = OSError("raised again and again")

@app.before_request
def before(): pass

if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
"""
HEADERS = {"x-highlight-request": "s1/r1"}


@pytest.fixture
def flask(run_service):
    return run_service("python app.py", files={"app.py": APP})


def seen(receiver):
    return [(span.name, span.session, span.status, span.attributes["http.status_code"]) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def test_an_unhandled_exception_is_one_error(flask, receiver):
    assert flask.get("/boom/a/b", HEADERS).status == 500

    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET /boom/<path:rest>", "s1", "ERROR", 500)]
    assert errors(receiver) == [("ValueError", "a/b", "s1")]
    assert [log.body for log in receiver.logs] == ["Exception on /boom/a/b [GET]"]
    assert receiver.spans[0].attributes["http.route"] == "/boom/<path:rest>"
    assert receiver.spans[0].attributes["error.type"] == "500"


def test_an_exception_that_a_handler_turns_into_a_5xx_is_an_error(flask, receiver):
    assert flask.get("/handled", HEADERS).status == 503

    receiver.wait(spans=1)
    assert seen(receiver) == [("GET /handled", "s1", "ERROR", 503)]
    assert errors(receiver) == [("__main__.Handled", "by a handler", "s1")]


def test_an_exception_that_a_handler_turns_into_a_4xx_is_none(flask, receiver):
    assert flask.get("/refused", HEADERS).status == 409
    assert flask.get("/abort/404", HEADERS).status == 404
    assert flask.get("/nowhere", HEADERS).status == 404

    receiver.wait(spans=3)
    assert seen(receiver) == [
        ("GET /refused", "s1", "UNSET", 409),
        ("GET /abort/<int:code>", "s1", "UNSET", 404),
        ("GET", "s1", "UNSET", 404),
    ]
    assert errors(receiver) == []


def test_abort_with_a_5xx_is_an_error(flask, receiver):
    assert flask.get("/abort/502", HEADERS).status == 502

    receiver.wait(spans=1)
    assert seen(receiver) == [("GET /abort/<int:code>", "s1", "ERROR", 502)]
    assert [(error.type, error.session) for error in receiver.errors] == [("werkzeug.exceptions.BadGateway", "s1")]


def test_a_streamed_body_is_part_of_its_request(flask, receiver):
    assert flask.get("/stream/0", HEADERS).text == "one two"

    receiver.wait(spans=1, logs=1)
    assert seen(receiver) == [("GET /stream/<int:fail>", "s1", "UNSET", 200)]
    assert [(log.body, log.session, log.span_id) for log in receiver.logs] == [
        ("first chunk", "s1", receiver.spans[0].span_id)
    ]


def test_a_body_that_fails_half_way_is_an_error_of_its_request(flask, receiver):
    flask.raw(b"GET /stream/1 HTTP/1.0\r\nx-highlight-request: s1/r1\r\n\r\n")

    receiver.wait(spans=1, errors=1)
    assert seen(receiver) == [("GET /stream/<int:fail>", "s1", "ERROR", 200)]
    assert errors(receiver) == [("RuntimeError", "half-way", "s1")]


def test_an_exception_that_is_logged_and_raised_is_one_error(flask, receiver):
    assert flask.get("/logged", HEADERS).status == 500

    receiver.wait(spans=1, logs=2)
    assert errors(receiver) == [("KeyError", "'once'", "s1")]
    assert [(log.body, "exception.type" in log.attributes) for log in receiver.logs] == [
        ("caught", True),
        ("Exception on /logged [GET]", False),
    ]
    assert seen(receiver) == [("GET /logged", "s1", "ERROR", 500)]


def test_one_exception_object_raised_in_two_requests_is_an_error_of_each(flask, receiver):
    flask.get("/constant", {"x-highlight-request": "s1/r1"})
    flask.get("/constant", {"x-highlight-request": "s2/r2"})

    receiver.wait(spans=2, errors=2)
    assert errors(receiver) == [
        ("OSError", "raised again and again", "s1"),
        ("OSError", "raised again and again", "s2"),
    ]


def test_a_status_without_a_number_does_not_end_the_observing_of_others(flask, receiver):
    assert flask.raw(b"GET /words HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 0 All Right\r\n")
    flask.get("/refused", HEADERS)

    receiver.wait(spans=2)
    assert [span.attributes.get("http.status_code") for span in receiver.spans] == [None, 409]


def test_an_exception_that_has_no_attributes_but_its_own_is_an_error_as_well(flask, receiver):
    assert flask.get("/fields", HEADERS).status == 500
    assert flask.get("/boom/later", HEADERS).status == 500

    receiver.wait(spans=2, errors=2)
    assert errors(receiver) == [("__main__.Fields", "{'reason': 'none'}", "s1"), ("ValueError", "later", "s1")]


def test_also_where_both_are_page_loads_of_one_session(flask, receiver):
    for _ in range(2):
        flask.get("/constant", {"cookie": "sessionSecureID=s1"})

    receiver.wait(spans=2, errors=2)
    assert errors(receiver) == [("OSError", "raised again and again", "s1")] * 2


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_an_answer_that_is_whole_is_left_as_it_is_and_others_belong_to_their_request(run_python, receiver, sampler):
    done = run_python(
        """
import logging
from flask import Flask, Response
from werkzeug.test import create_environ
from werkzeug.wsgi import ClosingIterator

app = Flask(__name__)
log = logging.getLogger("shop")

class Closing(Response):
    def close(self):
        log.warning("close")
        super().close()

class Encoding(Response):
    def iter_encoded(self):
        for part in super().iter_encoded():
            log.warning("encode")
            yield part

@app.get("/whole")
def whole(): return "whole"

@app.get("/parts")
def parts(): return Response(["par", "ts"])

class Cleaning(Response):
    def get_app_iter(self, environ):
        return ClosingIterator(self.iter_encoded(), [lambda: log.warning("clean"), self.close])

@app.get("/cleaning")
def cleaning(): return Cleaning("cleaning")

@app.get("/closing")
def closing(): return Closing("closing")

@app.get("/encoding")
def encoding(): return Encoding("encoding")

@app.get("/call_on_close")
def call_on_close():
    answer = Response("call_on_close")
    answer.call_on_close(lambda: log.warning("call_on_close"))
    return answer

@app.get("/instance")
def instance():
    answer = Response("instance")
    answer.close = lambda: log.warning("instance")
    return answer

@app.get("/stream")
def stream():
    def parts():
        log.warning("stream")
        yield "stream"
    return Response(parts())

def ask(path, app=app):
    body = app(create_environ(path, headers={"x-highlight-request": "s1/r1"}), lambda status, headers: None)
    print(b"".join(body).decode(), type(body) is ClosingIterator)
    body.close()

for path in ("/whole", "/parts", "/cleaning", "/closing", "/encoding", "/call_on_close", "/instance", "/stream"):
    ask(path)
plain = app.wsgi_app
app.wsgi_app = lambda *given: ClosingIterator(plain(*given), [lambda: log.warning("outer")])
ask("/whole")
app.wsgi_app = plain
close = Response.close
Response.close = lambda self: (log.warning("replaced"), close(self))
ask("/whole")
""",
        env={"OTEL_TRACES_SAMPLER": sampler},
    )

    others = ("parts", "cleaning", "closing", "encoding", "call_on_close", "instance", "stream", "whole", "whole")
    lines = ["whole True", *(f"{path} False" for path in others)]
    assert (done.returncode, done.stdout.splitlines()) == (0, lines), done.stderr
    told = ["call_on_close", "clean", "close", "encode", "instance", "outer", "replaced", "stream"]
    receiver.wait(logs=8, spans=10 if sampler == "always_on" else 0)
    assert sorted((log.body, log.session) for log in receiver.logs) == [(body, "s1") for body in told]
    assert {(span.kind, span.session) for span in receiver.spans} == ({("SERVER", "s1")} if receiver.spans else set())
    assert len(receiver.spans) == (10 if sampler == "always_on" else 0)


def test_text_that_can_not_be_encoded_is_an_error_of_its_request(run_python, receiver):
    done = run_python(
        """
from flask import Flask, Response
from werkzeug.test import create_environ

app = Flask(__name__)

@app.get("/half")
def half(): return Response(["a\\ud800"], headers={"Content-Length": "4"})

body = app(create_environ("/half", headers={"x-highlight-request": "s1/r1"}), lambda status, headers: None)
try:
    b"".join(body)
except UnicodeEncodeError:
    print("failed")
body.close()
"""
    )

    assert (done.returncode, done.stdout) == (0, "failed\n"), done.stderr
    receiver.wait(spans=1, errors=1)
    assert [(e.type, e.session) for e in receiver.errors] == [("UnicodeEncodeError", "s1")]
    assert [(span.name, span.status, span.session) for span in receiver.spans] == [("GET /half", "ERROR", "s1")]
