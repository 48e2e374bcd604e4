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


IN_PROCESS = """
import gc
import sys
from app import application, log
from django.core.signals import request_finished

def finished(**_):
    log.warning("finished")

request_finished.connect(finished)
request = {"REQUEST_METHOD": "GET", "PATH_INFO": "/items", "wsgi.input": sys.stdin.buffer, "SERVER_NAME": "x",
           "SERVER_PORT": "80", "wsgi.url_scheme": "http", "HTTP_X_HIGHLIGHT_REQUEST": "s1/r1"}

def call(path):
    return application(dict(request, PATH_INFO=path), lambda status, headers, *_: print(status))

response = call("/shop/items/7/")
print(type(response).__name__, response.status_code, response["Content-Type"])
print(bytes(response).decode(), len(list(response)))
response.close()
response.close()
call("/shop/items/8/")  # and nobody closes it
print(list(call("/old/9")), type(call("/stream")).__name__)
gc.collect()  # a response is part of a circle in some versions
"""
ASGI_IN_PROCESS = """
import asyncio
from app import application

async def call(**scope):
    sent = []
    messages = [{"type": "http.request"}]
    async def receive():
        return messages.pop() if messages else await asyncio.sleep(60)
    async def send(message): sent.append(message)
    scope = {"type": "http", "method": "GET", "path": "/shop/items/7/", **scope}
    await application(scope, receive, send)
    print(sent[0]["status"], sent[1]["body"])

asyncio.run(call(query_string="a=b", headers=[(b"x-highlight-request", b"s1/r1")]))
asyncio.run(call(query_string=b"a=b", headers=[(b"x-highlight-request", b"s2/r2")]))
"""


def test_middleware_around_the_application_has_djangos_own_response(run_python, receiver):
    result = run_python(IN_PROCESS, files={"app.py": APP}, env={"KIND": "wsgi"})

    assert result.stdout.splitlines() == [
        "200 OK",
        "HttpResponse 200 text/html; charset=utf-8",
        "Content-Type: text/html; charset=utf-8",
        "",
        "item 7 1",
        "200 OK",
        "200 OK",
        "200 OK",
        "[b'item 9'] Body",
    ]
    receiver.wait(spans=4, logs=5)
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [
        ("GET /shop/items/<int:number>/", "s1", "UNSET"),
        ("GET /shop/items/<int:number>/", "s1", "UNSET"),
        (r"GET /old/(\d+)", "s1", "UNSET"),
        ("GET /stream", "s1", "UNSET"),
    ]
    assert [(log.body, log.session) for log in receiver.logs] == [
        ("item 7", "s1"),
        ("finished", "s1"),
        ("finished", None),  # closed a second time, after the request
        ("item 8", "s1"),
        ("item 9", "s1"),
    ]


def test_a_scope_with_text_in_place_of_bytes_is_served_as_django_serves_it(run_python, receiver):
    result = run_python(ASGI_IN_PROCESS, files={"app.py": APP}, env={"KIND": "asgi"})

    assert result.stdout.splitlines() == ["200 b'item 7'"] * 2, result.stderr
    receiver.wait(spans=2, logs=2)
    assert [(span.name, span.session) for span in receiver.spans] == [
        ("GET /shop/items/<int:number>/", "s1"),
        ("GET /shop/items/<int:number>/", "s2"),
    ]
