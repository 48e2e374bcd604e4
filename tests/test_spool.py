"""Errors that a process leaves when it is killed: the next process of the service sends them, and nobody else does."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from highlight_autoinstrument.spool import MOST_BYTES, Spool, framed, frames
from tests.support.receiver import Misbehaviour, Receiver
from tests.support.services import run_program, wait_until

# Nothing is sent before the end of the process: what arrives comes from the disk.
LATE = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}

BEFORE = """
import ctypes, logging, os, signal, sys
from highlight_autoinstrument import trace
with trace("work", session_secure_id="session", request_id="request"):
    try:
        raise LookupError("lost")
    except LookupError:
        logging.exception("failed")
    with trace("inner") as span:
        try:
            raise ValueError("in a span")
        except ValueError as error:
            span.record_exception(error)
        logging.warning("no error")
        {end}
"""
EXPECTED = [("LookupError", "lost", "session"), ("ValueError", "in a span", "session")]


@pytest.fixture
def run(receiver, tmp_path):
    return partial(run_program, endpoint=receiver.url, folder=tmp_path, env=LATE, measured=False)


def left(tmp_path):
    """The files that are left."""
    return sorted((tmp_path / "spool").rglob("*.*"))


def seen(receiver):
    return sorted((error.type, error.message, error.session) for error in receiver.errors)


ENDINGS = {
    "exit": ("os._exit(9)", 9),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "segfault": ("ctypes.string_at(0)", -signal.SIGSEGV),
    "abort": ("os.abort()", -signal.SIGABRT),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("following", ["", "import logging; logging.warning('next')"])
def test_the_next_process_sends_what_a_killed_one_has_left(run, receiver, tmp_path, ending, following):
    code, status = ENDINGS[ending]
    assert run(BEFORE.format(end=code)).returncode == status
    assert receiver.exports == []
    assert len(left(tmp_path)) == 1
    program = run(following or "pass")
    assert (program.returncode, program.stderr.replace("WARNING:root:next\n", "")) == (0, "")
    assert seen(receiver) == EXPECTED
    # The stack's span has not ended: its error arrives beside it, as the logged one does.
    expected = ["ValueError: in a span", "failed", *(["next"] if following else [])]
    assert sorted(log.body for log in receiver.logs) == sorted(expected)
    assert receiver.spans == []
    assert len({log.resource["process.pid"] for log in receiver.logs}) == (2 if following else 1)
    assert left(tmp_path) == []
    run("import logging; logging.warning('third')")
    assert seen(receiver) == EXPECTED


def test_the_kernel_kills_it_for_its_memory(run, receiver, tmp_path):
    group = Path("/sys/fs/cgroup/memory") / f"highlight-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(150 << 20))
        swap = group / "memory.memsw.limit_in_bytes"
        if swap.exists():
            swap.write_text(str(150 << 20))
        program = run(
            f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
            + BEFORE.format(end="bytearray(os.urandom(1 << 20) * 400)")
        )
        assert program.returncode == -signal.SIGKILL, program.stderr
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
    run("pass")
    assert seen(receiver) == EXPECTED
    assert left(tmp_path) == []


def test_what_is_sent_twice_is_known_by_its_id(run, receiver, tmp_path):
    receiver.misbehave = [Misbehaviour(delay_seconds=2)]
    program = run("""
import os
from highlight_autoinstrument import flush, trace
with trace("work") as span:
    span.record_exception(LookupError("lost"))
flush(0.5)
os._exit(9)
""")
    assert program.returncode == 9
    run("pass")
    receiver.wait(errors=2)
    (span,), (log,) = receiver.spans, receiver.logs
    assert [error.message for error in receiver.errors] == ["lost", "lost"]
    assert span.events[0].attributes["log.record.uid"] == log.attributes["log.record.uid"]
    assert (log.trace_id, log.span_id) == (span.trace_id, span.span_id)
    assert left(tmp_path) == []


def test_what_has_arrived_is_not_sent_again(run, receiver):
    program = run(BEFORE.format(end="from highlight_autoinstrument import flush; flush(20); os._exit(9)"))
    assert program.returncode == 9
    assert seen(receiver) == EXPECTED[:1]  # the other's span is still going on
    run("import logging; logging.warning('next')")
    assert seen(receiver) == EXPECTED


def test_another_service_leaves_it_alone(run, receiver, tmp_path):
    run(BEFORE.format(end="os._exit(9)"), name="shop")
    run("import logging; logging.warning('other')", name="stock")
    assert [log.body for log in receiver.logs] == ["other"]
    assert len(left(tmp_path)) == 1
    run("pass", name="shop")
    assert seen(receiver) == EXPECTED


def test_a_process_that_is_alive_keeps_its_own(run_service, run, receiver, tmp_path):
    service = run_service(
        ["python", "-c", BEFORE.format(end="print('ready', flush=True); signal.pause()")],
        wait=lambda service: "ready" in service.stdout,
        env={**LATE, "HIGHLIGHT_SPOOL_DIR": str(tmp_path / "spool")},
    )
    run("import logging; logging.warning('other')", name="service")
    assert [log.body for log in receiver.logs] == ["other"]
    service.kill()
    run("pass", name="service")
    assert seen(receiver) == EXPECTED
    assert left(tmp_path) == []


def test_the_receiver_is_away_until_the_next_run(tmp_path):
    receiver = Receiver()
    receiver.close()
    away = run_program(BEFORE.format(end="pass"), endpoint=receiver.url, folder=tmp_path, env=LATE)
    assert away.returncode == 0
    lines = [line for line in away.stderr.splitlines() if line.startswith("highlight: ")]
    assert len(lines) == 1, away.stderr
    assert "records are lost, errors apart (kept for the service's next process: 2); check" in lines[0]
    assert len(left(tmp_path)) == 1
    again = Receiver(receiver.port)
    try:
        assert run_program("pass", endpoint=again.url, folder=tmp_path, env=LATE).stderr == ""
        assert seen(again) == EXPECTED
        assert left(tmp_path) == []
    finally:
        again.close()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_receiver_refuses_is_not_kept_for_ever(run, receiver, tmp_path, status):
    run(BEFORE.format(end="os._exit(9)"))
    receiver.misbehave = [Misbehaviour(status=status)]
    assert f"HTTP {status}" in run("pass").stderr
    assert left(tmp_path) == []
    run("pass")
    assert receiver.errors == []


@pytest.mark.parametrize("status", [302, 401, 403, 404, 500])
def test_what_is_not_the_records_fault_is_kept(run, receiver, tmp_path, status):
    receiver.misbehave = [Misbehaviour(status=status)] * 3
    (line,) = said(run("import logging; logging.error('failed', exc_info=LookupError('lost'))"))
    assert f"HTTP {status}" in line
    assert "records are lost, errors apart (kept for the service's next process: 1); check" in line
    assert f"HTTP {status}" in run("pass").stderr
    run("import os; os._exit(0)")
    assert receiver.errors == []
    receiver.misbehave.clear()
    run("pass")
    assert [error.message for error in receiver.errors] == ["lost"]
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", ["torn", "garbage", "empty", "link", "text"])
def test_files_that_are_not_whole(run, receiver, tmp_path, kind):
    run(BEFORE.format(end="os._exit(9)"))
    (file,) = left(tmp_path)
    content = file.read_bytes()
    other = file.with_name("0-1-0.errors")
    found = EXPECTED
    if kind == "torn":
        file.write_bytes(content[:-10])
        found = EXPECTED[:1]
    elif kind == "garbage":
        second = content.rindex(b"\xf1hl\x01")
        file.write_bytes(content[:second] + b"\xf1hl\x01" + os.urandom(100) + content[second:] + b"\xf1hl")
    elif kind == "empty":
        other.write_bytes(b"")
    elif kind == "text":
        other.write_text("no spool")
    else:
        other.symlink_to("/etc/passwd")
    assert run("pass").stderr == ""
    assert seen(receiver) == found
    assert left(tmp_path) == ([other] if kind == "link" else [])


def test_only_the_user_can_read_it(run, tmp_path):
    run(BEFORE.format(end="os._exit(9)"))
    (file,) = left(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("how", ["off", "OFF"])
def test_off(receiver, tmp_path, how):
    env = {**LATE, "HIGHLIGHT_SPOOL_DIR": how, "HOME": str(tmp_path)}
    run_program(BEFORE.format(end="os._exit(9)"), endpoint=receiver.url, folder=tmp_path, env=env, measured=False)
    run_program("pass", endpoint=receiver.url, folder=tmp_path, env=env, measured=False)
    assert receiver.errors == []
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({}, "home/.local/state/highlight-autoinstrument"),
        ({"XDG_STATE_HOME": "{folder}/state"}, "state/highlight-autoinstrument"),
        ({"XDG_STATE_HOME": "relative"}, "home/.local/state/highlight-autoinstrument"),
        ({"HIGHLIGHT_SPOOL_DIR": "~/errors"}, "home/errors"),
    ],
)
def test_where_it_is(receiver, tmp_path, env, place):
    given = {name: value.format(folder=tmp_path) for name, value in env.items()}
    environment = {**LATE, "HOME": str(tmp_path / "home"), "HIGHLIGHT_SPOOL_DIR": "", "XDG_STATE_HOME": "", **given}
    run_program(BEFORE.format(end="os._exit(9)"), endpoint=receiver.url, folder=tmp_path, env=environment)
    assert [path.name.rpartition("-")[0] for path in (tmp_path / place).iterdir()] == ["program"]


EXCHANGED = """
import logging, os
from highlight_autoinstrument import flush

def failing(*args, **kwargs):
    raise AttributeError(args)

logging.error("before", exc_info=LookupError("before"))
names = ("close", "fstat", "ftruncate", "listdir", "lstat", "open", "pread", "rename", "unlink", "write")
kept = {name: getattr(os, name) for name in names}
for name in names:
    setattr(os, name, failing)
logging.error("meanwhile", exc_info=LookupError("meanwhile"))
done = flush(20)
for name, function in kept.items():
    setattr(os, name, function)
print(done)
"""


def test_an_application_may_have_others_in_place_of_the_systems_functions_for_a_while(receiver, tmp_path):
    program = run_program(EXCHANGED, endpoint=receiver.url, folder=tmp_path, measured=False)
    assert program.stdout == "True\n"
    assert said(program) == []
    assert seen(receiver) == [("LookupError", "before", None), ("LookupError", "meanwhile", None)]
    assert left(tmp_path) == []


AFTER = """
import logging
logging.error("first", exc_info=LookupError("one"))
logging.error("second", exc_info=LookupError("two"))
"""


def said(program):
    return [line for line in program.stderr.splitlines() if line.startswith("highlight: ")]


@pytest.mark.parametrize("how", ["a file", "nobody's", "others'"])
def test_a_folder_that_cannot_be_used_is_said_once(receiver, tmp_path, how):
    place = tmp_path / "place"
    if how == "a file":
        place.write_text("")
    elif how == "nobody's":
        place = Path("/proc/highlight")
    run = partial(run_program, AFTER, endpoint=receiver.url, folder=tmp_path, name="shop")
    if how == "others'":
        run_program(BEFORE.format(end="os._exit(9)"), endpoint=receiver.url, folder=tmp_path, name="shop", env=LATE)
        (file,) = left(tmp_path)
        place = tmp_path / "spool"
        file.parent.chmod(0o777)
    program = run(env={"HIGHLIGHT_SPOOL_DIR": str(place)})
    assert program.returncode == 0
    (line,) = said(program)
    assert line.startswith("highlight: errors cannot be kept on disk until they are sent (")
    assert line.endswith("set HIGHLIGHT_SPOOL_DIR to a folder that can be written to, or to off")
    assert [error.message for error in receiver.errors if error.session is None] == ["one", "two"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(receiver, tmp_path, small_disk):
    code = """
import logging
from highlight_autoinstrument import flush
for number in range(60):
    logging.error("failed", exc_info=LookupError(f"{number} " + "x" * 3000))
flush(20)
logging.error("failed", exc_info=LookupError("there is room again"))
import os
os._exit(9)
"""
    run = partial(run_program, endpoint=receiver.url, folder=tmp_path, measured=False)
    env = {**LATE, "HIGHLIGHT_SPOOL_DIR": str(small_disk)}
    (line,) = said(run(code, env=env))
    assert "(no space left for all of it: " in line.lower() or "(no space left on device: " in line.lower()
    assert [error.message.split()[0] for error in receiver.errors] == [str(number) for number in range(60)]
    assert said(run("pass", env=env)) == []
    assert [error.message for error in receiver.errors][60:] == ["there is room again"]


def test_a_disk_that_can_only_be_read(receiver, tmp_path, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    program = run_program(
        AFTER, endpoint=receiver.url, folder=tmp_path, env={"HIGHLIGHT_SPOOL_DIR": str(small_disk / "errors")}
    )
    (line,) = said(program)
    assert "(Read-only file system: " in line
    assert [error.message for error in receiver.errors] == ["one", "two"]


def test_a_child_does_not_hold_its_parents_file(run_service, run, receiver, tmp_path):
    service = run_service(
        [
            "python",
            "-c",
            BEFORE.format(
                end="""
        if not os.fork():
            os.setsid()
            print("ready", os.getpid(), flush=True)
            signal.pause()
        signal.pause()"""
            ),
        ],
        wait=lambda service: "ready" in service.stdout,
        env={**LATE, "HIGHLIGHT_SPOOL_DIR": str(tmp_path / "spool")},
    )
    child = int(service.stdout.split()[1])
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    try:
        run("pass", name="service")
        assert seen(receiver) == EXPECTED
    finally:
        os.kill(child, signal.SIGKILL)


SHOP = """
import os
from flask import Flask
app = Flask(__name__)

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/fail")
def fail():
    raise LookupError("out of stock")
"""


def test_a_workers_successor_sends_what_it_has_left(run_service, receiver):
    service = run_service(
        "gunicorn --workers 1 --bind 127.0.0.1:{port} app:app",
        files={"app.py": SHOP},
        env={"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000000"},
    )
    worker = int(service.get("/pid").text)
    assert service.get("/fail", {"x-highlight-request": "s1/r1"}).status == 500
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: service.get("/pid").text != str(worker))
    assert service.stop() == 0
    assert [(error.type, error.message, error.session) for error in receiver.errors] == [
        ("LookupError", "out of stock", "s1")
    ]
    assert {span.name for span in receiver.spans} == {"GET /pid"}


# The file itself


def spool(tmp_path):
    return Spool(str(tmp_path / "spool"), (b"resource", b"scope"))


def uid(number):
    return f"{number:032x}"


def kept(tmp_path):
    (file,) = left(tmp_path)
    return [content for _, content in frames(file.read_bytes())]


def test_what_is_settled_leaves_the_file(tmp_path):
    one = spool(tmp_path)
    one.add(uid(1), b"one")
    one.add(uid(2), b"two")
    assert kept(tmp_path) == [b"resource", b"scope", b"one", b"two"]
    one.settle([uid(1)])
    assert one.waiting == 1
    assert kept(tmp_path) == [b"resource", b"scope", b"one", b"two", bytes.fromhex(uid(1))]
    one.settle([uid(2), uid(7)])
    assert kept(tmp_path) == [b"resource", b"scope"]
    one.add(uid(3), b"three")
    one.close()
    assert kept(tmp_path) == [b"resource", b"scope", b"three"]
    one.settle([uid(3)])
    one.close()
    assert left(tmp_path) == []
    one.add(uid(4), b"after the end")
    assert kept(tmp_path) == [b"resource", b"scope", b"after the end"]
    one.release()


def test_the_file_is_bounded(tmp_path):
    one = spool(tmp_path)
    big = MOST_BYTES // 10
    for number in range(1, 16):
        one.add(uid(number), b"%d" % number + bytes(big))
        one.settle([uid(number - 1)] if number % 2 else [])
    numbers = [int(content.split(b"\0")[0]) for content in kept(tmp_path)[2:] if len(content) > 16]
    assert len(numbers) * big < MOST_BYTES
    assert numbers[-1] == 15
    assert numbers == sorted(numbers)
    assert sum(file.stat().st_size for file in left(tmp_path)) < MOST_BYTES
    for number in range(16, 50):  # and nobody settles
        one.add(uid(number), bytes(big))
    assert sum(file.stat().st_size for file in left(tmp_path)) <= 2 * MOST_BYTES
    one.release()


def test_one_process_after_the_other_adopts_a_file_once(tmp_path):
    one = spool(tmp_path)
    one.add(uid(1), b"one")
    two = spool(tmp_path)
    assert two.orphans() == []
    one.release()
    (orphan,) = two.orphans()
    assert (orphan.head, orphan.messages) == ((b"resource", b"scope"), [b"one"])
    assert two.orphans() == []
    orphan.release()
    (orphan,) = two.orphans()
    orphan.arrived()
    assert two.orphans() == []
    assert left(tmp_path) == []


def test_a_file_that_another_process_has_sent_meanwhile_is_not_sent_again(tmp_path, monkeypatch):
    one = spool(tmp_path)
    one.add(uid(1), b"one")
    one.release()
    (file,) = left(tmp_path)

    def after_the_other(descriptor, operation):
        file.unlink()
        flock(descriptor, operation)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", after_the_other)
    assert one.orphans() == []


def test_a_thread_that_hangs_with_the_disk_holds_up_no_other(tmp_path):
    one = spool(tmp_path)
    one.add(uid(1), b"one")
    hangs, over = threading.Event(), threading.Event()

    def hang():
        with one._lock:
            hangs.set()
            over.wait(60)

    thread = threading.Thread(target=hang)
    thread.start()
    hangs.wait(60)
    one.add(uid(2), b"two")
    one.close()
    over.set()
    thread.join()
    assert kept(tmp_path) == [b"resource", b"scope", b"one"]
    one.add(uid(3), b"three")
    assert kept(tmp_path) == [b"resource", b"scope", b"one", b"three"]
    one.release()


def test_a_descriptor_that_the_application_has_closed_and_uses_itself_is_not_touched(tmp_path):
    one = spool(tmp_path)
    one.add(uid(1), b"one")
    descriptor = one._file
    other = tmp_path / "the application's"
    with other.open("wb") as file:
        os.dup2(file.fileno(), descriptor)
        one.add(uid(2), b"two")
        one.settle([uid(2)])
        one.close()
        assert os.fstat(descriptor).st_ino == other.stat().st_ino
        os.close(descriptor)
    assert other.read_bytes() == b""
    assert sum(b"two" in file.read_bytes() for file in left(tmp_path)) == 1
    one.release()


def test_frames_are_found_between_anything():
    good = [framed(uid(number), bytes([number]) * number) for number in range(1, 9)]
    torn = good[0] + good[1][:-1] + good[2] + b"\xf1hl\x01" * 3 + good[3] + b"\xf1hl" + good[4] + good[5][5:] + good[6]
    assert [int(found, 16) for found, _ in frames(torn)] == [1, 3, 4, 5, 7]


def test_many_processes_that_are_killed_leave_a_bounded_number_of_files(tmp_path):
    for number in range(105):
        one = spool(tmp_path)
        one.add(uid(number), b"%d" % number)
        one.release()
    last = spool(tmp_path)
    contents = [orphan.messages[0] for orphan in last.orphans()]
    assert contents == [b"%d" % number for number in range(5, 105)]


def test_what_many_large_files_hold_is_bounded(tmp_path):
    for number in range(12):
        one = spool(tmp_path)
        one.add(uid(number), b"%d " % number + bytes(MOST_BYTES - 100))
        one.release()
    last = spool(tmp_path)
    contents = [int(orphan.messages[0].split()[0]) for orphan in last.orphans()]
    assert contents == list(range(4, 12))
    assert len(left(tmp_path)) == 8


assert shutil.which("mount"), "the tests of full disks mount one; util-linux has it"
assert sys.platform == "linux"


HALF = """
import os, signal, sys, types
sys.modules["platform"] = types.ModuleType("platform")  # as it is while it is imported
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_what_is_left_is_not_looked_for_in_the_middle_of_an_import(run, receiver, tmp_path):
    run(BEFORE.format(end="os._exit(9)"))
    killed = run("import half", files={"half.py": HALF}, env={**LATE, "HIGHLIGHT_RAISE_ERRORS": "false"})

    assert (killed.returncode, killed.stderr) == (-signal.SIGTERM, "")
    assert (len(left(tmp_path)), receiver.errors) == (1, [])
    assert run("").returncode == 0
    receiver.wait(errors=2)
    assert seen(receiver) == EXPECTED


def test_a_program_that_has_recorded_nothing_looks_without_loading_anything(run, tmp_path):
    (tmp_path / "spool" / "another-service").mkdir(parents=True)

    def loaded(**how):
        """What is imported after the start; a launcher is Python as well, and comes before."""
        lines = run("pass", env={"PYTHONPROFILEIMPORTTIME": "1"}, **how).stderr.splitlines()
        names = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
        return set(names[-names[::-1].index("site") :]) - {"site"}

    after = loaded() - loaded(under_agent=False)
    assert "highlight_autoinstrument.leftovers" in after
    assert after <= {"binascii", "highlight_autoinstrument.service", "highlight_autoinstrument.leftovers"}
