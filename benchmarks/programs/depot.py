"""A Django application with one route, its middleware as a new project has it but for what needs a database."""

import os

from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path


def order(request, number):
    return JsonResponse({"order": number, "state": "sent"})


urlpatterns = [path("orders/<int:number>", order)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "depot_settings")
app = get_wsgi_application()
