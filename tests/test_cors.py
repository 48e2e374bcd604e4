"""The browser client's headers through the CORS answers of real applications, as a browser judges them."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask, request
from flask_cors import CORS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from werkzeug.test import Client, EnvironBuilder

from highlight_autoinstrument import cors

SHOP, EVIL = "https://shop.example", "https://evil.example"
OURS = "traceparent,x-highlight-request"
ALL_OURS = "baggage,traceparent,tracestate,x-highlight-request"

ANYONE = ("Access-Control-Allow-Origin", "*")
ORIGIN, CREDENTIALS = ("Access-Control-Allow-Origin", SHOP), ("Access-Control-Allow-Credentials", "true")
ALLOW = "Access-Control-Allow-Headers"


def as_bytes(headers):
    return [(name.encode(), value.encode()) for name, value in headers]


@pytest.mark.parametrize(
    ("requested", "seen", "ours"),
    [
        ("content-type,traceparent,x-highlight-request", "content-type", ("traceparent", "x-highlight-request")),
        ("traceparent,x-highlight-request", None, ("traceparent", "x-highlight-request")),
        (ALL_OURS, None, tuple(ALL_OURS.split(","))),
        ("X-Highlight-Request", None, ("X-Highlight-Request",)),
        ("Traceparent , X-A,\tTRACEPARENT ,x-b", "X-A,x-b", ("Traceparent",)),
        ("x-a, x-b", "x-a, x-b", ()),
        (" x-a ,,x-b ", " x-a ,,x-b ", ()),
        ("x-a, traceparent, x-b", "x-a, x-b", ("traceparent",)),
        (" , traceparent,", None, ("traceparent",)),
        ("", "", ()),
        ("x-traceparent,traceparent-x,x-highlight-requests", "x-traceparent,traceparent-x,x-highlight-requests", ()),
        ("é,traceparent", "é", ("traceparent",)),
    ],
)
def test_what_the_application_sees(requested, seen, ours):
    assert cors.hide(requested) == (seen, ours)

    headers = [(b"host", b"a"), (b"Access-Control-Request-Headers", requested.encode("latin-1")), (b"origin", b"b")]
    line = [] if seen is None else [(b"Access-Control-Request-Headers", seen.encode("latin-1"))]
    assert cors.hide_bytes(headers) == ([headers[0], *line, headers[2]], ours)


def test_a_request_header_on_two_lines():
    name = b"access-control-request-headers"
    headers = [(name, b"traceparent"), (name, b"x-a,Traceparent,baggage"), (b"accept", b"*/*")]

    assert cors.hide_bytes(headers) == ([(name, b"x-a"), (b"accept", b"*/*")], ("traceparent", "baggage"))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([ORIGIN], [ORIGIN, (ALLOW, "Traceparent, x-highlight-request")]),
        ([ANYONE], [ANYONE, (ALLOW, "Traceparent, x-highlight-request")]),
        (
            [(ALLOW.lower(), "X-B,  content-type"), ORIGIN, ("Vary", "Origin")],
            [(ALLOW.lower(), "X-B,  content-type, Traceparent, x-highlight-request"), ORIGIN, ("Vary", "Origin")],
        ),
        ([ORIGIN, (ALLOW, "")], [ORIGIN, (ALLOW, "Traceparent, x-highlight-request")]),
        ([ORIGIN, (ALLOW, "X-A, TRACEPARENT")], [ORIGIN, (ALLOW, "X-A, TRACEPARENT, x-highlight-request")]),
        ([ORIGIN, (ALLOW, "X-Highlight-Request,traceparent")], None),
        (
            [ORIGIN, (ALLOW, "traceparent"), ("X", "y"), (ALLOW, "X-A")],
            [ORIGIN, (ALLOW, "traceparent"), ("X", "y"), (ALLOW, "X-A, x-highlight-request")],
        ),
        ([ORIGIN, (ALLOW, "traceparent"), (ALLOW, "x-highlight-request")], None),
        ([ORIGIN, (ALLOW, "*")], None),
        ([ORIGIN, (ALLOW, "X-A"), (ALLOW, "X-B, *")], None),
        (
            [ORIGIN, (ALLOW, "*"), CREDENTIALS],
            [ORIGIN, (ALLOW, "*, Traceparent, x-highlight-request"), CREDENTIALS],
        ),
        # "TRUE" and "1" are no credentials to a browser
        ([ORIGIN, (ALLOW, "*"), ("Access-Control-Allow-Credentials", "TRUE")], None),
        # the application has not allowed the origin
        ([], None),
        ([(ALLOW, "X-A")], None),
        ([("Access-Control-Allow-Origin", "null")], None),
        ([("Access-Control-Allow-Origin", "")], None),
        ([("Access-Control-Allow-Origin", EVIL)], None),
        ([("Access-Control-Allow-Origin", SHOP + "/")], None),
        ([("Access-Control-Allow-Origin", SHOP.upper())], None),
        ([("Access-Control-Allow-Origin", f"{SHOP}, {EVIL}")], None),
        ([ORIGIN, ORIGIN], None),
    ],
)
def test_the_answer(headers, expected):
    asked = ("Traceparent", "x-highlight-request")
    before = list(headers)

    assert cors.allow(headers, asked, SHOP, 204) == expected
    assert headers == before

    if expected and len(expected) > len(headers):
        expected = [*expected[:-1], (ALLOW.lower(), expected[-1][1])]  # ASGI wants new names in lower case
    assert cors.allow_bytes(as_bytes(headers), asked, SHOP, 204) == (expected and as_bytes(expected))


@pytest.mark.parametrize(
    ("asked", "origin", "status"),
    [
        ((), SHOP, 200),
        (("traceparent",), None, 200),
        (("traceparent",), "", 200),
        (("traceparent",), EVIL, 200),
        (("traceparent",), SHOP, 199),
        (("traceparent",), SHOP, 302),
        (("traceparent",), SHOP, 400),
        (("traceparent",), SHOP, 405),
    ],
)
def test_an_answer_that_is_no_permission_or_was_not_asked_for_ours_stays(asked, origin, status):
    assert cors.allow([ORIGIN], asked, origin, status) is None
    if origin != EVIL:
        assert cors.allow([ANYONE], asked, origin, status) is None


def test_an_opaque_origin_that_the_application_itself_allows():
    allowed = ("Access-Control-Allow-Origin", "null")

    assert cors.allow([allowed], ("traceparent",), "null", 200) == [allowed, (ALLOW, "traceparent")]


# What a browser does with the answer (the Fetch standard's CORS-preflight fetch).
def lets_through(answer, origin, method, requested, *, credentials=False):
    status, headers = answer
    found = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)

    def listed(name):
        return [item.strip() for item in ",".join(found.get(name, [])).split(",") if item.strip()]

    allowed_origin = ", ".join(found.get("access-control-allow-origin", []))
    if not 200 <= status < 300 or allowed_origin not in ((origin,) if credentials else (origin, "*")):
        return False
    if credentials and found.get("access-control-allow-credentials") != ["true"]:
        return False
    methods = listed("access-control-allow-methods")
    if method not in (*methods, "GET", "HEAD", "POST") and (credentials or "*" not in methods):
        return False
    names = [name.lower() for name in listed("access-control-allow-headers")]
    return ("*" in names and not credentials) or all(name in names for name in requested.split(","))


def preflight(method, requested, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    return headers if requested is None else {**headers, "Access-Control-Request-Headers": requested}


def ask_wsgi(app, method, requested, origin, *, agent):
    """Send a preflight to the application, with what the agent does to it and to the answer, or without."""
    environ = EnvironBuilder("/", method="OPTIONS", headers=preflight(method, requested, origin)).get_environ()
    ours = ()
    if agent and requested is not None:
        rest, ours = cors.hide(environ.pop("HTTP_ACCESS_CONTROL_REQUEST_HEADERS"))
        if rest is not None:
            environ["HTTP_ACCESS_CONTROL_REQUEST_HEADERS"] = rest
    with Client(app).open(environ) as response:
        headers = list(response.headers)
        changed = cors.allow(headers, ours, origin, response.status_code)
        return response.status_code, headers if changed is None else changed


def ask_asgi(app, method, requested, origin, *, agent):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"api.example")] + [
        (name.lower().encode(), value.encode()) for name, value in preflight(method, requested, origin).items()
    ]
    ours = ()
    if agent:
        headers, ours = cors.hide_bytes(headers)
    scope = {
        "type": "http",
        "method": "OPTIONS",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(app(scope, receive, send))
    start = sent[0]
    changed = cors.allow_bytes(start["headers"], ours, origin, start["status"])
    return start["status"], [
        (name.decode(), value.decode()) for name, value in (start["headers"] if changed is None else changed)
    ]


def flask_app(**options):
    app = Flask("shop")
    app.route("/", methods=["GET", "POST", "PUT"])(lambda: "ok")
    if options:
        CORS(app, **options)
    return app


def starlette_app(**options):
    middleware = [Middleware(CORSMiddleware, **options)] if options else []
    route = Route("/", lambda _: PlainTextResponse("ok"), methods=["GET", "POST", "PUT"])
    return Starlette(routes=[route], middleware=middleware)


def by_hand_fixed():
    app = flask_app()

    @app.after_request
    def fixed(response):
        response.headers["Access-Control-Allow-Origin"] = SHOP
        response.headers["Access-Control-Allow-Headers"] = "Content-Type,Authorization"
        response.headers["Access-Control-Allow-Methods"] = "GET,POST,PUT"
        return response

    return app


def by_hand_mirror():
    app = flask_app()

    @app.after_request
    def mirror(response):
        response.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
        response.headers["Access-Control-Allow-Headers"] = request.headers.get(
            "Access-Control-Request-Headers", "Authorization"
        )
        return response

    return app


def by_hand_strict():
    app = flask_app()

    @app.before_request
    def check():
        names = request.headers.get("Access-Control-Request-Headers", "")
        if not {name.strip().lower() for name in names.split(",") if name} <= {"content-type"}:
            return "no", 403
        return None

    @app.after_request
    def fixed(response):
        response.headers["Access-Control-Allow-Origin"] = SHOP
        response.headers["Access-Control-Allow-Headers"] = "content-type"
        return response

    return app


# name, how to ask it, the application, whether the browser sends credentials, whether it blocks without the agent, and
# a header that the application allows
APPLICATIONS = [
    pytest.param(*values, id=name)
    for name, *values in (
        (
            "flask-list",
            ask_wsgi,
            lambda: flask_app(origins=[SHOP], allow_headers=["content-type"]),
            False,
            True,
            "content-type",
        ),
        ("flask-no-header", ask_wsgi, lambda: flask_app(origins=[SHOP, EVIL], allow_headers=[]), False, True, None),
        (
            "flask-credentials",
            ask_wsgi,
            lambda: flask_app(origins=[SHOP], allow_headers=["x-a"], supports_credentials=True),
            True,
            True,
            "x-a",
        ),
        ("flask-any-header", ask_wsgi, lambda: flask_app(origins=[SHOP]), False, False, "x-a"),
        (
            "flask-wildcard",
            ask_wsgi,
            lambda: flask_app(send_wildcard=True, allow_headers=["content-type", "x-a"]),
            False,
            True,
            "x-a",
        ),
        ("by-hand-fixed", ask_wsgi, by_hand_fixed, False, True, "content-type"),
        ("by-hand-mirror", ask_wsgi, by_hand_mirror, False, False, "x-a"),
        ("by-hand-strict", ask_wsgi, by_hand_strict, False, True, "content-type"),
        (
            "starlette-list",
            ask_asgi,
            lambda: starlette_app(allow_origins=[SHOP], allow_methods=["*"]),
            False,
            True,
            "content-type",
        ),
        (
            "starlette-regex",
            ask_asgi,
            lambda: starlette_app(allow_origin_regex=r"https://shop\..*", allow_methods=["*"], allow_headers=["X-A"]),
            False,
            True,
            "x-a",
        ),
        (
            "starlette-credentials",
            ask_asgi,
            lambda: starlette_app(allow_origins=["*"], allow_methods=["*"], allow_credentials=True),
            True,
            True,
            "content-type",
        ),
        (
            "starlette-any-header",
            ask_asgi,
            lambda: starlette_app(allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]),
            False,
            False,
            "x-a",
        ),
    )
]


@pytest.mark.parametrize("ours", [OURS, ALL_OURS])
@pytest.mark.parametrize("with_others", [False, True])
@pytest.mark.parametrize(("ask", "make", "credentials", "blocks", "others"), APPLICATIONS)
def test_an_origin_that_the_application_allows_may_send_our_headers(
    ask, make, credentials, blocks, others, with_others, ours
):
    app = make()
    requested = f"{others},{ours}" if with_others and others else ours

    bare = ask(app, "POST", requested, SHOP, agent=False)
    assert lets_through(bare, SHOP, "POST", requested, credentials=credentials) is not blocks

    helped = ask(app, "POST", requested, SHOP, agent=True)
    assert lets_through(helped, SHOP, "POST", requested, credentials=credentials)


@pytest.mark.parametrize(("ask", "make", "credentials", "blocks", "others"), APPLICATIONS)
def test_nothing_else_of_the_answer_changes(ask, make, credentials, blocks, others):
    app = make()

    ordinary = ask(app, "POST", others, SHOP, agent=False)
    helped = ask(app, "POST", f"{others},{OURS}" if others else OURS, SHOP, agent=True)

    def without_the_list(answer):
        return answer[0], [pair for pair in answer[1] if pair[0].lower() != ALLOW.lower()]

    assert without_the_list(helped) == without_the_list(ordinary)


@pytest.mark.parametrize(
    ("ask", "make", "method", "origin", "requested"),
    [
        (ask_wsgi, flask_app, "GET", SHOP, OURS),
        (ask_wsgi, lambda: flask_app(origins=[SHOP]), "GET", EVIL, OURS),
        (ask_wsgi, lambda: flask_app(origins=[SHOP], allow_headers=["x-a"]), "GET", SHOP, "x-b," + OURS),
        (ask_wsgi, lambda: flask_app(origins=[SHOP], methods=["GET"]), "PUT", SHOP, OURS),
        (ask_wsgi, by_hand_fixed, "GET", EVIL, OURS),
        (ask_wsgi, by_hand_strict, "GET", SHOP, "x-a," + OURS),
        (ask_asgi, starlette_app, "GET", SHOP, OURS),
        (ask_asgi, lambda: starlette_app(allow_origins=[SHOP]), "GET", EVIL, OURS),
        (ask_asgi, lambda: starlette_app(allow_origins=[SHOP]), "PUT", SHOP, OURS),
        (ask_asgi, lambda: starlette_app(allow_origins=[SHOP], allow_headers=["x-a"]), "GET", SHOP, "x-b," + OURS),
    ],
)
def test_what_the_application_refuses_stays_refused(ask, make, method, origin, requested):
    answer = ask(make(), method, requested, origin, agent=True)

    assert not lets_through(answer, origin, method, requested)
    if origin == EVIL:
        assert "traceparent" not in str(answer[1])


# Django's settings can be made only once in a process, and other tests have theirs.
DJANGO = """
import json, sys
import test_cors
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", SECRET_KEY="x", INSTALLED_APPS=["corsheaders"],
    MIDDLEWARE=["corsheaders.middleware.CorsMiddleware"], **json.loads(sys.argv[1]),
)
import django
django.setup()
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("ok"))]
app = WSGIHandler()
asks = json.loads(sys.argv[2])
print(json.dumps([test_cors.ask_wsgi(app, *ask, agent=agent) for ask in asks for agent in (False, True)]))
"""


@pytest.mark.parametrize(
    ("settings", "credentials"),
    [
        ({"CORS_ALLOWED_ORIGINS": [SHOP]}, False),
        ({"CORS_ALLOW_ALL_ORIGINS": True, "CORS_ALLOW_HEADERS": ["content-type"]}, False),
        ({"CORS_ALLOWED_ORIGINS": [SHOP], "CORS_ALLOW_CREDENTIALS": True, "CORS_ALLOW_HEADERS": ["*"]}, True),
        ({"CORS_ALLOWED_ORIGIN_REGEXES": [r"https://shop\."], "CORS_ALLOW_HEADERS": []}, False),
    ],
)
def test_django_cors_headers(settings, credentials):
    asks = [("POST", OURS, SHOP), ("GET", ALL_OURS, SHOP), ("GET", OURS, EVIL), ("GET", "x-secret," + OURS, SHOP)]
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, json.dumps(settings), json.dumps(asks)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)

    verdicts = [
        tuple(lets_through(answers[2 * n + m], origin, method, requested, credentials=credentials) for m in (0, 1))
        for n, (method, requested, origin) in enumerate(asks)
    ]

    everyone = settings.get("CORS_ALLOW_ALL_ORIGINS", False)
    assert verdicts == [(False, True), (False, True), (False, everyone), (False, False)]
