"""Starts programs as new processes would start, without the time that an interpreter takes: each is a fork of this one.

A line of JSON says what: the environment, where the output goes, and whether the agent is there. The answer is the
process' exit status. What the program does stands below.
"""

# ruff: noqa: E402, LOG015 - a program, whose beginning is the fork

import _signal
import gzip  # noqa: F401 - what the agent loads as well, once for all
import json
import os
import platform  # noqa: F401
import ssl  # noqa: F401
import sys

import opentelemetry.context
import opentelemetry.trace  # noqa: F401

TEMPLATE, INJECT = sys.argv[1:]
MOST_SECONDS = 60

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    _, status = os.waitpid(child, 0)
    print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
else:
    os._exit(0)

_signal.alarm(MOST_SECONDS)  # what hangs ends by it, with a status that it has not otherwise
for number, name in ((1, "out"), (2, "err")):
    descriptor = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, number)
    os.close(descriptor)
os.environ.update(order["env"])
if order["agent"]:
    sys.path.insert(0, INJECT)
    import highlight_faults

    highlight_faults.start()
    with open(TEMPLATE) as file:
        exec(compile(file.read(), TEMPLATE, "exec"), {"__name__": "sitecustomize", "__file__": TEMPLATE})

import http.client
import logging
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

logging.basicConfig(format="%(levelname)s %(message)s")
logging.warning("begun")
with ThreadPoolExecutor(1) as pool:
    print(pool.submit(lambda: 6 * 7).result())
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
try:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["CLOSED_PORT"]))
    connection.request("GET", "/")
except OSError as error:
    logging.exception("no answer")
    print(type(error))
# From Python 3.12 on os.fork warns where a process has other threads, and the exporter's is one.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
child = os.fork()
if child == 0:
    logging.warning("in the child")
    os._exit(5)
print(os.waitpid(child, 0)[1])
sys.stdout.flush()
end = os.environ["END"]
if end == "exit":
    sys.exit(3)
if end == "raise":
    raise ValueError("the end")
if end == "kill":
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
