"""A Flask application of many routes, called by many threads for many paths, as a server does, in its own process.

    python grown.py ROUTES,PATHS,THREADS,TRACED REQUESTS EACH

Prints what wsgi_client.py prints. TRACED is 1 if the requests come with a trace's id; EACH is always 1.
"""

import io
import random
import sys
import threading
import time

import flask

ANSWERED = 20
WARM_UP = 100
PAUSE_SECONDS = 0.005
IDS = [random.Random(number).getrandbits(128) for number in range(1000)]  # by which a sampler goes

app = flask.Flask(__name__)


def order(number):
    return {"order": number, "state": "sent"}


def start_response(status, headers, exc_info=None):
    return None


def request(number, routes, paths, traced):
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": f"/route{number % routes}/orders/{number % paths}",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
        "HTTP_X_HIGHLIGHT_REQUEST": f"abcdefghijklmnopqrstuvwxyz{number % 97:02}/{IDS[number % len(IDS)]:032x}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input": io.BytesIO(),
    }
    if traced:
        environ["HTTP_TRACEPARENT"] = f"00-{number + 1:032x}-{number + 1:016x}-01"
    body = app(environ, start_response)
    try:
        return b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


def work(numbers, options):
    for number in numbers:
        request(number, *options)
        if number % ANSWERED == 0:
            time.sleep(PAUSE_SECONDS)


def main(options, count, each):
    routes, paths, threads, traced = map(int, options.split(","))
    for number in range(routes):
        app.add_url_rule(f"/route{number}/orders/<int:number>", f"order{number}", order)
    for number in range(WARM_UP):
        request(number, routes, paths, traced)
    print(time.process_time_ns(), flush=True)
    workers = [
        threading.Thread(target=work, args=(range(first, int(count), threads), (routes, paths, traced)))
        for first in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


main(*sys.argv[1:])
