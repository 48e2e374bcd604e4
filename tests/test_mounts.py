"""Applications below another's path: a route's name holds the path that its application is mounted under, once."""

from __future__ import annotations

import pytest

WSGI = """
import logging, os
import bottle, falcon, flask, pyramid.config, pyramid.response
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import run_simple
from django.conf import settings
from django.http import HttpResponse
from django.urls import path, re_path, reverse

logging.getLogger("werkzeug").disabled = True
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", LOGGING_CONFIG=None,
    FORCE_SCRIPT_NAME=os.environ.get("FORCED"),
)
urlpatterns = [
    path("orders/<int:number>", lambda request, number: HttpResponse(reverse("order", args=[number])), name="order"),
    re_path(r"^old/(\\d+)$", lambda request, number: HttpResponse(request.path)),
]
from django.core.wsgi import get_wsgi_application

def of_flask():
    app = flask.Flask("of_flask")
    app.add_url_rule("/orders/<int:number>", "order", lambda number: flask.url_for("order", number=number))
    return app

of_bottle = bottle.Bottle()
of_bottle.route("/orders/<number>", callback=lambda number: bottle.request.fullpath)

class Order:
    def on_get(self, request, response, number):
        response.text = request.relative_uri

of_falcon = falcon.App()
of_falcon.add_route("/orders/{number}", Order())

with pyramid.config.Configurator() as config:
    config.add_route("order", "/orders/{number}")
    config.add_view(
        lambda request: pyramid.response.Response(request.route_path("order", **request.matchdict)), route_name="order"
    )
    of_pyramid = config.make_wsgi_app()

# A name that WSGI hands on as latin-1, and a mount in a mount.
mounts = {
    "/flask": of_flask(), "/bottle": of_bottle, "/falcon": of_falcon, "/pyramid": of_pyramid,
    "/django": get_wsgi_application(), "/gr\\u00fc\\u00df".encode().decode("latin-1"): of_flask(),
    "/deep": DispatcherMiddleware(of_flask(), {"/er": of_flask()}),
    "/proxied": ProxyFix(of_flask(), x_prefix=1),
}
app = DispatcherMiddleware(of_flask(), mounts)
run_simple("127.0.0.1", int(os.environ["PORT"]), app)
"""
ASGI = """
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", LOGGING_CONFIG=None)

async def order(request, number):
    return HttpResponse(request.path)

urlpatterns = [path("orders/<int:number>", order)]
from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount

app = Starlette(routes=[Mount("/shop", get_asgi_application())])
"""


def ask(service, path, **headers):
    return service.get(path, {"x-highlight-request": "s1/r1", **headers}).text


def seen(receiver):
    return [(span.name, span.attributes.get("http.route"), span.attributes["url.path"]) for span in receiver.spans]


def expected(*pairs):
    return [(f"GET {route}", route, path) for route, path in pairs]


def test_a_route_holds_the_path_of_its_mount(run_service, receiver):
    service = run_service("python app.py", files={"app.py": WSGI})
    mounts = ["", "/flask", "/bottle", "/falcon", "/pyramid", "/django", "/deep", "/deep/er"]
    for mount in mounts:
        path = f"{mount}/orders/7"
        assert ask(service, path) == path
    assert ask(service, "/django/old/7") == "/django/old/7"
    assert ask(service, "/gr%C3%BC%C3%9F/orders/7") == "/grüß/orders/7"
    assert ask(service, "/orders/nowhere").startswith("<!doctype html>")

    receiver.wait(spans=11)
    templates = dict.fromkeys(mounts, "<int:number>")
    templates.update({"/bottle": "<number>", "/falcon": "{number}", "/pyramid": "{number}"})
    assert seen(receiver) == [
        *expected(*[(f"{mount}/orders/{templates[mount]}", f"{mount}/orders/7") for mount in mounts]),
        *expected((r"/django/old/(\d+)", "/django/old/7"), ("/grüß/orders/<int:number>", "/grüß/orders/7")),
        ("GET", None, "/orders/nowhere"),
    ]


def test_where_a_proxy_strips_the_prefix_the_path_is_what_arrived(run_service, receiver):
    service = run_service("python app.py", files={"app.py": WSGI}, env={"FORCED": "/shop/"})
    assert ask(service, "/orders/7") == "/orders/7"  # nobody has said that there is a prefix
    assert ask(service, "/proxied/orders/7", **{"X-Forwarded-Prefix": "/shop"}) == "/shop/orders/7"
    assert ask(service, "/django/orders/7") == "/shop/orders/7"

    receiver.wait(spans=3)
    assert seen(receiver) == expected(
        ("/orders/<int:number>", "/orders/7"),
        ("/shop/orders/<int:number>", "/proxied/orders/7"),
        ("/shop/orders/<int:number>", "/django/orders/7"),
    )


@pytest.mark.parametrize("root", ["", "/root"])
def test_django_under_asgi(run_service, receiver, root):
    service = run_service("uvicorn app:app --port {port} --root-path '" + root + "'", files={"app.py": ASGI})
    assert ask(service, "/shop/orders/7") == f"{root}/shop/orders/7"

    receiver.wait(spans=1)
    assert seen(receiver) == expected((f"{root}/shop/orders/<int:number>", f"{root}/shop/orders/7"))
