"""Django: a page, a stream, a form and a view that fails."""

import logging
import os
import sys

from django.conf import settings
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="an example",
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {"django.server": {"handlers": [], "level": "CRITICAL", "propagate": False}},
    },
)
log = logging.getLogger("django_app")


def order(request, number):
    log.info("order %s", number)
    if number > 1000:
        raise KeyError(number)
    return JsonResponse({"order": number})


def stream(request, number):
    def rows():
        for row in range(3):
            log.info("row %s of %s", row, number)
            yield f"{row}\n".encode()

    return StreamingHttpResponse(rows(), content_type="text/plain")


def form(request):
    return HttpResponse(request.body[::-1], headers={"X-Length": str(len(request.body))})


urlpatterns = [path("orders/<int:number>", order), path("stream/<int:number>", stream), path("form", form)]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(
        [sys.argv[0], "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{os.environ['PORT']}"]
    )
