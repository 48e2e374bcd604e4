"""Django under WSGI (gunicorn) and ASGI (uvicorn): routes, errors, middleware, streaming."""

from __future__ import annotations

import pytest

APP = """
import asyncio, logging, os
from django.conf import settings
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.core.exceptions import PermissionDenied
from django.urls import include, path, re_path

class Turned(Exception): pass

class Middleware:
    sync_capable = async_capable = True
    def __init__(self, get_response):
        self.get_response = get_response
        if asyncio.iscoroutinefunction(get_response):
            from asgiref.sync import markcoroutinefunction
            markcoroutinefunction(self)
    def __call__(self, request): return self.get_response(request)
    def process_exception(self, request, exception):
        if isinstance(exception, Turned):
            return HttpResponse("turned", status=int(str(exception)))

settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False, LOGGING_CONFIG=None,
    MIDDLEWARE=[f"{__name__}.Middleware"],
)
import django
django.setup()
log = logging.getLogger("shop")

def item(request, number):
    log.warning("item %s", number)
    return HttpResponse(f"item {number}")

def boom(request): raise ValueError("sync")
def missing(request): raise Http404("no")
def denied(request): raise PermissionDenied
def turned(request, status): raise Turned(status)

async def slow(request):
    await asyncio.sleep(0)
    log.warning("in async")
    raise LookupError("async")

def stream(request):
    def chunks():
        log.warning("in chunk")
        yield b"one "
        raise RuntimeError("half-way")
    return StreamingHttpResponse(chunks())

shop = [path("items/<int:number>/", item)]
urlpatterns = [
    path("shop/", include(shop)), path("boom", boom), path("missing", missing), path("denied", denied),
    path("turned/<int:status>", turned), path("slow", slow), path("stream", stream),
    re_path(r"^old/(\\d+)$", item),
]
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
application = get_asgi_application() if os.environ["KIND"] == "asgi" else get_wsgi_application()
"""
HEADERS = {"x-highlight-request": "s1/r1"}
SERVERS = {
    "wsgi": "gunicorn app:application -b 127.0.0.1:{port} --log-level critical",
    "asgi": "uvicorn app:application --port {port} --log-level critical",
}


@pytest.fixture(params=SERVERS)
def django(request, run_service):
    return run_service(SERVERS[request.param], files={"app.py": APP}, env={"KIND": request.param})


def seen(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def test_a_request_is_named_by_its_route(django, receiver):
    assert django.get("/shop/items/7/", HEADERS).text == "item 7"
    assert django.get("/old/8").text == "item 8"

    receiver.wait(spans=2, logs=2)
    assert seen(receiver) == [
        ("GET /shop/items/<int:number>/", "SERVER", "s1", "UNSET"),
        (r"GET /old/(\d+)", "SERVER", None, "UNSET"),
    ]
    assert [(log.body, log.session) for log in receiver.logs] == [("item 7", "s1"), ("item 8", None)]


@pytest.mark.parametrize(
    ("path", "error"), [("/boom", ("ValueError", "sync", "s1")), ("/slow", ("LookupError", "async", "s1"))]
)
def test_an_unhandled_exception_is_one_error_although_django_logs_it(django, receiver, path, error):
    assert django.get(path, HEADERS).status == 500

    receiver.wait(spans=1, errors=1, logs=1 if path == "/boom" else 2)
    assert seen(receiver) == [(f"GET {path}", "SERVER", "s1", "ERROR")]
    assert errors(receiver) == [error]
    assert [(log.logger, log.session) for log in receiver.logs if log.logger != "shop"] == [("django.request", "s1")]


def test_what_becomes_a_4xx_is_no_error(django, receiver):
    assert [django.get(path, HEADERS).status for path in ("/missing", "/denied", "/nowhere", "/turned/409")] == [
        404,
        403,
        404,
        409,
    ]

    receiver.wait(spans=4)
    assert seen(receiver) == [
        ("GET /missing", "SERVER", "s1", "UNSET"),
        ("GET /denied", "SERVER", "s1", "UNSET"),
        ("GET", "SERVER", "s1", "UNSET"),
        ("GET /turned/<int:status>", "SERVER", "s1", "UNSET"),
    ]
    assert errors(receiver) == []


def test_what_a_middleware_turns_into_a_5xx_is_an_error(django, receiver):
    assert django.get("/turned/503", HEADERS).status == 503

    receiver.wait(spans=1, errors=1)
    assert seen(receiver) == [("GET /turned/<int:status>", "SERVER", "s1", "ERROR")]
    assert errors(receiver) == [("app.Turned", "503", "s1")]


def test_a_body_that_fails_half_way_is_an_error_of_its_request(django, receiver):
    django.raw(b"GET /stream HTTP/1.0\r\nHost: x\r\nx-highlight-request: s1/r1\r\n\r\n")

    receiver.wait(spans=1, logs=1, errors=1)
    assert seen(receiver) == [("GET /stream", "SERVER", "s1", "ERROR")]
    assert errors(receiver) == [("RuntimeError", "half-way", "s1")]
    assert [(log.body, log.session) for log in receiver.logs if log.logger == "shop"] == [("in chunk", "s1")]
