"""`highlight-run --local`: a command, its errors in the terminal, and the server that comes and goes with it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.local import logs, traceback
from tests.support.services import LAUNCHER, PATIENCE_SECONDS, Written, agent_environment, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.local import Local

SHOP = """
def find(basket, number):
    return basket[number]

find({}, 13)
"""
IN_SHOP = "KeyError: 13 in shop.py:3 (shop)"
KEPT = "highlight: what came is kept; to look at it later: highlight-local"
WAITS = "import time; print('ready', flush=True); time.sleep(600)"


class Run(Written):
    """A command under `highlight-run --local`, whose data are in a folder."""

    def __init__(self, folder: Path, *command: str, options: tuple[str, ...] = (), name: str = "run", **more) -> None:
        self.folder = folder
        self.began = time.monotonic()
        env = environment(folder, **more.pop("env", {}))
        self.stdout_path, self.stderr_path = folder / f"{name}.out", folder / f"{name}.err"
        with self.stdout_path.open("wb") as stdout, self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                [str(LAUNCHER), "--local", *options, *command],
                env=env,
                cwd=folder,
                **{"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr, "start_new_session": True, **more},
            )

    @property
    def lines(self) -> list[str]:
        """What the launcher, or the agent, has said."""
        return [line for line in self.stderr.splitlines() if line.startswith("highlight")]

    @property
    def url(self) -> str:
        """Where the server is."""
        wait_until(lambda: self.lines or self.process.poll() is not None, what="for the address")
        found = re.fullmatch(r"highlight: see (http://127\.0\.0\.1:\d+)( \(port 4318 is taken\))?", self.lines[0])
        assert found, self.stderr
        return found[1]

    def ready(self) -> None:
        """The command has begun, and said so."""
        wait_until(lambda: "ready" in self.stdout or self.process.poll() is not None, what="for the command")
        assert self.process.poll() is None, self.stderr

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A user's, who has set nothing and whose data are in a folder."""
    folders = {"XDG_DATA_HOME": str(folder / "data"), "HIGHLIGHT_SPOOL_DIR": str(folder / "spool")}
    return {**agent_environment(None), **folders, **more}


def server_of(folder: Path) -> dict:
    """What the server of a folder tells of itself; {} if there is none, or it is about to end."""
    lock = folder / "data" / "highlight-autoinstrument" / "local.lock"
    told = lock.read_text() if lock.exists() else ""
    return json.loads(told) if told else {}


def is_free(folder: Path) -> bool:
    """Whether no server has the data of a folder any more."""
    with (folder / "data" / "highlight-autoinstrument" / "local.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def is_alive(pid: int) -> bool:
    """Whether a process has not ended: one that nobody has waited for is still there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pid: int) -> None:
    wait_until(lambda: not is_alive(pid), what="for the server's end")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Run commands; none of them, and no server, outlives the test."""
    runs: list[Run] = []

    def start(*command: str, folder: Path = tmp_path, **options) -> Run:
        folder.mkdir(exist_ok=True)
        runs.append(Run(folder, *command, name=f"run{len(runs)}", **options))
        return runs[-1]

    yield start
    for each in runs:
        try:
            os.killpg(each.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        each.process.wait()
    for folder in {each.folder for each in runs}:
        told = server_of(folder)
        if told and is_alive(told["process"]):
            os.kill(told["process"], signal.SIGKILL)
        log = folder / "data" / "highlight-autoinstrument" / "local.log"
        assert not log.exists() or "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture
def by_hand(start: Callable[..., Local], tmp_path: Path) -> Callable[..., Local]:
    """`highlight-local` as a user starts it, with the same data."""

    def by_hand(*options: str) -> Local:
        folder = tmp_path / "data"
        return start("--db", str(folder / "highlight-autoinstrument" / "local.db"), *options, folder=folder)

    return by_hand


# Errors in the terminal


def test_an_error_is_one_line_with_a_link_and_the_data_stay(run, by_hand, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    shop = run("python", "shop.py")

    assert shop.wait() == 1
    url = shop.url
    assert shop.lines == [shop.lines[0], f"highlight: {IN_SHOP}  {url}/error/1", KEPT]
    assert "KeyError: 13\n" in shop.stderr.split(IN_SHOP)[0], "the program's own traceback comes first"
    assert shop.stdout == ""

    wait_until(lambda: is_free(tmp_path), what="for the server's end")
    again = by_hand()
    (error,) = again.api("errors")["items"]
    assert (error["type"], error["message"], error["services"]) == ("KeyError", "13", ["shop"])


APPLICATION = """
import os
import flask

app = flask.Flask(__name__)

@app.get("/cart/<int:number>")
def cart(number):
    raise LookupError(f"no cart {number}")

app.run(port=int(os.environ["PORT"]))
"""


def test_a_services_errors_are_shown_while_it_runs_and_ctrl_c_ends_both(run, tmp_path):
    port = free_port()
    (tmp_path / "app.py").write_text(APPLICATION)
    shop = run("python", "app.py", options=("--service-name", "shop"), env={"PORT": str(port)})
    url = shop.url
    server = server_of(tmp_path)["process"]
    wait_until(lambda: "Running on" in shop.stderr, what="for the service")

    expected = [shop.lines[0]]
    for number in (1, 2):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(f"GET /cart/{number} HTTP/1.0\r\n\r\n".encode())
            assert b" 500 " in connection.makefile("rb").read()
        expected.append(f"highlight: LookupError: no cart {number} in app.py:9 (shop)  {url}/error/{number}")
        wait_until(lambda: len(shop.lines) == len(expected), what="for the line")
        assert shop.lines == expected

    os.killpg(shop.process.pid, signal.SIGINT)
    assert shop.wait() == 0
    assert shop.lines == [*expected, KEPT]
    wait_for_end(server)


def test_what_strangers_have_written_does_not_steer_the_terminal(run, tmp_path):
    (tmp_path / "evil.py").write_text(
        "class Evil(Exception): pass\n"
        "raise Evil('a\\x1b[2J\\x1b]0;title\\x07b\\r\\nhighlight: no error\\u202ec\\x9b1m\\x00' + 'x' * 5000)\n"
    )
    evil = run("python", "evil.py", options=("--service-name", "s\x1b[31m" + "y" * 100))

    assert evil.wait() == 1
    message = r"a\x1b[2J\x1b]0;title\x07b highlight: no error\u202ec\x9b1m\x00"
    service = r"s\x1b[31m" + "y" * 28 + "..."
    shown = f"{message}{'x' * (117 - len(message))}..."
    assert evil.lines[1].startswith("highlight: no error\u202e"), "the program's own traceback"
    assert evil.lines[2:] == [f"highlight: __main__.Evil: {shown} in evil.py:2 ({service})  {evil.url}/error/1", KEPT]


def test_an_error_without_a_message_or_a_place(run, by_hand, tmp_path):
    server = by_hand()
    waits = run("python", "-c", WAITS)
    waits.ready()
    for attributes in (
        {"exception.type": "Empty"},
        {"exception.type": "shop.Empty", "exception.message": "Empty"},
        {**traceback("x" * 100, "late", file="C:\\shop\\views.py")},
        {**traceback("Late", "x", file="/a/" + "y" * 50)},
        {"exception.type": "Late", "exception.message": "x", "code.file.path": "https://a.example/b/shop.js?v=1"},
    ):
        assert server.post("/v1/logs", logs({"body": "x", "attributes": attributes}, service="other")).status == 200
    wait_until(lambda: len(waits.lines) == 6, what="for the lines")

    assert waits.lines[1:] == [
        f"highlight: Empty (other)  {server.url}/error/1",
        f"highlight: shop.Empty (other)  {server.url}/error/2",
        f"highlight: {'x' * 57}...: late in views.py:12 (other)  {server.url}/error/3",
        f"highlight: Late: x in {'y' * 37}...:12 (other)  {server.url}/error/4",
        f"highlight: Late: x in shop.js (other)  {server.url}/error/5",
    ]


def test_a_burst_of_errors_is_some_lines_and_a_number(run, tmp_path):
    (tmp_path / "burst.py").write_text(
        "import logging\n"
        "for number in range(1000):\n"
        "    try:\n"
        "        raise ValueError(number)\n"
        "    except ValueError:\n"
        "        logging.getLogger('burst').exception('failed')\n"
    )
    burst = run("python", "burst.py")
    assert burst.wait() == 0
    seconds = time.monotonic() - burst.began

    shown, kept = burst.lines[1:-1], burst.lines[-1]
    one = r"highlight: ValueError: (\d+) in burst.py:4 \(burst\)  http://\S+"
    numbers = [re.fullmatch(one, line) for line in shown]
    more = [re.fullmatch(r"highlight: and (\d+) more errors?  (http://\S+)", line) for line in shown]
    assert all(number or other for number, other in zip(numbers, more, strict=True)), shown
    assert sum(1 for number in numbers if number) + sum(int(other[1]) for other in more if other) == 1000
    assert len(shown) <= 6 * (seconds / 0.5 + 2)
    assert (numbers[0][1], kept) == ("0", KEPT)
    assert {other[2] for other in more if other} == {burst.url}


def test_errors_from_before_are_not_shown(run, by_hand, tmp_path):
    server = by_hand()
    before = {"body": "x", "attributes": traceback("Late", "nobody's")}
    assert server.post("/v1/logs", logs(before, service="other")).status == 200
    (tmp_path / "shop.py").write_text(SHOP)
    for number in (2, 3):
        shop = run("python", "shop.py")
        assert shop.wait() == 1
        assert shop.lines[1:] == [f"highlight: {IN_SHOP}  {server.url}/error/{number}"]


# One server


def test_services_that_start_at_once_share_a_server_and_each_shows_its_own_errors(run, tmp_path):
    program = "import sys; print('ready', flush=True); sys.stdin.readline(); {}[sys.argv[1]]"
    names = ("shop", "bank")
    services = {
        name: run("python", "-c", program, name, options=("--service-name", name), stdin=subprocess.PIPE)
        for name in names
    }
    for service in services.values():
        service.ready()
    (url,) = {service.url for service in services.values()}
    server = server_of(tmp_path)["process"]

    for name, other in (("shop", "bank"), ("bank", "")):
        services[name].process.communicate(b"go\n", timeout=PATIENCE_SECONDS)
        assert services[name].process.returncode == 1
        if other:
            assert is_alive(server), "the other uses it"
    wait_for_end(server)

    for number, name in enumerate(names, 1):
        said = services[name].lines
        assert said[1:] == [f"highlight: KeyError: '{name}' in <string>:1 ({name})  {url}/error/{number}", KEPT]


def test_a_server_that_its_user_runs_is_used_and_goes_on(run, by_hand, tmp_path):
    server = by_hand()
    (tmp_path / "shop.py").write_text(SHOP)
    shop = run("python", "shop.py")

    assert shop.wait() == 1
    assert shop.lines == [f"highlight: see {server.url}", f"highlight: {IN_SHOP}  {server.url}/error/1"]
    # Another server comes and goes, which takes as long as this one would have taken.
    elsewhere = run("true", folder=tmp_path / "elsewhere")
    assert elsewhere.wait() == 0
    wait_until(lambda: is_free(tmp_path / "elsewhere"), what="for the other's end")
    assert server.process.poll() is None
    assert server.stop() == 0


def test_a_server_that_wants_a_token_is_not_used(run, by_hand):
    server = by_hand("--host", "0.0.0.0")
    shop = run("touch", "began")

    assert shop.wait() == 1
    assert shop.stderr == (
        f"highlight-run: highlight-local at {server.url} wants a token, which --local has none of: end it, or send to "
        "it with --endpoint and OTEL_EXPORTER_OTLP_HEADERS=x-highlight-local-token=TOKEN\n"
    )
    assert not (shop.folder / "began").exists()


def test_the_server_ends_when_its_launcher_is_killed(run, tmp_path):
    waits = run("python", "-c", WAITS)
    waits.ready()
    server = server_of(tmp_path)["process"]
    waits.process.kill()
    wait_for_end(server)


def test_who_comes_while_a_server_ends_has_the_next_one(run, tmp_path):
    waits = run("python", "-c", WAITS)
    waits.ready()
    server = server_of(tmp_path)["process"]
    os.kill(server, signal.SIGTERM)
    wait_until(lambda: not server_of(tmp_path), what="for the server's end to begin")
    comes = run("true")

    assert comes.wait() == 0
    assert comes.lines == [f"highlight: see {comes.url}"]
    assert server_of(tmp_path)["process"] != server


def test_a_server_that_is_killed_is_said_and_the_command_goes_on(run, tmp_path):
    waits = run("python", "-c", WAITS)
    waits.ready()
    told = server_of(tmp_path)
    os.kill(told["process"], signal.SIGKILL)
    wait_until(lambda: len(waits.lines) == 2, what="for the line")

    said = f"highlight-local has ended, so that errors are not shown here any more; see {told['log']}"
    assert waits.lines[1] == f"highlight: {said}"
    assert waits.process.poll() is None
    waits.process.terminate()
    assert waits.wait() == -signal.SIGTERM


def test_a_port_that_is_taken_is_said_and_another_used(run, tmp_path):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 4318))
            taken.listen()
        except OSError:  # by somebody else, which is as well
            pass
        (tmp_path / "shop.py").write_text(SHOP)
        shop = run("python", "shop.py")
        assert shop.wait() == 1
    assert not shop.url.endswith(":4318")
    assert shop.lines[0] == f"highlight: see {shop.url} (port 4318 is taken)"
    assert shop.lines[1] == f"highlight: {IN_SHOP}  {shop.url}/error/1"


def test_without_the_extra_it_says_what_to_install(run, tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "starlette.py").write_text("raise ImportError\n")
    found = run("touch", "began", env={"PYTHONPATH": str(tmp_path / "without")})

    assert found.wait() == 1
    assert re.fullmatch(
        r"highlight-run: highlight-local does not start: starlette is not installed; install it with: "
        r"\S+ -m pip install 'highlight-autoinstrument\[local\]'\n",
        found.stderr,
    )
    assert not (tmp_path / "began").exists()


def test_what_is_in_the_commands_folder_is_not_the_servers(run, tmp_path):
    for name in ("starlette", "json", "queue", "highlight_autoinstrument"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not mine')\n")
    assert run("true").wait() == 0


def test_a_database_that_cannot_be_used_is_said_in_one_line(run, tmp_path):
    path = tmp_path / "data" / "highlight-autoinstrument" / "local.db"
    path.parent.mkdir(parents=True)
    path.write_text("this is no database at all, but long enough to be taken for one" * 100)
    found = run("touch", "began")

    assert found.wait() == 1
    assert found.stderr == f"highlight-run: highlight-local does not start: {path}: file is not a database\n"
    assert not (tmp_path / "began").exists()


@pytest.fixture
def slow(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """An environment in which the server does not become ready, and the file in which it leaves its process id."""
    folder, told = tmp_path / "slow", tmp_path / "pid"
    folder.mkdir()
    (folder / "uvicorn.py").write_text(
        "import os, time\n"
        f"with open({str(told)!r} + '.new', 'w') as file:\n"
        "    file.write(str(os.getpid()))\n"
        "os.rename(file.name, file.name[:-4])\n"
        "time.sleep(600)\n"
    )
    return {"PYTHONPATH": str(folder)}, told


def test_a_server_that_is_not_ready_in_time_is_said_and_not_left_behind(run, slow, tmp_path):
    env, told = slow
    found = run("touch", "began", env=env)

    assert found.wait() == 1
    assert found.stderr == "highlight-run: highlight-local does not start: it was not ready within 10 s\n"
    assert not (tmp_path / "began").exists()
    assert not is_alive(int(told.read_text()))


def test_ctrl_c_before_the_command_has_begun_ends_it_without_a_word(run, slow, tmp_path):
    env, told = slow
    found = run("touch", "began", env=env)
    wait_until(told.exists, what="for the server's start")
    os.killpg(found.process.pid, signal.SIGINT)

    assert found.wait() == -signal.SIGINT
    assert found.stderr == ""
    assert not (tmp_path / "began").exists()
    wait_for_end(int(told.read_text()))


# Where the data go


def test_nothing_of_the_environment_sends_the_data_elsewhere(run, receiver, tmp_path):
    (tmp_path / "shop.py").write_text(f"import os\nprint(os.environ['no_proxy'], os.environ['NO_PROXY']){SHOP}")
    elsewhere = {
        "HIGHLIGHT_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{receiver.url}/v1/logs",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=7",
        "OTEL_SDK_DISABLED": "true",
        "HIGHLIGHT_ENABLED": "false",
        "HTTP_PROXY": receiver.url,
        "all_proxy": receiver.url,
        "no_proxy": "example.com",
        "NO_PROXY": "*",
    }
    shop = run("python", "shop.py", env=elsewhere)

    assert shop.wait() == 1
    assert shop.lines[1:] == [
        f"highlight: {IN_SHOP.replace(':3', ':4')}  {shop.url}/error/1",
        KEPT,
    ]
    assert shop.stdout == f"example.com,{shop.url.removeprefix('http://')} *\n"
    assert receiver.bodies == []


def test_a_project_that_is_given_is_kept(run, tmp_path):
    program = "import os; print(os.environ['HIGHLIGHT_PROJECT_ID'], os.environ['OTEL_RESOURCE_ATTRIBUTES'])"
    given = run("python", "-c", program, options=("--project-id", "1jdkoe52"), env={"OTEL_RESOURCE_ATTRIBUTES": "a=b"})
    assert given.wait() == 0
    assert re.fullmatch(r"1jdkoe52 a=b,highlight\.local\.launcher=[0-9a-f]{16}\n", given.stdout)
    default = run("python", "-c", program)
    assert default.wait() == 0
    assert re.fullmatch(r"1 highlight\.local\.launcher=[0-9a-f]{16}\n", default.stdout)


def test_a_launcher_under_a_launcher(run, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    outer = run(str(LAUNCHER), "--local", "python", "shop.py")

    assert outer.wait() == 1
    assert outer.lines[1:] == [
        f"highlight: see {outer.url}",
        f"highlight: {IN_SHOP}  {outer.url}/error/1",
        KEPT,
    ]


def test_what_a_launcher_does_under_an_agent_is_not_reported(receiver, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    done = subprocess.run(
        [LAUNCHER, LAUNCHER, "--local", "python", "shop.py"],
        env=environment(tmp_path, HIGHLIGHT_PROJECT_ID="1", HIGHLIGHT_OTLP_ENDPOINT=receiver.url),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count(IN_SHOP) == 1
    wait_until(lambda: is_free(tmp_path), what="for the server's end")
    assert receiver.bodies == []


def test_local_and_an_endpoint_contradict_each_other(run):
    found = run("touch", "began", options=("--endpoint", "http://127.0.0.1:1"))
    assert found.wait() == 2
    assert found.stderr == "highlight-run: --local sends to this machine: leave --endpoint out\n"
    assert not (found.folder / "began").exists()


def test_the_check_tries_the_server_on_this_machine(run, tmp_path):
    found = run("python", options=("--check", "--json"))
    assert found.wait() == 0
    document = json.loads(found.stdout)
    assert (document["ready"], document["stops"], found.stderr) == (True, [], "")
    assert [(each["signal"], each["ok"]) for each in document["exports"]] == [
        ("traces", True),
        ("logs", True),
        ("metrics", True),
    ]
    assert len({each["url"].rpartition("/v1/")[0] for each in document["exports"]}) == 1
    assert document["settings"]["project_id"]["value"] == "1"
    wait_until(lambda: is_free(tmp_path), what="for the server's end")


# What stays as it is without


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("exit 0", 0),
        ("exit 41", 41),
        ("kill -TERM $$", -signal.SIGTERM),
        ("kill -KILL $$", -signal.SIGKILL),
        ("kill -SEGV $$", -signal.SIGSEGV),
        ("kill -PIPE $$", -signal.SIGPIPE),
    ],
)
def test_the_commands_end_is_the_launchers(run, program, status):
    found = run("sh", "-c", program)
    assert found.wait() == status
    assert len(found.lines) == 1


def test_a_command_that_does_not_start_has_the_shells_status(run, tmp_path):
    missing = run("no-such-command")
    assert missing.wait() == 127
    assert missing.lines[1:] == ["highlight-run: no-such-command: command not found"]
    (tmp_path / "tool").write_text("echo started with $1; exit 3")
    assert run("./tool").wait() == 126
    (tmp_path / "tool").chmod(0o755)
    script = run("./tool", "a")
    assert (script.wait(), script.stdout) == (3, "started with a\n")


CLEANS_UP = """
import signal, sys, time

def end(number, frame):
    print("cleaned up", signal.Signals(number).name, flush=True)
    sys.exit(7)

for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), end)
print("ready", flush=True)
while True:
    time.sleep(0.05)  # a signal that comes just before pause() would not end it
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_signal_to_the_launcher_is_the_commands(run, name):
    found = run("python", "-c", CLEANS_UP, name)
    found.ready()
    found.process.send_signal(getattr(signal, name))
    assert (found.wait(), found.stdout) == (7, f"ready\ncleaned up {name}\n")
    assert len(found.lines) == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT"])
def test_what_a_terminal_sends_is_left_to_the_command(run, name):
    found = run("python", "-c", CLEANS_UP, name)
    found.ready()
    os.killpg(found.process.pid, getattr(signal, name))
    assert (found.wait(), found.stdout) == (7, f"ready\ncleaned up {name}\n")


def test_what_is_ignored_stays_ignored(tmp_path):
    program = "from signal import *; print(*[getsignal(number).name for number in (SIGINT, SIGHUP)])"
    shell = f"trap '' HUP INT; exec '{LAUNCHER}' --local \"$@\""
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", program],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.stdout, done.returncode) == ("SIG_IGN SIG_IGN\n", 0)


def test_files_that_the_shell_has_opened_are_the_commands(run, tmp_path):
    with (tmp_path / "given").open("w") as given:
        program = "import os, sys; os.write(int(sys.argv[1]), b'here')"
        found = run("python", "-c", program, str(given.fileno()), pass_fds=(given.fileno(),))
        assert found.wait() == 0
    assert (tmp_path / "given").read_text() == "here"


class Terminal:
    """A shell in a terminal of its own, with job control."""

    def __init__(self, folder: Path, script: str) -> None:
        self.pid, self._master = pty.fork()
        if not self.pid:  # a child of this test: it becomes the shell, whatever happens
            try:
                os.chdir(folder)
                os.execve("/bin/bash", ["bash", "-m", "-c", script], environment(folder))
            finally:
                os._exit(99)
        self.shown = ""
        self._status: int | None = None

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str) -> None:
        """Read until it shows a text; what was shown before that is done with."""
        while text not in self.shown:
            assert select.select([self._master], [], [], PATIENCE_SECONDS)[0], self.shown
            try:
                self.shown += os.read(self._master, 1000).decode()
            except OSError:  # it has been hung up
                raise AssertionError(self.shown) from None
        self.shown = self.shown.partition(text)[2]

    def wait(self) -> int:
        """Its status, once it has ended."""
        self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def close(self) -> None:
        """Hang up, which ends what runs in it."""
        os.close(self._master)
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(script: str) -> Terminal:
        opened.append(Terminal(tmp_path, script))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


ASKS = """
import signal, time
signal.signal(signal.SIGCONT, lambda *_: print("goes on", flush=True))
try:
    print("hello", input("name? "), flush=True)
    while True:  # what comes just before a sleep would be seen after it
        time.sleep(0.05)
except KeyboardInterrupt:
    print("cleaned up", flush=True)
    raise
"""


def test_a_terminal_is_the_commands(terminal, tmp_path):
    (tmp_path / "asks.py").write_text(ASKS)
    command = f"'{LAUNCHER}' --local python asks.py"
    shell = terminal(f"{command}; echo stopped $?; fg; exit 0")
    shell.read_until("name? ")
    server = server_of(tmp_path)["process"]
    shell.type("Ada\n")
    shell.read_until("hello Ada")

    shell.type("\x1a")  # Ctrl-Z
    shell.read_until(f"stopped {128 + signal.SIGTSTP}")
    shell.read_until("goes on")
    shell.type("\x03")  # Ctrl-C
    shell.read_until("cleaned up")
    shell.read_until("KeyboardInterrupt")
    assert shell.wait() == 128 + signal.SIGINT, "the shell ends with what Ctrl-C has ended, and with nothing else"
    wait_for_end(server)
