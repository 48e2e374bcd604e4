"""A worker without any framework: jobs come in as lines, and are worked on in threads, pools and by four loggers."""

import asyncio
import logging
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import loguru
import structlog

from highlight_autoinstrument import (
    consume_error,
    message_context,
    parse_headers,
    record_count,
    record_exception,
    record_histogram,
    trace,
)
from highlight_autoinstrument import (
    log as log_directly,
)

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
log = logging.getLogger("worker")
loguru.logger.remove()
loguru.logger.add(sys.stderr, format="{level} {message}")
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer(sort_keys=True)],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)
pool = ThreadPoolExecutor(2)


@trace("sum")
def add(numbers):
    return sum(numbers)


async def ship(number):
    log.warning("shipping %s", number)
    with trace("box") as span:
        span.set_attribute("number", number)
        span.add_event("packed", {"number": number})
        span.update_name("packing")
        await asyncio.sleep(0)
    return number


def work(number, session):
    results = []
    with message_context([("x-highlight-request", f"{session}/r{number}".encode())]):
        log.warning("job %s", number, extra={"number": number})
        loguru.logger.warning("job {}", number)
        structlog.get_logger().warning("job", number=number)
        log_directly("job", "WARNING", {"number": number})
        record_count("jobs", 1)
        record_histogram("size", float(number))
        results.append(add([1, number]))
        results.append(pool.submit(lambda: (log.warning("in the pool"), number + 1)[1]).result())
        thread = threading.Thread(target=lambda: results.append(number + 2))
        thread.start()
        thread.join()
        results.append(asyncio.run(ship(number)))
        try:
            raise KeyError(number)
        except KeyError as error:
            log.exception("job %s failed", number)
            record_exception(error, number=number)
        results.append(tuple(parse_headers({"a": "b"})))
    try:
        with message_context({"x-highlight-request": f"{session}/r{number}"}), trace("inner"):
            raise ValueError(number)
    except ValueError as error:
        results.append(repr(error))
        consume_error(error, session, f"r{number}")
    return results


def failing(number):
    raise LookupError(number)


with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))) as server:
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as lines:
            for line in lines:
                number, session = line.split()
                try:
                    answer = work(int(number), session)
                except Exception as error:  # noqa: BLE001
                    answer = [repr(error)]
                lines.write(f"{answer}\n")
                lines.flush()
                thread = threading.Thread(target=failing, args=(7,), name="failing")
                thread.start()
                thread.join()
