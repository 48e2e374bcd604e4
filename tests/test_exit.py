"""However a program ends, its last records arrive, and it ends as it would have without the agent."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.receiver import Misbehaviour
from tests.support.services import LAUNCHER, agent_environment, free_port, run_program

READY = """
import logging, os, signal, sys, time
def ready():
    print("ready", flush=True)
    while True:
        time.sleep(60)
"""


def said(stderr):
    return [line for line in stderr.splitlines() if line.startswith("highlight: ")]


def bodies(receiver):
    return [log.body for log in receiver.logs]


def is_ready(service):
    return "ready" in service.stdout


@pytest.fixture
def run(run_service):
    """Start a program that says `ready`, and wait for it."""

    def start(program, **options):
        return run_service(["python", "-c", READY + program], wait=is_ready, **options)

    return start


# It ends by itself


@pytest.mark.parametrize(
    ("ending", "status"), [("", 0), ("sys.exit()", 0), ("sys.exit(3)", 3), ("sys.exit('words')", 1), ("exit(4)", 4)]
)
def test_the_last_record_arrives(run_python, receiver, ending, status):
    # The delay is longer than the test: only the exit sends it.
    program = run_python(
        f"import logging, sys; logging.warning('last'); {ending}", env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    )
    assert program.returncode == status
    assert bodies(receiver) == ["last"]
    assert receiver.errors == []
    assert program.stderr == "WARNING:root:last\n" + ("words\n" if "words" in ending else "")


def test_an_uncaught_exception_is_reported_once_and_printed_as_ever(run_python, receiver):
    source = "import logging; logging.warning('last')\ndef f():\n    raise LookupError('gone')\nf()\n"
    program = run_python(source)
    bare = run_python(source, under_agent=False)
    assert (program.returncode, program.stderr) == (1, bare.stderr)
    assert [(error.type, error.message, error.session) for error in receiver.errors] == [("LookupError", "gone", None)]
    assert bodies(receiver) == ["last", "LookupError: gone"]


def test_an_exception_that_leaves_a_trace_and_the_program_is_one_error_of_the_trace(run_python, receiver):
    program = run_python("""
from highlight_autoinstrument import trace
with trace("job", session_secure_id="session", request_id="request"):
    raise LookupError("gone")
""")
    assert program.returncode == 1
    assert [(error.message, error.session, error.highlight_trace) for error in receiver.errors] == [
        ("gone", "session", "request")
    ]


@pytest.mark.parametrize(
    "hook",
    [
        "sys.excepthook = lambda *_: print('own hook')",
        "before = sys.excepthook; sys.excepthook = lambda *a: (print('own hook'), before(*a))",
    ],
    ids=["replaced", "chained"],
)
def test_the_applications_own_excepthook(run_python, receiver, hook):
    program = run_python(f"import sys\n{hook}\nraise LookupError('gone')")
    assert (program.returncode, program.stdout) == (1, "own hook\n")
    assert [error.message for error in receiver.errors] == ["gone"]


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit(5)"])
def test_how_a_program_is_stopped_is_no_error(run_python, receiver, error):
    program = run_python(f"import logging; logging.warning('last'); raise {error}")
    assert program.returncode == (5 if "5" in error else -signal.SIGINT)
    assert bodies(receiver) == ["last"]
    assert receiver.errors == []


@pytest.mark.parametrize("hook", ["", "import sys; sys.excepthook = lambda *_: None; "])
def test_ctrl_c_ends_a_program_that_has_recorded_nothing_as_it_would_without_us(run_python, receiver, hook):
    assert run_python(f"{hook}raise KeyboardInterrupt").returncode == -signal.SIGINT
    assert receiver.errors == []


def test_a_thread_that_outlives_the_main_one(run_python, receiver):
    program = run_python("""
import logging, threading
main = threading.main_thread()
def work():
    main.join()
    logging.warning("after main")
threading.Thread(target=work).start()
""")
    assert (program.returncode, said(program.stderr)) == (0, [])
    assert bodies(receiver) == ["after main"]


def test_a_pool_that_is_joined_at_exit(run_python, receiver):
    program = run_python("""
import logging, threading
from concurrent.futures import ThreadPoolExecutor
main = threading.main_thread()
pool = ThreadPoolExecutor(1)
pool.submit(lambda: (main.join(5), logging.warning("first")))
pool.submit(lambda: logging.warning("second"))
""")
    assert (program.returncode, said(program.stderr)) == (0, [])
    assert bodies(receiver) == ["first", "second"]


@pytest.mark.parametrize("before", ["", "logging.warning('before')"])
def test_what_the_applications_own_exit_functions_record(run_python, receiver, before):
    # With nothing before, it is the first record: from Python 3.12 no thread can be started any more.
    program = run_python(
        f"import atexit, logging\natexit.register(logging.warning, 'at exit')\n{before}",
        env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"},
    )
    assert (program.returncode, said(program.stderr)) == (0, [])
    assert "Traceback" not in program.stderr
    assert bodies(receiver) == (["before", "at exit"] if before else ["at exit"])


@pytest.mark.parametrize("before", ["", "logging.warning('before')"])
def test_objects_that_log_while_the_interpreter_is_taken_apart(run_python, receiver, before):
    program = run_python(f"""
import logging
class Late:
    def __init__(self):
        self.log = logging.getLogger("late")
        self.cycle = self
    def __del__(self):
        self.log.warning("too late")
late = Late()
{before}
""")
    assert program.returncode == 0
    lines = {"WARNING:root:before", "too late", "WARNING:late:too late"}
    assert set(program.stderr.splitlines()) <= lines, program.stderr
    assert bodies(receiver) == (["before"] if before else [])


def test_threads_that_are_still_at_it(run_python, receiver):
    program = run_python("""
import logging, threading, sys
logging.raiseExceptions = False
logging.basicConfig(stream=open("/dev/null", "w"))
began = threading.Event()
def work():
    while True:
        logging.warning("busy")
        began.set()
        threading.Event().wait(0.001)
for _ in range(5):
    threading.Thread(target=work, daemon=True).start()
began.wait()
logging.warning("last")
""")
    assert (program.returncode, program.stderr) == (0, "")
    assert "last" in bodies(receiver)


# The receiver is no help


@pytest.mark.parametrize(
    ("program", "signals"),
    [("", ["logs"]), ("with highlight.trace('job'):\n    pass", ["traces", "logs"])],
)
def test_a_receiver_that_hangs_does_not_hold_up_the_end(run_python, receiver, program, signals):
    receiver.misbehave = [Misbehaviour(hang=True)] * 5
    program = f"import logging, highlight_autoinstrument as highlight\nlogging.warning('last')\n{program}"
    ended = run_python(program, timeout=30)
    (line,) = said(ended.stderr)
    assert ended.returncode == 0
    urls = " and ".join(f"{receiver.url}/v1/{signal}" for signal in signals)
    assert line.startswith(f"highlight: export to {urls} was not done within 2 s at exit: records are lost; ")


@pytest.mark.parametrize("first", ["", "flush(20)"])
def test_the_first_record_of_an_exit_and_a_receiver_that_hangs(run_python, receiver, first):
    receiver.misbehave = [Misbehaviour(hang=True)] * 5
    program = run_python("import atexit, logging\natexit.register(logging.warning, 'at exit')", timeout=30)
    (line,) = said(program.stderr)
    assert program.returncode == 0
    assert "records are lost" in line


def test_nobody_listens(tmp_path):
    endpoint = f"http://127.0.0.1:{free_port()}"
    program = run_program("import logging; logging.warning('last')", endpoint=endpoint, folder=tmp_path, timeout=30)
    (line,) = said(program.stderr)
    assert line.startswith(f"highlight: export to {endpoint}/v1/logs failed at exit (ConnectionRefusedError: ")
    assert "records are lost" in line


def test_an_export_that_waits_for_its_next_try_is_tried_at_the_end(run_python, receiver):
    receiver.misbehave = [Misbehaviour(status=503, headers={"Retry-After": "3600"})]
    program = run_python("""
import logging, time
from highlight_autoinstrument import pipeline
logging.warning("one")
while not pipeline._sender._retry_at:
    time.sleep(0.01)
logging.warning("two")
""")
    assert (program.returncode, said(program.stderr)) == (0, [])
    assert bodies(receiver) == ["one", "two"]


def test_a_receiver_that_recovers_in_time(run_python, receiver):
    receiver.misbehave = [Misbehaviour(status=503)] * 3
    program = run_python("import logging; logging.warning('last')", env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"})
    assert (program.returncode, said(program.stderr)) == (0, [])
    assert bodies(receiver) == ["last"]


# Signals


def test_sigterm_by_its_default_action(run, receiver):
    service = run("logging.warning('last'); ready()", env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"})
    assert service.stop() == -signal.SIGTERM
    assert bodies(receiver) == ["last"]


def test_sigterm_before_anything_was_recorded(run, receiver):
    assert run("ready()").stop() == -signal.SIGTERM
    assert receiver.exports == []


@pytest.mark.parametrize("half_there", ["messaging", "pipeline"])
def test_sigterm_in_the_middle_of_an_import_of_ours(run_python, half_there):
    done = run_python(
        f"""
import os, signal, sys
from importlib.machinery import PathFinder

class Ending:
    def find_spec(self, name, path, target=None):
        spec = PathFinder.find_spec(name, path, target)
        if name == "highlight_autoinstrument.{half_there}":
            spec.loader.exec_module = lambda module: os.kill(os.getpid(), signal.SIGTERM)
        return spec

sys.meta_path.insert(0, Ending())
import highlight_autoinstrument.{half_there}
print("after")
""",
        env={"HIGHLIGHT_RAISE_ERRORS": "false"},  # which nobody would see: the signal ends it all the same
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")


def test_sigterm_and_a_receiver_that_hangs(run, receiver):
    receiver.misbehave = [Misbehaviour(hang=True)] * 5
    service = run("logging.warning('last'); ready()")
    service.expect("records are lost")
    assert service.stop() == -signal.SIGTERM


def test_sigterm_in_the_middle_of_a_flush(run, receiver):
    receiver.misbehave = [Misbehaviour(hang=True)] * 5
    service = run("""
from highlight_autoinstrument import flush
logging.warning('last')
print("ready", flush=True)
flush(3600)
""")
    service.expect("records are lost")
    assert service.stop() == -signal.SIGTERM


OWN = "def own(*_):\n    logging.warning('own handler')\n    sys.exit(7)\n"


@pytest.mark.parametrize(
    "program",
    [
        OWN + "signal.signal(signal.SIGTERM, own)\nready()",
        OWN + "logging.warning('first')\nsignal.signal(signal.SIGTERM, own)\nready()",
        """
import asyncio
async def main():
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    print("ready", flush=True)
    await done.wait()
    logging.warning('own handler')
    sys.exit(7)
asyncio.run(main())
""",
    ],
    ids=["at once", "later", "asyncio"],
)
def test_the_applications_own_handler(run, receiver, program):
    assert run(program).stop() == 7
    assert bodies(receiver)[-1] == "own handler"


@pytest.mark.parametrize(("then", "status"), [("signal.raise_signal(number)", -signal.SIGTERM), ("os._exit(7)", 7)])
def test_a_handler_of_another_agent_that_is_there_first(run, receiver, tmp_path, then, status):
    (tmp_path / "sitecustomize.py").write_text(f"""
import os, signal
def theirs(number, frame):
    signal.signal(number, signal.SIG_DFL)
    {then}
signal.signal(signal.SIGTERM, theirs)
""")
    env = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "PYTHONPATH": str(tmp_path)}
    service = run("logging.warning('last'); ready()", env=env)
    assert service.stop() == status
    assert bodies(receiver) == ["last"]


def test_a_handler_that_is_put_back_is_ours(run, receiver):
    service = run("""
before = signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGTERM, before)
logging.warning('last')
ready()
""")
    assert service.stop() == -signal.SIGTERM
    assert bodies(receiver) == ["last"]


def test_sigint(run, receiver):
    service = run("logging.warning('last'); ready()", env={"OTEL_BSP_SCHEDULE_DELAY": "3600000"})
    assert service.stop(signal.SIGINT) == -signal.SIGINT
    assert bodies(receiver) == ["last"]
    assert receiver.errors == []


def test_a_signal_that_is_ignored_stays_ignored(receiver, tmp_path):
    program = """
import logging, os, signal
assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
logging.warning("one")
os.kill(os.getpid(), signal.SIGTERM)
logging.warning("two")
"""
    shell = f'trap "" TERM; exec {LAUNCHER} {sys.executable} -c "$PROGRAM"'
    result = subprocess.run(
        ["/bin/sh", "-c", shell],
        env=agent_environment(receiver.url, PROGRAM=program),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert bodies(receiver) == ["one", "two"]


# The other hooks


def test_an_unraisable_exception_belongs_to_nobody(run_python, receiver):
    program = run_python("""
import sys
from highlight_autoinstrument import trace
class Broken:
    def __del__(self):
        raise LookupError("in del")
with trace("job", session_secure_id="session"):
    Broken()
""")
    assert program.returncode == 0
    assert "Exception ignored" in program.stderr
    assert [(error.message, error.session) for error in receiver.errors] == [("in del", None)]
    assert [(span.name, span.session, span.status) for span in receiver.spans] == [("job", "session", "UNSET")]


def test_a_threads_exception_has_the_session_of_who_started_it(run_python, receiver):
    program = run_python("""
import threading
from highlight_autoinstrument import trace
def work(text):
    raise LookupError(text)
with trace("job", session_secure_id="session"):
    thread = threading.Thread(target=work, args=("inside",))
    thread.start()
    thread.join()
thread = threading.Thread(target=work, args=("outside",))
thread.start()
thread.join()
""")
    assert program.returncode == 0
    assert program.stderr.count("LookupError: ") == 2
    assert [(error.message, error.session) for error in receiver.errors] == [("inside", "session"), ("outside", None)]


@pytest.mark.parametrize(
    ("hook", "cause"),
    [
        ("sys.unraisablehook", "class A:\n    def __del__(self):\n        1 / 0\nA()"),
        ("threading.excepthook", "t = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()"),
    ],
)
def test_the_applications_own_hooks_are_called(run_python, receiver, hook, cause):
    program = run_python(f"""
import sys, threading
before = {hook}
def own(args):
    print("own", args.exc_type.__name__)
    before(args)
{hook} = own
{cause}
""")
    assert (program.returncode, program.stdout) == (0, "own ZeroDivisionError\n")
    assert [error.type for error in receiver.errors] == ["ZeroDivisionError"]


# Interpreters inside the interpreter


def test_a_sub_interpreter_starts_no_thread_and_ends(run_python, receiver):
    program = run_python("""
import logging
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
logging.warning("main")
for _ in range(3):
    inner = interpreters.create()
    interpreters.run_string(inner, '''
import logging, sys, threading
assert "highlight_autoinstrument" in sys.modules
logging.warning("inner")
assert threading.enumerate() == [threading.main_thread()]
''')
    interpreters.destroy(inner)
print("done")
""")
    assert (program.returncode, program.stdout) == (0, "done\n"), program.stderr
    assert bodies(receiver) == ["main"]
    assert all("sub-interpreter" in line for line in said(program.stderr))


# Background jobs that end by os._exit


def test_os_exit_is_nobody_elses(run_python):
    program = run_python(
        """
import logging, os
logging.warning("one")
import posix
assert os._exit is posix._exit and type(os._exit) is type(len)
""",
        measured=False,
    )
    assert program.returncode == 0, program.stderr
