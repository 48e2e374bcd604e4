"""Django REST Framework under Django's own server: what its handlers make of exceptions."""

from __future__ import annotations

APP = """
import logging, os, sys
from django.conf import settings

settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False, USE_TZ=True,
    LOGGING={"version": 1, "disable_existing_loggers": False, "loggers": {"django.server": {"level": "CRITICAL"}}},
    REST_FRAMEWORK={
        "EXCEPTION_HANDLER": f"{__name__}.handle", "UNAUTHENTICATED_USER": None,
        "DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
)
import django
django.setup()
from django.urls import include, path
from rest_framework.decorators import action, api_view
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView, exception_handler
from rest_framework.viewsets import ViewSet

log = logging.getLogger("shop")

class Swallowed(Exception): pass
class Unavailable(APIException): status_code = 503

def handle(error, context):
    if isinstance(error, Swallowed):
        return Response({"error": "sorry"}, status=int(str(error)))
    return exception_handler(error, context)

ERRORS = {
    "boom": ValueError("not handled"), "500": Swallowed("500"), "409": Swallowed("409"), "404": NotFound(),
    "400": ValidationError("no"), "503": Unavailable(),
}

class Orders(ViewSet):
    def retrieve(self, request, pk):
        log.warning("order %s", pk)
        if pk in ERRORS: raise type(ERRORS[pk])(*ERRORS[pk].args)
        return Response({"order": pk})

    @action(detail=True)
    def pay(self, request, pk): raise Swallowed("502")

class Own(APIView):
    def get(self, request, number): raise LookupError("in a view with a handler of its own")
    def handle_exception(self, exc): return Response({"error": "own"}, status=500)

class OwnSet(ViewSet):
    def retrieve(self, request, pk): raise Swallowed("501")
    def handle_exception(self, exc): return Response({"error": "own"}, status=501)

@api_view(["GET"])
def function(request, number): raise Swallowed("500")

router = SimpleRouter()
router.register("orders", Orders, basename="order")
router.register("sets", OwnSet, basename="set")
urlpatterns = [
    path("api/", include(router.urls)), path("own/<int:number>", Own.as_view()),
    path("function/<int:number>", function),
]

from django.core.management import execute_from_command_line
execute_from_command_line(["app.py", "runserver", "--noreload", os.environ["PORT"]])
"""
HEADERS = {"x-highlight-request": "s1/r1"}
PATHS = {
    "/api/orders/7/": 200,
    "/api/orders/404/": 404,
    "/api/orders/400/": 400,
    "/api/orders/409/": 409,
    "/api/orders/500/": 500,
    "/api/orders/503/": 503,
    "/api/orders/boom/": 500,
    "/api/orders/7/pay/": 502,
    "/api/sets/7/": 501,
    "/own/7": 500,
    "/function/7": 500,
}


def test_what_a_handler_turns_into_a_5xx_is_an_error_once(run_service, receiver):
    service = run_service("python app.py", files={"app.py": APP})

    assert {path: service.get(path, HEADERS).status for path in PATHS} == PATHS
    assert service.get("/api/orders/8/", {"x-highlight-request": "null"}).status == 200

    receiver.wait(spans=len(PATHS) + 1, logs=8, errors=7)
    order = "GET /api/orders/(?P<pk>[^/.]+)/"
    assert [(span.name, span.kind, span.session, span.status) for span in receiver.spans] == [
        (order, "SERVER", "s1", "UNSET"),
        (order, "SERVER", "s1", "UNSET"),
        (order, "SERVER", "s1", "UNSET"),
        (order, "SERVER", "s1", "UNSET"),
        (order, "SERVER", "s1", "ERROR"),
        (order, "SERVER", "s1", "ERROR"),
        (order, "SERVER", "s1", "ERROR"),
        (f"{order}pay/", "SERVER", "s1", "ERROR"),
        ("GET /api/sets/(?P<pk>[^/.]+)/", "SERVER", "s1", "ERROR"),
        ("GET /own/<int:number>", "SERVER", "s1", "ERROR"),
        ("GET /function/<int:number>", "SERVER", "s1", "ERROR"),
        (order, "SERVER", None, "UNSET"),
    ]
    assert [(error.type, error.message, error.session, error.source) for error in receiver.errors] == [
        ("__main__.Swallowed", "500", "s1", "span"),
        ("__main__.Unavailable", "A server error occurred.", "s1", "span"),
        ("ValueError", "not handled", "s1", "span"),
        ("__main__.Swallowed", "502", "s1", "span"),
        ("__main__.Swallowed", "501", "s1", "span"),
        ("LookupError", "in a view with a handler of its own", "s1", "span"),
        ("__main__.Swallowed", "500", "s1", "span"),
    ]
    said = [(log.body, log.session) for log in receiver.logs if log.logger == "shop"]
    assert said == [
        *[(f"order {pk}", "s1") for pk in ("7", "404", "400", "409", "500", "503", "boom")],
        ("order 8", None),
    ]
