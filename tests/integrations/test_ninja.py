"""django-ninja under WSGI (gunicorn) and ASGI (uvicorn): what its handlers make of exceptions."""

from __future__ import annotations

import pytest

APP = """
import asyncio, logging, os
from django.conf import settings

settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=bool(os.environ.get("DJANGO_DEBUG")),
    LOGGING_CONFIG=None,
)
import django
django.setup()
from django.http import HttpResponse
from django.urls import path
from ninja import NinjaAPI
from ninja.errors import HttpError

log = logging.getLogger("shop")
api = NinjaAPI()

class Swallowed(Exception): pass

@api.exception_handler(Swallowed)
def swallow(request, error): return api.create_response(request, {"error": "sorry"}, status=int(str(error)))

@api.get("/orders/{number}")
def order(request, number: int):
    log.warning("order %s", number)
    return {"order": number}

@api.get("/boom/{number}")
def boom(request, number: int): raise ValueError("not handled")

@api.get("/swallowed/{status}")
def swallowed(request, status: int): raise Swallowed(status)

@api.get("/later/{status}")
async def later(request, status: int):
    await asyncio.sleep(0)
    raise Swallowed(status)

@api.get("/http/{status}")
def http(request, status: int): raise HttpError(status, "on purpose")

urlpatterns = [path("api/", api.urls)]
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
application = get_asgi_application() if os.environ["KIND"] == "asgi" else get_wsgi_application()
"""
HEADERS = {"x-highlight-request": "s1/r1"}
SERVERS = {
    "wsgi": "gunicorn app:application -b 127.0.0.1:{port} --log-level critical",
    "asgi": "uvicorn app:application --port {port} --log-level critical",
}
PATHS = {
    "/api/orders/7": 200,
    "/api/orders/x": 422,
    "/api/boom/7": 500,
    "/api/swallowed/500": 500,
    "/api/swallowed/409": 409,
    "/api/later/502": 502,
    "/api/http/404": 404,
    "/api/http/503": 503,
}


@pytest.mark.parametrize("kind", SERVERS)
def test_what_a_handler_turns_into_a_5xx_is_an_error_once(run_service, receiver, kind):
    service = run_service(SERVERS[kind], files={"app.py": APP}, env={"KIND": kind})

    assert {path: service.get(path, HEADERS).status for path in PATHS} == PATHS
    assert service.get("/api/orders/8", {"x-highlight-request": "null"}).status == 200

    receiver.wait(spans=len(PATHS) + 1, logs=2, errors=4)
    assert [(span.name, span.kind, span.session, span.status) for span in receiver.spans] == [
        ("GET /api/orders/<number>", "SERVER", "s1", "UNSET"),
        ("GET /api/orders/<number>", "SERVER", "s1", "UNSET"),
        ("GET /api/boom/<number>", "SERVER", "s1", "ERROR"),
        ("GET /api/swallowed/<status>", "SERVER", "s1", "ERROR"),
        ("GET /api/swallowed/<status>", "SERVER", "s1", "UNSET"),
        ("GET /api/later/<status>", "SERVER", "s1", "ERROR"),
        ("GET /api/http/<status>", "SERVER", "s1", "UNSET"),
        ("GET /api/http/<status>", "SERVER", "s1", "ERROR"),
        ("GET /api/orders/<number>", "SERVER", None, "UNSET"),
    ]
    assert [(error.type, error.message, error.session, error.source) for error in receiver.errors] == [
        ("ValueError", "not handled", "s1", "span"),
        ("app.Swallowed", "500", "s1", "span"),
        ("app.Swallowed", "502", "s1", "span"),
        ("ninja.errors.HttpError", "on purpose", "s1", "span"),
    ]
    assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [
        ("order 7", "s1"),
        ("order 8", None),
    ]


def test_what_the_page_for_developers_is_made_of_is_an_error_once(run_service, receiver):
    service = run_service(SERVERS["wsgi"], files={"app.py": APP}, env={"KIND": "wsgi", "DJANGO_DEBUG": "1"})

    assert service.get("/api/boom/7", HEADERS).status == 500

    receiver.wait(spans=1, logs=1, errors=1)
    assert [(error.type, error.message, error.session) for error in receiver.errors] == [
        ("ValueError", "not handled", "s1")
    ]
