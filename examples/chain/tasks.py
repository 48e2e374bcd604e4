"""Celery: a task asks the warehouse by gRPC."""

import os

import grpc
from celery import Celery

app = Celery("shop", broker=os.environ["REDIS"])


@app.task
def ship(number):
    with grpc.insecure_channel(os.environ["WAREHOUSE"]) as channel:
        reserve = channel.unary_unary("/Warehouse/Reserve")  # bytes in, bytes out
        return reserve(str(number).encode(), wait_for_ready=True, timeout=20).decode()
