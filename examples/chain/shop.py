"""Django: an order becomes a message in Kafka."""

import os
import sys

from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="an example")

from kafka import KafkaProducer  # noqa: E402

producer = KafkaProducer(bootstrap_servers=os.environ["KAFKA"])


def order(request, number):
    producer.send("orders", str(number).encode()).get(10)
    return HttpResponse(f"order {number} is on its way")


urlpatterns = [path("orders/<int:number>", order)]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
