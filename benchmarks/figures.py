"""What is measured: programs that start, that do one thing many times, and that serve as much as they can."""

from __future__ import annotations

import signal
from typing import NamedTuple

FLASK_REQUEST = "per request: Flask"
LOG_RECORD = "per log record"
READY = "import flask, requests; app = flask.Flask('shop')"
WSGI = ("python", "wsgi_client.py")
SHOP = (*WSGI, "shop")
ASGI = ("python", "asgi_client.py")
UVICORN = ("python", "-m", "uvicorn", "stock:app", "--no-access-log", "--log-level", "warning", "--port", "{port}")
# After SIGTERM it kills itself by the same signal, and no agent's exit handler runs.
UVICORN_STOP = signal.SIGINT
GUNICORN = ("python", "-m", "gunicorn", "shop:app", "--log-level", "warning", "--bind", "127.0.0.1:{port}")
THREADS = ("--worker-class", "gthread", "--workers", "1", "--threads", "4")
DJANGO = (("DJANGO_SETTINGS_MODULE", "depot_settings"),)
MESSAGES = 5000  # in the topic that is read


class Start(NamedTuple):
    """A program that only starts."""

    name: str
    command: tuple[str, ...]
    libraries: tuple[str, ...] = ()


class Work(NamedTuple):
    """A program that does one thing many times: `requests` requests of `each` units, of which each makes a record."""

    name: str
    command: tuple[str, ...]
    path: str
    requests: int
    records: str  # the kind: requests, calls, messages, logs or errors
    libraries: tuple[str, ...] = ("flask",)
    each: int = 1
    served: bool = False  # by uvicorn, to a client here
    variables: tuple[tuple[str, str], ...] = ()


class Memory(NamedTuple):
    """The most that a program had resident."""

    name: str
    command: tuple[str, ...]
    libraries: tuple[str, ...]


class Traffic(NamedTuple):
    """A server that answers as many requests as it can."""

    name: str
    command: tuple[str, ...]
    libraries: tuple[str, ...]
    stop: signal.Signals


LAUNCHER = Start("launcher", ("true",))
STARTS = (
    Start("start: empty program", ("python", "-c", "pass")),
    Start("start: Flask + requests ready", ("python", "-c", READY), ("flask",)),
    Start("start: Flask, first requests", (*SHOP, "/orders/{number}", "0", "1"), ("flask",)),
)
WITH_LAUNCHER = ", with its launcher"
WORKS = (
    Work(FLASK_REQUEST, SHOP, "/orders/{number}", 2000, "requests"),
    Work("per request: FastAPI", ASGI, "/orders/{number}", 2000, "requests", ("fastapi",)),
    Work(
        "per request: FastAPI, uvicorn",
        UVICORN,
        "/orders/{number}",
        1500,
        "requests",
        ("fastapi",),
        served=True,
    ),
    Work(
        "per request: Django",
        (*WSGI, "depot"),
        "/orders/{number}",
        2000,
        "requests",
        ("django",),
        variables=DJANGO,
    ),
    Work("per failing request: Flask", SHOP, "/broken/{number}", 800, "errors"),
    Work("per call: requests", SHOP, "/requests/{each}", 40, "calls", each=25),
    Work("per call: httpx", SHOP, "/httpx/{each}", 40, "calls", ("flask", "httpx"), each=25),
    Work(LOG_RECORD, SHOP, "/logs/{each}", 100, "logs", each=50),
    Work("per logged exception", SHOP, "/caught/{each}", 100, "errors", each=10),
    Work("per Kafka message: sent", SHOP, "/kafka/{each}", 60, "messages", ("flask", "kafka"), each=50),
    Work("per Kafka message: read", ("python", "kafka_consumer.py"), "read", MESSAGES - 100, "messages", ("kafka",)),
)
MEMORIES = (
    Memory("memory: Flask + requests ready", ("python", "-c", READY), ("flask",)),
    # Few requests between two pauses: whoever sends each alone would have a queue of them, unlike in a real server.
    Memory("memory: Flask, after its requests", (*SHOP, "/orders/{number}", "1000", "1", "5"), ("flask",)),
)
TRAFFIC = (
    Traffic("Flask, gunicorn", (*GUNICORN, *THREADS), ("flask",), signal.SIGTERM),
    Traffic("FastAPI, uvicorn", UVICORN, ("fastapi",), UVICORN_STOP),
)
PER_SECOND = "requests per second: "
SLOWEST = "99th percentile: "
MODULES = (
    Start("modules: empty program", ("python", "-c", "import sys; print(len(sys.modules))")),
    Start(
        "modules: Flask + requests ready", ("python", "-c", f"{READY}; import sys; print(len(sys.modules))"), ("flask",)
    ),
)

GROWTH_REQUESTS = 4000
SAMPLER = (("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.01"))


def grown(name: str, routes: int = 1, paths: int = 100, threads: int = 1) -> Work:
    return Work(name, ("python", "grown.py"), f"{routes},{paths},{threads},1", GROWTH_REQUESTS, "requests")


GROWTH = (
    grown("per request: 1 route, 100 paths, 1 thread"),
    grown("per request: 1,000 routes", routes=1000),
    grown("per request: 10,000 paths", paths=10_000),
    grown("per request: 64 threads", threads=64),
    # Five times as many, since what is loaded for the first record that is sent after all would weigh too much.
    Work("per request: not sampled", ("python", "grown.py"), "1,100,1,0", 5 * GROWTH_REQUESTS, "", variables=SAMPLER),
)


class Bound(NamedTuple):
    """How much of the cheapest other agent's cost this agent may have; or, absolute, how much it may cost."""

    most: float
    absolute: bool = False
    needs: tuple[str, ...] = ()  # figures in which an agent's records must have arrived for it to be compared


BOUNDS = {
    "start: empty program": Bound(0.15),
    "start: Flask + requests ready": Bound(0.35),
    FLASK_REQUEST: Bound(0.5),
    "per request: FastAPI": Bound(0.5),
    "per request: FastAPI, uvicorn": Bound(0.5),
    "per request: Django": Bound(0.5),
    "per failing request: Flask": Bound(0.5),
    "per call: requests": Bound(0.5),
    "per call: httpx": Bound(0.5),
    LOG_RECORD: Bound(0.5),
    "per logged exception": Bound(0.5),
    "memory: Flask + requests ready": Bound(0.75, needs=(FLASK_REQUEST, LOG_RECORD)),
    "memory: Flask, after its requests": Bound(0.75, needs=(FLASK_REQUEST, LOG_RECORD)),
    "per request: not sampled": Bound(10, absolute=True),
}
