"""A Flask application that does one thing per route, and knows nothing of whoever watches it."""

import functools
import logging
import os

import flask
import requests

app = flask.Flask(__name__)
session = requests.Session()
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
handler = logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115 - as long as the program
handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
log.addHandler(handler)


@app.get("/orders/<int:number>")
def order(number):
    return {"order": number, "state": "sent"}


@app.get("/broken/<int:number>")
def broken(number):
    return {"order": number, "price": price(number)}


def price(number):
    return sum(piece(number, index) for index in range(3))


def piece(number, index):
    return check(number) * index


def check(number):
    msg = f"order {number} has no price"
    raise LookupError(msg)


@app.get("/logs/<int:count>")
def logs(count):
    for number in range(count):
        log.info("order %d of %s: %s", number, "a customer", "sent")
    return "ok"


@app.get("/caught/<int:count>")
def caught(count):
    for number in range(count):
        catch(number)
    return "ok"


def catch(number):
    try:
        price(number)
    except LookupError:
        log.exception("no price")


@app.get("/requests/<int:count>")
def requests_calls(count):
    for _ in range(count):
        session.get(os.environ["SINK"] + "/stock").raise_for_status()
    return "ok"


@app.get("/httpx/<int:count>")
def httpx_calls(count):
    for _ in range(count):
        httpx_client().get(os.environ["SINK"] + "/stock").raise_for_status()
    return "ok"


@app.get("/kafka/<int:count>")
def kafka_messages(count):
    for number in range(count):
        kafka_producer().send("sent", b"order %d" % number)
    kafka_producer().flush()
    return "ok"


@functools.cache
def httpx_client():
    import httpx

    return httpx.Client()


@functools.cache
def kafka_producer():
    import kafka

    return kafka.KafkaProducer(bootstrap_servers=os.environ["KAFKA"])
