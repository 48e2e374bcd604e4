"""Calls the FastAPI application as a server does, in its own process.

    python asgi_client.py PATH REQUESTS EACH

Prints what wsgi_client.py prints.
"""

import asyncio
import sys
import time

from stock import app

ANSWERED = 20
WARM_UP = 10
PAUSE_SECONDS = 0.005


async def request(path, number):
    path = path.format(number=number)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"gzip, deflate, br"),
            (b"x-highlight-request", f"abcdefghijklmnopqrstuvwxyz{number % 97:02}/{number:032x}".encode()),
            (b"traceparent", f"00-{number + 1:032x}-{number + 1:016x}-01".encode()),
        ],
        "state": {},
    }

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        return None

    await app(scope, receive, send)


async def main(path, count, each):
    for number in range(WARM_UP):
        await asyncio.create_task(request(path, number))
    print(time.process_time_ns(), flush=True)
    for number in range(int(count)):
        await asyncio.create_task(request(path, number))  # a task for each, as servers have it
        if number % ANSWERED == 0:
            await asyncio.sleep(PAUSE_SECONDS)


asyncio.run(main(*sys.argv[1:]))
