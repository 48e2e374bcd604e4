"""python-socketio, both servers, by polling and by websocket: events under the ids of the handshake."""

from __future__ import annotations

import json

import pytest

from tests.support.services import run_program, wait_until

SYNC = """
import logging, os
import socketio
from werkzeug.serving import run_simple

log = logging.getLogger("shop")
logging.getLogger("werkzeug").disabled = True
background = os.environ["INLINE"] == "no"
sio = socketio.Server(async_mode="threading", async_handlers=background, ping_interval=1, ping_timeout=2)
logging.getLogger("engineio.server").setLevel(os.environ.get("LEVEL", "ERROR"))

@sio.event
def connect(sid, environ): log.warning("connect")

@sio.event
def disconnect(sid, *reason): log.warning("disconnect")

@sio.event
def order(sid, number):
    log.warning("order %s", number)
    sio.start_background_task(log.warning, "background")
    return f"order {number}"

@sio.event
def boom(sid): raise ValueError("boom")

@sio.event
def ask(sid): sio.emit("question", "?", to=sid, callback=lambda answer: log.warning("answered %s", answer))

@sio.on("connect", namespace="/closed")
def refuse(sid, environ, auth): raise socketio.exceptions.ConnectionRefusedError("no")

@sio.on("connect", namespace="/broken")
def broken(sid, environ, auth): raise OSError("broken")

@sio.on("*", namespace="/any")
def anything(event, sid, data): log.warning("any %s", event)

class Chat(socketio.Namespace):
    def on_hello(self, sid, name):
        log.warning("hello %s", name)
        return name

sio.register_namespace(Chat("/chat"))
run_simple("127.0.0.1", int(os.environ["PORT"]), socketio.WSGIApp(sio), threaded=True)
"""
ASYNC = (
    SYNC.replace("def ", "async def ")
    .replace('async_mode="threading"', 'async_mode="asgi"')
    .replace('sio.start_background_task(log.warning, "background")', "sio.start_background_task(said)")
    .replace("sio.emit(", "await sio.emit(")
    .replace("socketio.Server", "socketio.AsyncServer")
    .replace("socketio.Namespace", "socketio.AsyncNamespace")
    .replace("from werkzeug.serving import run_simple", 'import uvicorn\nasync def said(): log.warning("background")')
    .replace(
        'run_simple("127.0.0.1", int(os.environ["PORT"]), socketio.WSGIApp(sio), threaded=True)',
        'uvicorn.run(socketio.ASGIApp(sio), port=int(os.environ["PORT"]), log_level="critical")',
    )
)
PROGRAMS = {"sync": (SYNC, "no"), "inline": (SYNC, "yes"), "async": (ASYNC, "no")}


CLIENT = """
import os, sys, threading
import socketio

def connected(session, transport, *namespaces, **options):
    client = socketio.Client(reconnection=False)
    headers = {"x-highlight-request": session}
    url = f"http://127.0.0.1:{os.environ['SERVER']}"
    client.connect(url, headers, namespaces=list(namespaces), transports=[transport], **options)
    return client

one = connected("s1/r1", "polling", "/", "/chat", "/any")
two = connected("s2/r2", "websocket", "/")
three = connected("null", "polling", "/")
for client, number in ((one, 1), (two, 2), (three, 3)):
    print(client.call("order", number, timeout=10))
one.emit("boom")
two.emit("boom")
one.emit("unheard-of", "x")
print(one.call("hello", "world", namespace="/chat", timeout=10))
print(one.call("whatever", "x", namespace="/any", timeout=10))
asked = threading.Event()

@two.on("question")
def answer(question):
    asked.set()
    return f"to {question}"

two.emit("ask")
print(asked.wait(10))
print(two.call("order", 4, timeout=10))
for path in os.environ["REFUSED"].split():
    try:
        connected("s4/r4", "polling", path, wait_timeout=1)
    except socketio.exceptions.ConnectionError as error:
        print(path, error)
ends = [threading.Thread(target=client.disconnect) for client in (one, two, three)]
for end in ends:
    end.start()
for end in ends:
    end.join(2)  # what waits then, waits for an answer to its last poll
sys.stdout.flush()
os._exit(0)
"""


ANSWERS = ["order 1", "order 2", "order 3", "world", "None", "True", "order 4"]


class Inline:
    """A server that handles its events where they come in, and a client of it that speaks the protocol itself."""

    def __init__(self, service):
        self.service = service

    def handshake(self, session):
        path = "/socket.io/?EIO=4&transport=polling"
        sid = json.loads(self.service.get(path, {"x-highlight-request": session}).text[1:])["sid"]
        self.send(sid, "40")
        return sid

    def send(self, sid, packet):
        answer = self.service.request("POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", {}, packet.encode())
        assert answer.status in (200, 400)


@pytest.fixture
def inline(run_service):
    return Inline(run_service("python app.py", files={"app.py": SYNC}, env={"INLINE": "yes", "LEVEL": "INFO"}))


@pytest.mark.parametrize("program", PROGRAMS)
def test_events_are_work_under_the_ids_of_the_handshake(run_service, receiver, program, tmp_path):
    text, inline = PROGRAMS[program]
    # The asynchronous server never answers whose handler fails, and the client waits for ever.
    refused = ["/closed"] if program == "async" else ["/closed", "/broken"]
    service = run_service("python app.py", files={"app.py": text}, env={"INLINE": inline})
    environment = {"SERVER": str(service.port), "REFUSED": " ".join(refused)}
    client = run_program(CLIENT, under_agent=False, env=environment, folder=tmp_path)
    answers = client.stdout.splitlines()
    assert (client.returncode, answers[:7]) == (0, ANSWERS), client.stderr
    assert [answer.split()[0] for answer in answers[7:]] == refused

    broken = "/broken" in refused
    receiver.wait(spans=30, logs=17, errors=2 + broken)
    events = [span for span in receiver.spans if span.kind != "SERVER"]
    assert sorted((span.name, span.kind, str(span.session), span.status) for span in events) == [
        ("process *", "CONSUMER", "s1", "UNSET"),
        ("process ack", "CONSUMER", "s2", "UNSET"),
        ("process ask", "CONSUMER", "s2", "UNSET"),
        ("process boom", "CONSUMER", "s1", "ERROR"),
        ("process boom", "CONSUMER", "s2", "ERROR"),
        ("process connect", "CONSUMER", "None", "UNSET"),
        ("process connect", "CONSUMER", "s1", "UNSET"),
        ("process connect", "CONSUMER", "s2", "UNSET"),
        *([("process connect", "CONSUMER", "s4", "ERROR")] if broken else []),
        ("process connect", "CONSUMER", "s4", "UNSET"),
        ("process disconnect", "CONSUMER", "None", "UNSET"),
        ("process disconnect", "CONSUMER", "s1", "UNSET"),
        ("process disconnect", "CONSUMER", "s2", "UNSET"),
        ("process hello", "CONSUMER", "s1", "UNSET"),
        ("process order", "CONSUMER", "None", "UNSET"),
        ("process order", "CONSUMER", "s1", "UNSET"),
        ("process order", "CONSUMER", "s2", "UNSET"),
        ("process order", "CONSUMER", "s2", "UNSET"),
    ]
    assert {span.attributes["messaging.destination.name"] for span in events if span.name == "process hello"} == {
        "/chat"
    }
    assert sorted((error.type, error.message, str(error.session), error.source) for error in receiver.errors) == [
        *([("OSError", "broken", "s4", "span")] if broken else []),
        ("ValueError", "boom", "s1", "span"),
        ("ValueError", "boom", "s2", "span"),
    ]
    assert sorted((log.body, str(log.session)) for log in receiver.logs if log.logger == "shop") == [
        ("answered to ?", "s2"),
        ("any whatever", "s1"),
        ("background", "None"),
        ("background", "s1"),
        ("background", "s2"),
        ("background", "s2"),
        ("connect", "None"),
        ("connect", "s1"),
        ("connect", "s2"),
        ("disconnect", "None"),
        ("disconnect", "s1"),
        ("disconnect", "s2"),
        ("hello world", "s1"),
        ("order 1", "s1"),
        ("order 2", "s2"),
        ("order 3", "None"),
        ("order 4", "s2"),
    ]


def test_events_without_a_proper_name_change_nothing_for_the_next(inline, receiver):
    session, sid = "s5", inline.handshake("s5/r5")
    names = ["null", '["a", "list"]', "7", '{"a": 1}', f'"{"x" * 100_000}"']
    for name in names:
        inline.send(sid, f"42[{name}, 1]")
    inline.send(sid, '42["order", 5]')

    receiver.wait(spans=10, logs=3)
    assert [(span.name, str(span.session), span.status) for span in receiver.spans if span.kind != "SERVER"] == [
        ("process connect", session, "UNSET"),
        ("process order", session, "UNSET"),
    ]
    assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [
        ("connect", session),
        ("order 5", session),
        ("background", session),
    ]


def test_what_watches_all_connections_is_no_part_of_the_first(inline, receiver):
    inline.handshake("s1/r1")

    receiver.wait(logs=3, timeout=20)
    wait_until(lambda: any("gone" in log.body for log in receiver.logs))
    assert {log.session for log in receiver.logs if "gone" in log.body} == {None}
    wait_until(lambda: any(log.body == "disconnect" for log in receiver.logs))
    assert [log.session for log in receiver.logs if log.body == "disconnect"] == ["s1"]


OWN_TRANSPORT = """
import socketio
server = socketio.Server(async_mode="threading", async_handlers=False)  # or the end overtakes a daemon thread
server.on("connect", lambda sid, environ: print("connected by", environ))
server.on("said", lambda sid, word: print("said", word))
server._handle_eio_connect("1", "text")
server._handle_eio_message("1", "0")
server._handle_eio_message("1", '2["said","hello"]')
"""


def test_a_transport_of_ones_own_may_have_anything_for_an_environ(run_python, receiver):
    result = run_python(OWN_TRANSPORT)

    assert result.stdout.splitlines() == ["connected by text", "said hello"], result.stderr
    receiver.wait(spans=2)
    assert [(span.name, span.session) for span in receiver.spans] == [("process connect", None), ("process said", None)]
