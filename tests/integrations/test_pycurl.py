"""pycurl: each `perform` is a client span that carries the ids, and handles stay what they are."""

from __future__ import annotations

import json

import pytest

from tests.support.target import Target

APP = """
import json, logging, os
from io import BytesIO
import pycurl
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
kept = pycurl.Curl()

def perform(curl, way):
    if way == "string":
        return curl.perform_rs()
    if way == "bytes":
        return curl.perform_rb().decode()
    into = BytesIO()
    curl.setopt(pycurl.WRITEDATA, into)
    curl.perform()
    return into.getvalue().decode()

@app.post("/call")
def call():
    wanted = json.loads(request.data)
    for name, value in wanted["options"].items():
        if value is None:
            kept.unsetopt(getattr(pycurl, name))
        else:
            kept.setopt(getattr(pycurl, name), value.encode() if wanted.get("encode") else value)
    curl = kept.duphandle() if wanted.get("copy") else kept
    try:
        return perform(curl, wanted.get("way"))
    except pycurl.error as error:
        return str(error.args[0])
    finally:
        if wanted.get("reset"):
            kept.reset()

app.run(port=int(os.environ["PORT"]))
"""
SESSION = {"x-highlight-request": "s1/r1"}


@pytest.fixture
def target():
    server = Target()
    yield server
    server.close()


@pytest.fixture
def calling(run_service):
    return lambda **env: run_service("python app.py", files={"app.py": APP}, env=env)


def call(service, options, incoming=SESSION, **more):
    body = json.dumps({"options": {"NOPROXY": "*", **options}, **more}).encode()
    response = service.request("POST", "/call", incoming, body)
    assert response.status == 200, service.output
    return response.text


def told(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans if span.kind == "CLIENT"]


def carried(span, session="s1/r1"):
    return [session] if session else [], [f"00-{span.trace_id}-{span.span_id}-01"]


def test_a_call_carries_the_ids_and_the_handles_own_headers_stay(calling, receiver, target):
    service = calling()
    own = ["x-own: 1", "x-highlight-request: own/own"]
    calls = [
        ({"URL": f"{target.url}/fine?secret=1"}, {}),
        ({"HTTPHEADER": ["x-own: 1"]}, {"copy": True}),
        ({}, {"way": "string"}),
        ({"HTTPHEADER": own, "POSTFIELDS": "a=b"}, {"way": "bytes"}),
        ({"HTTPHEADER": None, "CUSTOMREQUEST": "DELETE"}, {"incoming": {}, "reset": True}),
        ({"URL": f"{target.url}/status/503", "NOBODY": 1}, {"copy": True}),
        ({"NOBODY": 0, "FRESH_CONNECT": 1, "URL": f"{target.url}/drop"}, {"reset": True}),
        ({"URL": target.url.removeprefix("http://")}, {"encode": True, "reset": True}),
        ({"URL": f"{target.url}/fine", "HTTPHEADER": ["Authorization: AWS4-HMAC-SHA256 x"]}, {"reset": True}),
    ]
    answers = [call(service, options, **more) for options, more in calls]
    assert answers == ["fine", "fine", "fine", "fine", "fine", "", "52", "fine", "fine"]

    receiver.wait(spans=18)
    assert told(receiver) == [
        ("GET", "CLIENT", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
        ("POST", "CLIENT", "s1", "UNSET"),
        ("DELETE", "CLIENT", None, "UNSET"),
        ("HEAD", "CLIENT", "s1", "ERROR"),
        ("GET", "CLIENT", "s1", "ERROR"),
        ("GET", "CLIENT", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
    ]
    spans = [span for span in receiver.spans if span.kind == "CLIENT"]
    assert [seen.line.split(" ")[0] for seen in target.seen] == [span.name for span in spans]
    expected = [carried(span) for span in spans]
    expected[3] = (["own/own"], expected[3][1])
    expected[4] = carried(spans[4], None)
    expected[8] = ([], [])
    assert [seen.ids for seen in target.seen] == expected
    assert [seen.all("x-own") for seen in target.seen] == [[], ["1"], ["1"], ["1"], [], [], [], [], []]
    assert spans[0].attributes["url.full"] == f"{target.url}/fine"
    assert [span.attributes.get("http.status_code") for span in spans] == [200] * 5 + [503, None, 200, 200]
    assert receiver.errors == []


def test_where_not_everybody_may_have_them_they_are_kept_back_from_what_may_be_redirected(calling, receiver, target):
    service = calling(HIGHLIGHT_TRACING_ORIGINS="127.0.0.1")
    elsewhere = f"{target.url}/to?url={target.at('localhost', '/fine')}"
    assert call(service, {"URL": elsewhere, "FOLLOWLOCATION": 1}) == "fine"
    assert call(service, {"URL": f"{target.url}/fine", "FOLLOWLOCATION": 0}) == "fine"
    assert call(service, {"URL": target.at("localhost", "/fine")}) == "fine"

    receiver.wait(spans=6)
    assert told(receiver) == [("GET", "CLIENT", "s1", "UNSET")] * 3
    spans = [span for span in receiver.spans if span.kind == "CLIENT"]
    assert [seen.ids for seen in target.seen] == [([], []), ([], []), carried(spans[1]), ([], [])]


PROGRAM = """
import copy, gc, json, sys, traceback, weakref
import pycurl
from io import BytesIO

def tried(call, *arguments, **named):
    try:
        return repr(call(*arguments, **named))
    except BaseException as error:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        return [repr(error), frames if sys.version_info >= (3, 11) else None]

class Own(pycurl.Curl):
    def perform(self):
        self.performed = True
        return super().perform()

told = []
FRAIL = pycurl.version.startswith("PycURL/7.45.3 ")  # it crashes over weak references to a closed handle, and more
for kind in (pycurl.Curl, Own):
    told.append([tried(pycurl.Curl, 0), tried(pycurl.Curl, a=0)])
    curl = kind()
    curl.note = "a note"
    told.append([kind.__mro__[-1].__name__, isinstance(curl, pycurl.Curl), repr(curl).partition(" at ")[0]])
    told.append([curl.note, hasattr(curl, "__dict__"), "note" in dir(curl)])
    for wrong in ((), (1,), (pycurl.URL, 7), (pycurl.HTTPHEADER, 7), (pycurl.HTTPHEADER, [7]), (-1, 1), (None, None)):
        told.append(tried(curl.setopt, *wrong))
    told.append(tried(curl.setopt, option=pycurl.URL, value=sys.argv[1]))
    if "no keyword" in told[-1][0]: curl.setopt(pycurl.URL, sys.argv[1])  # pycurl 7.45
    told.append(tried(copy.copy, curl))
    told.append(tried(curl.perform, 1))
    lines = ["x-own: 1"]
    curl.setopt(pycurl.HTTPHEADER, lines)
    curl.setopt(pycurl.WRITEFUNCTION, lambda _: None)
    told.append([tried(curl.perform), lines, curl.getinfo(pycurl.RESPONSE_CODE)])
    curl.setopt(pycurl.WRITEFUNCTION, lambda _: 1 / 0)
    told.append(tried(curl.perform))
    other = curl.duphandle()
    told.append([type(other) is kind, other.note, tried(other.perform)])
    many = pycurl.CurlMulti()
    curl.setopt(pycurl.WRITEFUNCTION, lambda _: None)
    many.add_handle(curl)
    told.append([tried(many.add_handle, curl), tried(curl.perform)])
    while many.perform()[1]:
        many.select(1)
    told.append([handle is curl for handle in many.info_read()[1]])
    many.remove_handle(curl)
    reference = weakref.ref(Own() if FRAIL else curl)
    curl.close()
    told.append([tried(curl.perform), tried(curl.setopt, pycurl.URL, "x")])
    told.append([FRAIL or tried(curl.reset), FRAIL or tried(curl.duphandle)])
    del curl, other, many
    gc.collect()
    told.append(reference() is None)
print(json.dumps(told))
"""


def test_a_handle_is_what_it_is_without_the_agent(run_python, receiver, target):
    outputs = []
    for agent in (False, True):
        wrapped = "from highlight_autoinstrument import trace\nwith trace('work'):\n" if agent else ""
        lines = PROGRAM.strip().splitlines()
        program = wrapped + "\n".join(f"    {line}" if agent else line for line in lines)
        result = run_python([*("-c", program), f"{target.url}/fine"], under_agent=agent)
        assert result.returncode == 0, result.stderr
        outputs.append(json.loads(result.stdout))
    for without, having in zip(*outputs, strict=True):
        assert having == without
    bare, agent = target.seen[: len(target.seen) // 2], target.seen[len(target.seen) // 2 :]
    assert [seen.line for seen in bare] == [seen.line for seen in agent]
    # What is done in another way has none of what the calls before it had.
    assert [seen.ids == ([], []) for seen in agent] == [False, False, False, True] * 2
    receiver.wait(errors=4)
    # pycurl has Python report what leaves a callback, as uncaught.
    assert [error.type for error in receiver.errors] == ["ZeroDivisionError"] * 4
