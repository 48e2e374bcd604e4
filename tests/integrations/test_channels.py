"""Channels under daphne and uvicorn: the session of a websocket in its consumers, and their errors once."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed

APP = """
import logging
from django.conf import settings

settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None, DEBUG=False,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
import django
django.setup()
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path, re_path

log = logging.getLogger("shop")

class Room(AsyncJsonWebsocketConsumer):
    async def connect(self):
        log.warning("async joined %s", self.scope["url_route"]["kwargs"]["name"])
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        await database_sync_to_async(log.warning)("async received %s", content)
        if content == "boom": raise ValueError("async")
        if content == "all": await self.channel_layer.group_send("room", {"type": "told", "text": content})
        else: await self.send_json(content)

    async def told(self, event):
        assert event == {"type": "told", "text": "all"}, event
        log.warning("told")
        await self.send_json("told")

class Sync(JsonWebsocketConsumer):
    def receive_json(self, content):
        log.warning("sync received %s", content)
        if content == "boom": raise LookupError("sync")
        self.send_json(content)

class Page(AsyncHttpConsumer):
    async def handle(self, body):
        log.warning("page")
        if self.scope["url_route"]["kwargs"]["number"] == 500: raise OSError("page")
        await self.send_response(200, b"page")

def item(request, number):
    log.warning("item %s", number)
    return HttpResponse("item")

urlpatterns = [path("items/<int:number>", item)]
application = ProtocolTypeRouter({
    "http": URLRouter([path("pages/<int:number>", Page.as_asgi()), re_path("", get_asgi_application())]),
    "websocket": URLRouter([
        path("ws/", URLRouter([path("rooms/<str:name>/", Room.as_asgi()), re_path(r"^sync/(\\d+)$", Sync.as_asgi())])),
    ]),
})
"""
IN_PROCESS = """
import asyncio
from app import application

async def main():
    messages = []
    async def receive(): return {"type": "http.request", "body": b""}
    async def send(message): messages.append(message)
    headers = [(b"x-highlight-request", b"s1/r1")]
    scope = {"type": "http", "method": "GET", "path": "/pages/3", "query_string": b"", "headers": headers}
    await application(scope, receive, send)
    print(messages[-1]["body"])

asyncio.run(main())
"""
SERVERS = {
    "daphne": "daphne app:application -p {port} --verbosity 0",
    "uvicorn": "uvicorn app:application --port {port} --log-level critical",
}


def talk(websocket, *contents):
    answers = []
    for content in contents:
        websocket.send(json.dumps(content))
        try:
            answers.append(json.loads(websocket.recv(timeout=10)))
        except ConnectionClosed:
            answers.append("closed")
    return answers


def said(receiver):
    return sorted((log.body, str(log.session)) for log in receiver.logs if log.logger == "shop")


@pytest.mark.parametrize("server", SERVERS)
def test_consumers_work_under_the_session_of_their_websocket(run_service, receiver, server):
    service = run_service(SERVERS[server], files={"app.py": APP})

    with (
        service.websocket("/ws/rooms/one/", {"x-highlight-request": "s1/r1"}) as one,
        service.websocket("/ws/rooms/two/", {"Cookie": "sessionSecureID=s2"}) as two,
        service.websocket("/ws/sync/3", {"x-highlight-request": "null"}) as three,
    ):
        assert talk(one, "hello", "all") == ["hello", "told"]
        assert json.loads(two.recv(timeout=10)) == "told"
        assert talk(two, "boom") == ["closed"]
        assert talk(three, "hello", "boom") == ["hello", "closed"]
        assert talk(one, "still") == ["still"]
    assert service.get("/items/7", {"x-highlight-request": "s4/r4"}).text == "item"
    assert service.get("/pages/7", {"x-highlight-request": "s4/r4"}).text == "page"
    assert service.get("/nowhere", {"x-highlight-request": "s4/r4"}).status == 404

    receiver.wait(spans=6, logs=13, errors=2)
    assert sorted((span.name, span.kind, str(span.session), span.status) for span in receiver.spans) == [
        ("GET", "SERVER", "s4", "UNSET"),
        ("GET /items/<int:number>", "SERVER", "s4", "UNSET"),
        ("GET /pages/<int:number>", "SERVER", "s4", "UNSET"),
        ("GET /ws/rooms/<str:name>/", "SERVER", "s1", "UNSET"),
        ("GET /ws/rooms/<str:name>/", "SERVER", "s2", "ERROR"),
        ("GET /ws/sync/(\\d+)", "SERVER", "None", "ERROR"),
    ]
    assert sorted((error.type, error.message, str(error.session)) for error in receiver.errors) == [
        ("LookupError", "sync", "None"),
        ("ValueError", "async", "s2"),
    ]
    assert said(receiver) == [
        ("async joined one", "s1"),
        ("async joined two", "s2"),
        ("async received all", "s1"),
        ("async received boom", "s2"),
        ("async received hello", "s1"),
        ("async received still", "s1"),
        ("item 7", "s4"),
        ("page", "s4"),
        ("sync received boom", "None"),
        ("sync received hello", "None"),
        ("told", "s1"),
        ("told", "s2"),
    ]


def test_a_server_that_nobody_knows_serves_requests_all_the_same(run_python, receiver):
    program = run_python(IN_PROCESS, files={"app.py": APP})

    assert (program.stdout, program.returncode) == ("b'page'\n", 0), program.stderr
    receiver.wait(spans=1, logs=1)
    assert [(span.name, span.session) for span in receiver.spans] == [("GET /pages/<int:number>", "s1")]
    assert said(receiver) == [("page", "s1")]
