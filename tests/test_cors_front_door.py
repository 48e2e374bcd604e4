"""A cross-origin call with the browser client's headers passes where the application allows the origin, only there."""

from __future__ import annotations

import pytest

FLASK = """
import logging, os
from flask import Flask, request
from flask_cors import CORS

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
CORS(app, origins=["https://shop.example"], allow_headers=["content-type"])

@app.post("/order")
def order(): return request.headers.get("x-highlight-request", "none")

app.run(port=int(os.environ["PORT"]))
"""
DJANGO = """
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None,
    INSTALLED_APPS=["corsheaders"], MIDDLEWARE=["corsheaders.middleware.CorsMiddleware"],
    CORS_ALLOWED_ORIGINS=["https://shop.example"], CORS_ALLOW_HEADERS=["content-type"],
)
import django
django.setup()
urlpatterns = [path("order", lambda request: HttpResponse(request.headers.get("x-highlight-request", "none")))]
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def order(request): return PlainTextResponse(request.headers.get("x-highlight-request", "none"))

app = Starlette(
    routes=[Route("/order", order, methods=["POST"])],
    middleware=[Middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["POST"],
                           allow_headers=["content-type"])],
)
"""
BY_HAND = """
def app(environ, start_response):
    headers = [("Content-Type", "text/plain")]
    if environ.get("HTTP_ORIGIN") == "https://shop.example":
        headers += [("Access-Control-Allow-Origin", "https://shop.example"),
                    ("Access-Control-Allow-Methods", "POST"), ("Access-Control-Allow-Headers", "Content-Type")]
    start_response("200 OK", headers)
    return [environ.get("HTTP_X_HIGHLIGHT_REQUEST", "none").encode()]
"""
APPLICATIONS = {
    "flask-cors": (FLASK, "python app.py"),
    "django-cors-headers": (DJANGO, "gunicorn app:application -b 127.0.0.1:{port} --log-level critical"),
    "starlette": (STARLETTE, "uvicorn app:app --port {port} --log-level critical"),
    "by hand": (BY_HAND, "gunicorn app:app -b 127.0.0.1:{port} --log-level critical"),
}
ASKED = "content-type,traceparent,x-highlight-request"


@pytest.fixture(params=APPLICATIONS)
def application(request, run_service):
    source, command = APPLICATIONS[request.param]

    def start(env=None, **options):
        # Flask puts the methods that it allows into a set, whose order is another one in each process.
        return run_service(command, files={"app.py": source}, env={"PYTHONHASHSEED": "0", **(env or {})}, **options)

    return start


def preflight(service, origin="https://shop.example", asked=ASKED, method="POST"):
    return service.request(
        "OPTIONS",
        "/order",
        {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": asked},
    )


def passes(answer, origin, asked):
    """Whether a browser goes on after this answer (Fetch's CORS-preflight check)."""
    allowed = {name.strip().lower() for name in (answer.header("Access-Control-Allow-Headers") or "").split(",")}
    return (
        200 <= answer.status < 300
        and answer.header("Access-Control-Allow-Origin") in (origin, "*")
        and all(name in allowed or "*" in allowed for name in asked.split(","))
    )


@pytest.mark.parametrize("asked", [ASKED, "x-highlight-request", "traceparent,x-highlight-request"])
def test_the_clients_headers_pass_where_the_origin_is_allowed(application, receiver, asked):
    service = application()

    assert passes(preflight(service, asked=asked), "https://shop.example", asked)
    answer = service.request("POST", "/order", {"Origin": "https://shop.example", "x-highlight-request": "s1/r1"}, b"")
    assert answer.text == "s1/r1"


def test_without_the_agent_they_are_refused(application, receiver):
    service = application(bare=True)

    assert not passes(preflight(service), "https://shop.example", ASKED)
    assert passes(preflight(service, asked="content-type"), "https://shop.example", "content-type")


def test_who_is_refused_stays_refused(application, receiver):
    service = application()

    assert not passes(preflight(service, origin="https://evil.example"), "https://evil.example", ASKED)
    assert not passes(preflight(service, asked=f"{ASKED},x-secret"), "https://shop.example", f"{ASKED},x-secret")


def test_nothing_else_of_the_answer_changes(application, receiver):
    bare, under_agent = application(bare=True), application()

    def without_date(answer):
        return answer.status, [(name, value) for name, value in answer.headers if name.lower() != "date"], answer.body

    for asked in ("content-type", "x-other"):
        assert without_date(preflight(under_agent, asked=asked)) == without_date(preflight(bare, asked=asked))
    ordinary = without_date(preflight(bare, asked="content-type"))
    status, headers, body = without_date(preflight(under_agent))
    assert (status, body) == (ordinary[0], ordinary[2])
    assert [pair for pair in headers if pair[0].lower() != "access-control-allow-headers"] == [
        pair for pair in ordinary[1] if pair[0].lower() != "access-control-allow-headers"
    ]


def test_it_can_be_switched_off(application, receiver):
    service = application(env={"HIGHLIGHT_CORS": "off"})

    assert not passes(preflight(service), "https://shop.example", ASKED)
