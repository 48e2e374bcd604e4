"""Connexion, the asynchronous application and Flask's: paths of the specification, what becomes of exceptions."""

from __future__ import annotations

import pytest

APP = """
import logging, os
import connexion
from connexion.exceptions import ProblemException
from connexion.lifecycle import ConnexionResponse

log = logging.getLogger("shop")
KIND = os.environ["KIND"]

class Refused(Exception): pass
class Swallowed(Exception): pass

def item(number):
    log.warning("item %s", number)
    return {"item": number}

async def item_async(number): return item(number)
def boom(number): raise ValueError("boom")
def raised(number): raise Refused("409") if number == 409 else Swallowed(str(number))
def problem(number): raise ProblemException(status=number, title="on purpose")

def handler(status):
    def handle(request, error): return ConnexionResponse(status_code=status, body="sorry")
    return handle

application = connexion.AsyncApp if KIND == "async" else connexion.FlaskApp
app = application(__name__, specification_dir=".")
app.add_error_handler(Refused, handler(409))
app.add_error_handler(Swallowed, handler(503))

def operation(function):
    return {"get": {
        "operationId": f"app.{function}", "responses": {"200": {"description": "x"}},
        "parameters": [{"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}}],
    }}

app.add_api({
    "openapi": "3.0.0", "info": {"title": "shop", "version": "1"}, "servers": [{"url": "/api"}],
    "paths": {
        "/items/{number}": operation("item_async" if KIND == "async" else "item"), "/boom/{number}": operation("boom"),
        "/raised/{number}": operation("raised"), "/problems/{number}": operation("problem"),
    },
})
if KIND == "flask":
    app.add_url_rule("/own/<int:number>", "own", lambda number: f"own {number}")
"""
RUN = """
import os
from app import app
app.run(port=int(os.environ["PORT"]), log_level="critical")
"""
IN_PROCESS = """
import asyncio
from app import app

async def main():
    async def receive(): return {"type": "http.request", "body": b""}
    async def send(message): messages.append(message)
    messages = []
    headers = [(b"x-highlight-request", b"s1/r1")]
    scope = {
        "type": "http", "method": "GET", "path": "/api/items/3", "raw_path": b"/api/items/3", "query_string": b"",
        "headers": headers, "root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    print(messages[0]["status"])

asyncio.run(main())
"""
HEADERS = {"x-highlight-request": "s1/r1"}
PATHS = {
    "/api/items/7": 200,
    "/api/items/x": 404,
    "/api/boom/7": 500,
    "/api/raised/409": 409,
    "/api/raised/503": 503,
    "/api/problems/418": 418,
    "/api/problems/502": 502,
}


@pytest.mark.parametrize("kind", ["async", "flask"])
def test_requests_are_named_by_the_specification_and_errors_reported_once(run_service, receiver, kind):
    service = run_service("python run.py", files={"app.py": APP, "run.py": RUN}, env={"KIND": kind})

    assert {path: service.get(path, HEADERS).status for path in PATHS} == PATHS
    assert service.get("/api/items/8", {"x-highlight-request": "null"}).status == 200
    assert service.get("/own/9", HEADERS).status == (200 if kind == "flask" else 404)

    receiver.wait(spans=len(PATHS) + 2, logs=2, errors=3)
    assert [(span.name, span.kind, span.session, span.status) for span in receiver.spans] == [
        ("GET /api/items/{number}", "SERVER", "s1", "UNSET"),
        ("GET /api/{path}", "SERVER", "s1", "UNSET"),
        ("GET /api/boom/{number}", "SERVER", "s1", "ERROR"),
        ("GET /api/raised/{number}", "SERVER", "s1", "UNSET"),
        ("GET /api/raised/{number}", "SERVER", "s1", "ERROR"),
        ("GET /api/problems/{number}", "SERVER", "s1", "UNSET"),
        ("GET /api/problems/{number}", "SERVER", "s1", "ERROR"),
        ("GET /api/items/{number}", "SERVER", None, "UNSET"),
        ("GET /own/<int:number>" if kind == "flask" else "GET", "SERVER", "s1", "UNSET"),
    ]
    assert [(error.type, error.message, error.session, error.source) for error in receiver.errors] == [
        ("ValueError", "boom", "s1", "span"),
        ("app.Swallowed", "503", "s1", "span"),
        ("connexion.exceptions.ProblemException", "502: None", "s1", "span"),
    ]
    assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [
        ("item 7", "s1"),
        ("item 8", None),
    ]


def test_a_server_that_nobody_knows_serves_requests_all_the_same(run_python, receiver):
    program = run_python(IN_PROCESS, files={"app.py": APP}, env={"KIND": "async"})

    assert (program.stdout, program.returncode) == ("200\n", 0), program.stderr
    receiver.wait(spans=1, logs=1)
    assert [(span.name, span.session) for span in receiver.spans] == [("GET /api/items/{number}", "s1")]
