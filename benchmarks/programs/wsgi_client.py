"""Calls a WSGI application as a server does, in its own process: PATH is one route, EACH the units in one request.

    python wsgi_client.py MODULE PATH REQUESTS EACH [ANSWERED]

Before the part that counts it prints the CPU time that the process has used; what it uses from then until its end is
what the requests cost, background threads and the last export included.
"""

import importlib
import io
import os
import sys
import time

ANSWERED = 20  # requests between two pauses, in which a background thread may work off what waits
WARM_UP = 10
PAUSE_SECONDS = 0.005

environ_template = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "50000",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
    "HTTP_ACCEPT": "application/json",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": open(os.devnull, "w"),  # noqa: SIM115 - as long as the program
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def start_response(status, headers, exc_info=None):
    return None


def request(app, path, number):
    environ = {
        **environ_template,
        "PATH_INFO": path.format(number=number),
        "HTTP_X_HIGHLIGHT_REQUEST": f"abcdefghijklmnopqrstuvwxyz{number % 97:02}/{number:032x}",
        "HTTP_TRACEPARENT": f"00-{number + 1:032x}-{number + 1:016x}-01",
        "wsgi.input": io.BytesIO(),
    }
    body = app(environ, start_response)
    try:
        return b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


def main(module, path, count, each, answered=ANSWERED):
    app = importlib.import_module(module).app
    path = path.replace("{each}", each)
    for number in range(WARM_UP):
        request(app, path, number)
    print(time.process_time_ns(), flush=True)
    for number in range(int(count)):
        request(app, path, number)
        if number % int(answered) == 0:
            time.sleep(PAUSE_SECONDS)


main(*sys.argv[1:])
