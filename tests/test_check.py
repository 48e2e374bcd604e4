"""highlight-run --check: which Python, what stops the agent there, and whether the receiver answers."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import uv

import highlight_autoinstrument
from highlight_autoinstrument import __version__, check_command, check_export, cli, config, tested
from tests.support.receiver import Misbehaviour
from tests.test_export import authority, tls, tls_receiver  # noqa: F401 - fixtures

ROOT = Path(highlight_autoinstrument.__file__).parent.parent
LAUNCHER = Path(sysconfig.get_path("scripts"), "highlight-run")
LAUNCHERS_PYTHON = LAUNCHER.read_text().splitlines()[0].removeprefix("#!")
TEMPLATE = cli.template_folder()
VERSION = ".".join(map(str, sys.version_info[:3]))
OF_PYTHON = [row[0] for row in tested.TESTED if row[1] == "Python"]
REFUSED = "ConnectionRefusedError: [Errno 111] Connection refused"
ELSEWHERE = {"what": "the exports were tried from highlight-run's own Python", "fix": ""}


def environment(folder, pth, distributions):
    """Make a virtual environment with these distributions, as far as their metadata goes."""
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "agent.pth").write_text(pth)
    for name, version in distributions.items():
        metadata = packages / f"{name}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        )
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """A Python that has the agent, and some libraries; importing one of these leaves a trace."""
    distributions = {
        "wrapt": "1.16",
        "opentelemetry_api": "1.45.2",
        "opentelemetry_sdk": "1.45.2",
        "Flask": "3.1.99",
        "Django": "99.1",
        "kafka_python": "0.9rc1",
        "requests": "2.30.0",
        "opentelemetry_instrumentation_flask": "0.50b0",
        "opentelemetry_instrumentation_redis": "0.50b0",
        "opentelemetry_instrumentation_sqlalchemy": "0.50b0",
    }
    python = environment(tmp_path_factory.mktemp("with") / "venv", str(ROOT), distributions)
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    for name in ("flask", "django", "requests"):
        (packages / f"{name}.py").write_text(f"open('{packages}/imported', 'w')")
    return python


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """A Python that does not have the agent."""
    return environment(tmp_path_factory.mktemp("without") / "venv", "", {})


@pytest.fixture
def environ(receiver, python):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HIGHLIGHT", "_HIGHLIGHT", "OTEL", "PYTHON", "VIRTUAL_ENV", "UV_", "COV"))
        and not name.lower().endswith("_proxy")
    }
    kept["PATH"] = f"{python.parent}:{kept['PATH']}"
    return kept | {"HIGHLIGHT_PROJECT_ID": "1", "HIGHLIGHT_OTLP_ENDPOINT": receiver.url}


@pytest.fixture
def run(environ, tmp_path):
    def run(*arguments):
        options = {"env": environ, "cwd": tmp_path, "input": "", "timeout": 60}
        done = subprocess.run([LAUNCHER, *arguments], capture_output=True, text=True, check=False, **options)
        assert done.stderr == ""
        return done

    return run


@pytest.fixture
def check(run):
    """What `--check --json` tells of a command."""

    def check(*command, options=()):
        done = run(*options, "--check", "--json", *command)
        document = json.loads(done.stdout)
        assert done.returncode == (0 if document["ready"] else 1)
        assert document["ready"] == (not document["stops"])
        return document

    return check


@pytest.fixture
def script(tmp_path):
    def script(name, text, mode=0o755):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return script


def stop(what, fix):
    return {"what": what, "fix": fix}


def refused(variable="HIGHLIGHT_OTLP_ENDPOINT"):
    fix = f"nothing listens there: start the receiver, or correct {variable}"
    return stop(f"the export of traces, logs, metrics fails: {REFUSED}", fix)


# All is well


def without_times(document):
    for each in document["exports"]:
        assert 0 <= each.pop("milliseconds") < 60_000
    return document


def library(name, distribution, version, reason=None, by="highlight", *, instrumented=True):
    versions = [[oldest, newest] for row, of, oldest, newest in tested.TESTED if (row, of) == (name, distribution)]
    return {
        "name": name,
        "distribution": distribution,
        "version": version,
        "instrumented": instrumented,
        "by": by,
        "tested": versions[0] if by == "highlight" else None,
        "reason": reason,
    }


def bounds(distribution):
    return next((oldest, newest) for _, of, oldest, newest in tested.TESTED if of == distribution)


@pytest.fixture
def shadowed(python):
    """A sitecustomize of the user's, which says things."""
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    theirs = packages / "sitecustomize.py"
    theirs.write_text("import sys; print('{}'); print('highlight: no', file=sys.stderr)")
    yield str(theirs)
    theirs.unlink()


def test_the_whole_document_of_a_command_that_is_ready(check, environ, python, receiver, shadowed):
    environ["HIGHLIGHT_DISABLED_INTEGRATIONS"] = "requests,redis"
    environ["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization=Bearer%20tellnobody"
    command = ("env", "GREETING=tellnobody", "python", "-u", "app.py", "--password=tellnobody")
    document = without_times(check(*command, options=["--service-name", "api"]))

    by_name = {setting.field: setting for setting in config.SETTINGS}
    defaults = config.Config({"HOME": environ.get("HOME", ""), "XDG_STATE_HOME": environ["XDG_STATE_HOME"]})
    settings = {
        name: {"value": config.printable(setting, getattr(defaults, name)), "source": "default"}
        for name, setting in by_name.items()
    }
    settings |= {
        "project_id": {"value": "1", "source": "HIGHLIGHT_PROJECT_ID"},
        "service_name": {"value": "api", "source": "--service-name"},
        "endpoint": {"value": receiver.url, "source": "HIGHLIGHT_OTLP_ENDPOINT"},
        "disabled_integrations": {"value": ["redis", "requests"], "source": "HIGHLIGHT_DISABLED_INTEGRATIONS"},
        "headers": {"value": {"authorization": "***"}, "source": "OTEL_EXPORTER_OTLP_HEADERS"},
        "spool_dir": {"value": f"{environ['XDG_STATE_HOME']}/highlight-autoinstrument", "source": "default"},
    }
    settings = json.loads(json.dumps(settings))
    disabled = {"reason": "disabled by HIGHLIGHT_DISABLED_INTEGRATIONS", "instrumented": False}
    libraries = [library(name, "Python", VERSION) for name in OF_PYTHON]
    libraries += [
        library("django", "django", "99.1", f"newer than {bounds('django')[1]}, the newest that is tested"),
        library("flask", "flask", "3.1.99"),
        library(
            "kafka", "kafka-python", "0.9rc1", f"older than {bounds('kafka-python')[0]}, the oldest that is tested"
        ),
        library("opentelemetry", "opentelemetry-api", "1.45.2"),
        library("requests", "requests", "2.30.0", **disabled),
    ]
    libraries.sort(key=lambda each: (each["name"], each["distribution"]))
    by_opentelemetry = [
        library(
            name, f"opentelemetry-instrumentation-{name}", "0.50b0", reason, "opentelemetry", instrumented=not reason
        )
        for name, reason in (
            ("flask", "the integration flask covers its library"),
            ("redis", "redis is disabled"),
            ("sqlalchemy", None),
        )
    ]
    found = document.pop("libraries")
    assert found == [*libraries, *by_opentelemetry]
    assert document == {
        "ready": True,
        "stops": [],
        "notes": [],
        "launcher": {"version": __version__, "python": LAUNCHERS_PYTHON, "folder": TEMPLATE},
        "command": {"name": "env", "found": ["/usr/bin/env", str(python)], "python": [str(python), "-u"]},
        "python": {
            "executable": str(python),
            "implementation": "cpython",
            "version": VERSION,
            "prefix": str(python.parent.parent),
            "flags": {"E": False, "I": False, "S": False},
            "pythonpath": TEMPLATE,
        },
        "agent": {
            "loaded": True,
            "installed": True,
            "version": __version__,
            "folder": str(ROOT),
            "sitecustomize": [f"{TEMPLATE}/sitecustomize.py", shadowed],
        },
        "settings": settings,
        "exports": [
            {"signal": signal, "url": f"{receiver.url}/v1/{signal}", "ok": True, "answer": "HTTP 200", "fix": None}
            for signal in ("traces", "logs", "metrics")
        ],
    }
    assert receiver.bodies == [b"", b"", b""]
    assert [export.headers["authorization"] for export in receiver.exports] == ["Bearer tellnobody"] * 3
    assert not list(python.parent.parent.glob("lib/python*/site-packages/imported"))


def test_the_report_is_aligned_and_ends_with_ready(run, environ, python, receiver, shadowed):
    environ["HIGHLIGHT_DISABLED_INTEGRATIONS"] = "requests,redis"
    environ["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization=Bearer%20tellnobody"
    done = run("--service-name", "api", "--check", "python", "app.py")
    head, _, rest = done.stdout.partition("export ")
    newest, oldest = bounds("django")[1], bounds("kafka-python")[0]
    rows = (
        ("libraries  django", "99.1", f"instrumented; newer than {newest}, the newest that is tested"),
        ("flask", "3.1.99", "instrumented"),
        ("kafka", "kafka-python 0.9rc1", f"instrumented; older than {oldest}, the oldest that is tested"),
        ("opentelemetry", "opentelemetry-api 1.45.2", "instrumented"),
        ("requests", "2.30.0", "no; disabled by HIGHLIGHT_DISABLED_INTEGRATIONS"),
        ("opentelemetry-instrumentation-flask", "0.50b0", "no; the integration flask covers its library"),
        ("opentelemetry-instrumentation-redis", "0.50b0", "no; redis is disabled"),
        ("opentelemetry-instrumentation-sqlalchemy", "0.50b0", "instruments its library"),
    )
    libraries = "\n".join(
        f"{name if name.startswith('libraries') else ' ' * 11 + name:<51}  {version:<24}  {said}"
        for name, version, said in rows
    )

    assert (
        head
        == f"""\
command    {python}

python     CPython {VERSION}, {python}

agent      loaded, {__version__} in {ROOT}
           runs this first, which it shadows: {shadowed}

settings   project_id             1{" " * (len(receiver.url) - 1)}  HIGHLIGHT_PROJECT_ID
           endpoint               {receiver.url}  HIGHLIGHT_OTLP_ENDPOINT
           service_name           api{" " * (len(receiver.url) - 3)}  --service-name
           disabled_integrations  redis, requests{" " * (len(receiver.url) - 15)}  HIGHLIGHT_DISABLED_INTEGRATIONS
           headers                authorization=***{" " * (len(receiver.url) - 17)}  OTEL_EXPORTER_OTLP_HEADERS
           the other {len(config.SETTINGS) - 5} have their defaults (--json tells them)

{libraries}
           of Python itself (instrumented): {", ".join(OF_PYTHON)}

"""
    )
    lines = rest.splitlines()
    assert [line.partition(" ms")[0].rstrip("0123456789").split() for line in lines[:3]] == [
        [signal, f"{receiver.url}/v1/{signal}", "HTTP", "200,"] for signal in ("traces", "logs", "metrics")
    ]
    assert lines[3:] == ["           the answer is the same whether or not there is a project 1", "", "ready"]
    assert "tellnobody" not in done.stdout


def test_without_a_command_it_is_the_python_that_would_be_started_as_python(check, python, bare_python, environ):
    assert check()["command"] == {"name": "python", "found": [str(python)], "python": [str(python)]}

    environ["PATH"] = str(bare_python.parent)
    assert check()["python"]["executable"] == str(bare_python)


def test_the_command_does_not_run_and_nothing_is_changed(run, script, receiver, environ, tmp_path):
    for name in ("app.py", "json.py", "importlib.py", "ssl.py"):
        script(name, "open('ran', 'w')")
    environ["XDG_STATE_HOME"] = str(tmp_path / "state")
    for command in (["python", "app.py"], ["python", "-c", "open('ran', 'w')"], ["python", "-m", "app"]):
        assert run("--check", *command).stdout.endswith("\nready\n")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.py", "importlib.py", "json.py", "ssl.py"]
    assert receiver.bodies == [b""] * 9


KILLED = """
import logging, os, signal
from highlight_autoinstrument import trace
with trace("work"):
    try:
        raise LookupError("lost")
    except LookupError:
        logging.exception("failed")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_processes_have_left_is_left_to_the_service(run, environ, tmp_path, receiver):
    environ |= {"HIGHLIGHT_SPOOL_DIR": str(tmp_path / "spool"), "HIGHLIGHT_SERVICE_NAME": "api"}
    environ["OTEL_BSP_SCHEDULE_DELAY"] = "3600000"
    command = [LAUNCHER, sys.executable, "-c", KILLED]
    subprocess.run(command, env=environ, capture_output=True, check=False, timeout=60)
    left = list((tmp_path / "spool").rglob("*.*"))
    assert len(left) == 1

    assert run("--check", sys.executable).stdout.endswith("\nready\n")
    assert list((tmp_path / "spool").rglob("*.*")) == left
    assert receiver.bodies == [b"", b"", b""]


@pytest.mark.parametrize("stdout", ["/dev/full", "closed", "a pipe that nobody reads"])
def test_a_report_that_cannot_be_written_has_its_exit_status(environ, stdout):
    command = f'exec "{LAUNCHER}" --check'
    redirected = {"/dev/full": f"{command} > /dev/full", "closed": f"{command} >&-"}.get(stdout, command)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        ["sh", "-c", redirected], env=environ, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(writer)

    assert (done.stderr, done.returncode) == (b"", 0)


# What stops the agent


def test_another_environment_that_does_not_have_it(check, bare_python):
    document = without_times(check(bare_python, "app.py"))

    what = f"the agent is not installed for {bare_python}"
    assert document["stops"] == [stop(what, f"{bare_python} -m pip install highlight-autoinstrument")]
    assert document["agent"] == {
        "loaded": False,
        "installed": False,
        "version": None,
        "folder": None,
        "sitecustomize": [f"{TEMPLATE}/sitecustomize.py"],
    }
    assert document["notes"] == [ELSEWHERE]
    assert [each["ok"] for each in document["exports"]] == [True] * 3
    assert {each["reason"] for each in document["libraries"]} == {"the agent is not loaded"}


@pytest.mark.parametrize(
    ("arguments", "flag", "reads"),
    [
        (["-E", "app.py"], "E", "read PYTHONPATH"),
        (["-uIm", "app"], "I", "read PYTHONPATH"),
        (["-X", "dev", "-S", "-c", "pass"], "S", "run sitecustomize"),
    ],
)
def test_an_option_of_python_by_which_it_is_not_loaded(check, python, arguments, flag, reads):
    document = check("python", *arguments)

    what = f"{python} is started with -{flag} and so does not {reads}"
    assert document["stops"] == [stop(what, f"leave -{flag} out (also of a first line)")]
    assert document["python"]["flags"] == {name: name == flag for name in "EIS"}
    assert document["agent"]["loaded"] is False
    assert document["agent"]["installed"] is (None if flag == "S" else True)


def test_a_first_line_with_such_an_option(run, script, python):
    script("tool", f"#!{python} -sE\n")
    done = run("--check", "./tool", "-S")

    assert done.stdout.splitlines()[-1] == f"not ready: {python} is started with -E and so does not read PYTHONPATH"
    assert f"python     CPython {VERSION}, {python} -E\n" in done.stdout


def test_pythonpath_that_is_overwritten_on_the_way(check):
    document = check("env", "PYTHONPATH=/srv", "python", "app.py")

    what = "PYTHONPATH is '/srv' where Python starts: the agent's folder has been taken out on the way"
    fix = f"keep what is there and add to it (PYTHONPATH=...:$PYTHONPATH), or add {TEMPLATE}"
    assert document["stops"] == [stop(what, fix)]


def test_an_emptied_environment_is_the_one_that_is_checked(check):
    document = check("env", "-i", "PATH=" + os.environ["PATH"], "HIGHLIGHT_OTLP_ENDPOINT=http://127.0.0.1:1", "python3")

    assert document["stops"][0]["what"].startswith("PYTHONPATH is '' where")
    assert document["settings"]["project_id"] == {"value": None, "source": "default"}
    assert document["settings"]["endpoint"]["value"] == "http://127.0.0.1:1"


def test_a_sitecustomize_that_is_run_in_place_of_the_agents(check, script):
    theirs = script("theirs/sitecustomize.py", "")
    document = check("env", f"PYTHONPATH={theirs.parent}:{TEMPLATE}", "python")

    what = f"{theirs} is run in place of the agent's"
    assert document["stops"] == [stop(what, f"put {TEMPLATE} before it on PYTHONPATH")]


def test_one_that_ends_python_and_one_that_fails(check, script, environ, python):
    theirs = script("theirs/sitecustomize.py", "raise SystemExit('no licence')")
    command = ["env", f"PYTHONPATH={TEMPLATE}:{theirs.parent}", "python"]
    fix = "see that it starts as it is, without highlight-run"
    assert check(*command)["stops"] == [stop(f"{python} could not be asked: SystemExit: no licence", fix)]

    theirs.write_text("1 / 0")
    assert check(*command)["stops"] == []


@pytest.mark.parametrize("variable", ["HIGHLIGHT_ENABLED=off", "OTEL_SDK_DISABLED=true"])
def test_an_agent_that_is_switched_off(run, check, environ, variable, receiver):
    name, _, value = variable.partition("=")
    environ[name] = value
    document = check("python")

    assert document["stops"] == [stop(f"the agent is switched off by {name}", f"unset {name}")]
    assert document["exports"] is None
    assert {each["reason"] for each in document["libraries"]} == {f"switched off by {name}"}
    assert run("--check").stdout.splitlines()[-1] == f"not ready: the agent is switched off by {name}"
    assert receiver.exports == []


@pytest.mark.parametrize(
    ("project", "what"),
    [
        ("", "HIGHLIGHT_PROJECT_ID is not set: nothing will be exported"),
        (
            "My-Project",
            (
                "HIGHLIGHT_PROJECT_ID='My-Project' is neither an integer nor a hashid such as '1jdkoe52': "
                "the backend will drop everything silently"
            ),
        ),
    ],
)
def test_a_project_id_that_is_missing_or_malformed(check, project, what):
    document = check(options=["--project-id", project])

    assert [each["what"] for each in document["stops"]] == [what]
    assert document["notes"] == []
    assert [each["ok"] for each in document["exports"]] == [True] * 3


def test_an_agent_that_cannot_start_there(check, script, bare_python, tmp_path):
    script("broken/highlight_autoinstrument/__init__.py", "__version__ = '0.0.1'")
    script("broken/highlight_autoinstrument/bootstrap.py", "import nothing_of_that_name")
    document = check("env", f"PYTHONPATH={TEMPLATE}:{tmp_path / 'broken'}", bare_python)

    what = "the agent is off: ModuleNotFoundError: No module named 'nothing_of_that_name'"
    fix = f"reinstall it: {bare_python} -m pip install --force-reinstall highlight-autoinstrument"
    assert document["stops"] == [stop(what, fix)]
    assert document["notes"][0]["what"] == f"the agent there is 0.0.1, and highlight-run {__version__}"


def test_what_the_agent_needs_and_does_not_find(check, script, bare_python, tmp_path):
    metadata = "Metadata-Version: 2.1\nName: highlight-autoinstrument\nVersion: 9\n"
    requires = "Requires-Dist: wrapt<3,>=1\nRequires-Dist: grpcio; extra == 'grpc'\n"
    script("there/highlight_autoinstrument-9.dist-info/METADATA", metadata + requires)
    command = ["env", f"PYTHONPATH={TEMPLATE}:{tmp_path / 'there'}:{ROOT}", bare_python]

    fix = f"{bare_python} -m pip install wrapt"
    assert check(*command)["stops"] == [stop(f"wrapt, which the agent needs, is not installed for {bare_python}", fix)]


def test_a_python_that_is_too_old_or_does_not_answer(check, script, tmp_path):
    old = json.dumps(
        {
            "executable": "/opt/python3.8",
            "implementation": "cpython",
            "version": [3, 8, 1],
            "prefix": "/opt",
            "flags": {"E": False, "I": False, "S": False},
            "path": [],
            "environ": {"HIGHLIGHT_PROJECT_ID": "1", "HIGHLIGHT_OTLP_ENDPOINT": "http://127.0.0.1:1"},
            "sitecustomize": [],
            "agent": None,
            "loaded": False,
        }
    )
    script("python3.8", f"#!/bin/sh\nprintf '%s%s\\n' \"$3\" '{old}'\n")
    what = "/opt/python3.8 is Python 3.8.1, and the agent needs 3.10 or later"
    assert check("./python3.8")["stops"] == [stop(what, "run the program with a later Python"), refused()]

    script("python2", "#!/bin/sh\necho 'SyntaxError: invalid syntax' >&2; exit 1\n")
    what = "./python2 is too old: the agent needs Python 3.10 or later"
    assert check("./python2")["stops"] == [stop(what, "run the program with a later Python")]

    script("python", "#!/bin/sh\necho 'no such version' >&2; exit 1\n")
    document = check("./python")
    fix = "see that it starts as it is, without highlight-run"
    assert document["stops"] == [stop("./python could not be asked: no such version", fix)]
    assert (document["python"], document["agent"], document["libraries"]) == (None, None, None)
    assert document["notes"] == [ELSEWHERE]


def test_a_launcher_whose_folder_is_missing(environ, tmp_path, python):
    import shutil

    shutil.copytree(ROOT / "highlight_autoinstrument", tmp_path / "highlight_autoinstrument")
    command = [sys.executable, "-m", "highlight_autoinstrument", "--check", "--json", python]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert done.stderr == ""
    assert json.loads(done.stdout)["stops"][0] == stop(
        f"the agent's folder {tmp_path}/sitecustomize_template is missing",
        f"reinstall it: {sys.executable} -m pip install --force-reinstall highlight-autoinstrument",
    )


def test_settings_that_cannot_be_used_are_noted(check, environ):
    environ |= {"HIGHLIGHT_LOG_LEVEL": "loud", "HIGHLIGHT_DISABLED_INTEGRATIONS": "flsk,flask,opentelemetry,redis"}
    document = check()

    assert document["ready"]
    assert document["notes"] == [
        stop(
            "HIGHLIGHT_LOG_LEVEL='loud' is not TRACE, DEBUG, INFO, WARN, ERROR, FATAL or a number; the default is used",
            "correct it",
        ),
        stop("HIGHLIGHT_DISABLED_INTEGRATIONS: no library here has the name flsk", "correct it"),
    ]
    reasons = {each["distribution"]: each["reason"] for each in document["libraries"]}
    assert reasons["opentelemetry-instrumentation-sqlalchemy"] == "disabled by HIGHLIGHT_DISABLED_INTEGRATIONS"
    assert reasons["flask"] == "disabled by HIGHLIGHT_DISABLED_INTEGRATIONS"


# The receiver


@pytest.mark.parametrize(
    ("status", "answer", "fix"),
    [
        (401, "HTTP 401 Unauthorized", "the receiver wants a token: OTEL_EXPORTER_OTLP_HEADERS="),
        (404, "HTTP 404 Not Found", "no OTLP receiver has that path: HIGHLIGHT_OTLP_ENDPOINT is to be its address"),
        (503, "HTTP 503 Service Unavailable", "the receiver, or a proxy before it, is in trouble"),
        (302, "HTTP 302 Found, a redirect, which is not followed", "the receiver has moved"),
    ],
)
def test_an_answer_that_refuses(check, receiver, status, answer, fix):
    receiver.misbehave = [Misbehaviour(status=status) for _ in range(3)]
    document = check()

    what = f"the export of traces, logs, metrics fails: {answer}"
    if status == 404:  # the path is named for each
        assert [each["what"].rpartition(": ")[2] for each in document["stops"]] == [answer] * 3
    else:
        assert [each["what"] for each in document["stops"]] == [what]
    assert document["stops"][0]["fix"].startswith(fix)
    assert [each["answer"] for each in document["exports"]] == [answer] * 3


def test_one_signal_that_goes_elsewhere(check, environ, receiver):
    environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = environ.pop("HIGHLIGHT_OTLP_ENDPOINT")
    environ["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] = "http://127.0.0.1:1/logs"
    environ["OTEL_METRICS_EXPORTER"] = "none"
    document = check()

    fix = "nothing listens there: start the receiver, or correct OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
    assert document["stops"] == [stop(f"the export of logs fails: {REFUSED}", fix)]
    assert [(each["url"], each["ok"]) for each in document["exports"]] == [
        (f"{receiver.url}/v1/traces", True),
        ("http://127.0.0.1:1/logs", False),
        (f"{receiver.url}/v1/metrics", True),
    ]
    assert document["exports"][2]["answer"] == "not sent, by OTEL_METRICS_EXPORTER"
    assert [export.path for export in receiver.exports] == ["/v1/traces"]


def failure(document):
    (problem,) = document["stops"]
    return problem["what"].removeprefix("the export of traces, logs, metrics fails: "), problem["fix"]


def test_nothing_listens(run, environ):
    environ["HIGHLIGHT_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    lines = run("--check").stdout.splitlines()

    assert (
        lines[-5:]
        == [
            f"problems   the export of traces, logs, metrics fails: {REFUSED}",
            "             -> nothing listens there: start the receiver, or correct HIGHLIGHT_OTLP_ENDPOINT",
            "",
            f"not ready: the export of traces, logs, metrics fails: {REFUSED}",
        ][-5:]
        or lines[-4:]
    )


def test_a_name_that_is_not_known(check):
    answer, fix = failure(check(options=["--endpoint", "http://collector.invalid:4318"]))

    assert answer.startswith("gaierror: ")
    assert fix == "the host's name is not known on this machine: correct HIGHLIGHT_OTLP_ENDPOINT, or the machine's DNS"


def test_no_answer_in_time(check, environ, receiver):
    receiver.misbehave = [Misbehaviour(hang=True) for _ in range(3)]
    environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "300"
    document = check()
    answer, fix = failure(document)

    assert max(each["milliseconds"] for each in document["exports"]) < 5000
    assert answer == "TimeoutError: timed out"
    assert fix.startswith("nothing has answered in time: is a firewall between")


def test_a_receiver_that_hangs_up(check, receiver):
    receiver.misbehave = [Misbehaviour(close=True) for _ in range(3)]
    answer, fix = failure(check())

    assert answer == "RemoteDisconnected: Remote end closed connection without response"
    assert fix.startswith("what listens there hangs up: if it wants TLS say https:// in HIGHLIGHT_OTLP_ENDPOINT")


def test_the_port_for_grpc_is_told_from_others():
    settings = config.Config({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"})
    fix = check_export._fix(settings, "logs", "RemoteDisconnected: Remote end closed connection without response")

    assert (
        fix == "4317 is the port for gRPC: say 4318 in OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
    )


def test_tls(check, environ, tls_receiver, authority, receiver):  # noqa: F811 - the fixtures
    answer, fix = failure(check(options=["--endpoint", tls_receiver.url]))
    assert answer.startswith("SSLCertVerificationError: ")
    assert fix.endswith("name its authority's PEM file in OTEL_EXPORTER_OTLP_CERTIFICATE")

    answer, fix = failure(check(options=["--endpoint", receiver.url.replace("http:", "https:")]))
    assert answer.startswith("SSLError: ")
    assert fix == "TLS failed: if the receiver has none, say http:// in HIGHLIGHT_OTLP_ENDPOINT"

    environ["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(authority / "ca.pem")
    assert check(options=["--endpoint", tls_receiver.url])["ready"]


def test_grpc(check, environ, grpc_receiver):
    environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
    answer, fix = failure(check())
    assert answer == "No module named 'grpc'"
    assert fix == "pip install grpcio, or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"

    document = check(sys.executable, options=["--endpoint", grpc_receiver.url])
    assert [each["answer"] for each in document["exports"]] == ["gRPC OK"] * 3

    document = check(sys.executable, options=["--endpoint", "http://127.0.0.1:1"])
    assert {each["answer"].partition(": ")[0] for each in document["exports"]} == {"gRPC UNAVAILABLE"}
    assert document["stops"][0]["fix"].startswith("nothing that speaks gRPC is there")

    environ["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization=tellno%0Abody"
    answer, fix = failure(check(sys.executable, options=["--endpoint", grpc_receiver.url]))
    assert answer == "gRPC INTERNAL: Invalid metadata"
    assert fix == "a name or a value in OTEL_EXPORTER_OTLP_HEADERS cannot be sent: correct it"

    environ["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization-bin=tellnobody"  # whose texts gRPC names as it likes
    assert failure(check(sys.executable, options=["--endpoint", grpc_receiver.url]))[0] == "TypeError"


@pytest.mark.parametrize("flags", [["--check"], ["--check", "--json"]])
def test_no_secret_is_told(run, environ, flags):
    environ |= {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=tellnobody%0D%0A",
        "OTEL_RESOURCE_ATTRIBUTES": "key=tellnobody",
        "HIGHLIGHT_OTLP_ENDPOINT": "http://user:tellnobody@127.0.0.1:1/tellsomebody?key=tellnobody",
        "http_proxy": "socks5://user:tellnobody@127.0.0.1:2",
        "SECRET": "tellnobody",
    }
    done = run(*flags, "env", "TOKEN=tellnobody", "python", "-c", "tellnobody")
    assert done.returncode == 1
    assert "tellsomebody" in done.stdout
    assert "tellnobody" not in done.stdout
    assert "http_proxy is not the URL of an HTTP proxy" in done.stdout


def test_a_strangers_words_do_not_steer_the_terminal(run, script, python):
    done = run("--check", script("a\x1b[31mb/tool", f"#!{python}\n"))

    assert "\x1b" not in done.stdout
    assert "a\\x1b[31mb/tool" in done.stdout


# The Python of a command


def found(document):
    return document["command"]["found"], document["command"]["python"]


def test_a_console_script(check, script, python, environ):
    tool = script("bin/serve", f"#!{python}\n")
    environ["PATH"] = f"{tool.parent}:{environ['PATH']}"

    assert found(check("serve", "app:app")) == ([str(tool), str(python)], [str(python)])


def test_uv_run(check, environ, python, tmp_path):
    environ |= {"UV_OFFLINE": "1", "UV_PYTHON": str(python)}
    uv_bin = uv.find_uv_bin()
    assert found(check(uv_bin, "run", "--no-project", "python", "-u", "app.py")) == (
        [uv_bin, str(python)],
        [str(python), "-u"],
    )
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\nrequires-python = '>=3.10'\n")
    document = check(uv_bin, "run", "serve")
    assert document["stops"] == [stop("the project has no environment yet: uv makes it at the first run", "uv sync")]

    venv.create(tmp_path / ".venv", with_pip=False)
    document = check(uv_bin, "run", "-m", "app")
    assert document["python"]["executable"] == str(tmp_path / ".venv" / "bin" / "python")
    assert not (tmp_path / "uv.lock").exists()


@pytest.fixture
def find(environ, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def find(*command):
        try:
            return check_command.find([str(word) for word in command], environ).python
        except check_command.NotKnownError as error:
            return str(error), error.fix

    return find


SHIM = """#!/usr/bin/env bash
exec "{tool}" exec "$program" "$@"
"""


def test_forms_of_commands(find, script, python, environ, tmp_path):
    exe = str(python)
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}:{LAUNCHER.parent}"
    script("long", f"#!/bin/sh\n'''exec' \"{exe}\" -E \"$0\" \"$@\"\n' '''\n")
    script("moved/python", f'#!/bin/sh\nexec {exe} "$@"\n')
    script("moved/tool", '#!/bin/sh\n\'\'\'exec\' "$(dirname -- "$(realpath -- "$0")")"/\'python\' "$0" "$@"\n')
    script("by-env", "#!/usr/bin/env python\n")
    script("by-env-s", "#!/usr/bin/env -S python -I\n")
    script("pyenv", f"#!/bin/sh\necho {tmp_path}/by-env\n")
    script("shims/serve", SHIM.format(tool=tmp_path / "pyenv"))

    assert find("long") == [exe, "-E"]
    assert find("moved/tool") == [str(tmp_path / "moved/python")]
    assert find("./by-env", "-E") == [exe]
    assert find("by-env-s") == [exe, "-I"]
    assert find("shims/serve") == [exe]
    assert find("nohup", "python") == [exe]
    assert find("highlight-run", "--debug", "python", "-E") == [exe, "-E"]
    assert find("sh", "-c", "exec by-env --port=8000") == [exe]
    assert find("sh", "-c", "PORT=1 python -P app.py") == [exe, "-P"]
    assert find("env", "-u", "X", "--unset=Y", "-", f"PATH={python.parent}", "python") == [exe]


def test_forms_of_commands_that_tell_nothing(find, script, environ, tmp_path):
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    hint = "check what it starts: {}highlight-run --check COMMAND"
    script("start.sh", "#!/bin/sh\nset -e\npython app.py\n")
    script("loop", f"#!{tmp_path}/loop\n")
    script("broken", "#!/no/such/python\n")
    script("app.py", "", 0o644)
    script("poetry", "#!/bin/sh\n")
    script("sudo", "#!/bin/sh\n")
    script("pyenv", "#!/bin/sh\necho 'pyenv: serve: command not found' >&2; exit 127\n")
    script("shims/serve", SHIM.format(tool=tmp_path / "pyenv"))
    script("inline.py", "# /// script\n", 0o644)
    uv_run = [uv.find_uv_bin(), "run"]

    assert find("./start.sh") == (
        "./start.sh is a shell's script, and which Python it starts cannot be told",
        hint.format(""),
    )
    assert find("sh", "-c", "cd /srv && python app.py") == (
        "which Python is started by what sh runs cannot be told",
        hint.format("sh -c '") + "'",
    )
    assert find("poetry", "run", "x") == (
        "poetry runs its command in an environment that it chooses itself",
        hint.format("poetry run "),
    )
    assert find("sudo", "python") == (
        "sudo does not hand on the variables that highlight-run sets",
        hint.format("sudo "),
    )
    assert find("/bin/sleep") == (
        "/bin/sleep is no script of Python's, and which Python it uses cannot be told",
        hint.format(""),
    )
    assert find("loop")[0] == f"{tmp_path}/loop: its first line leads nowhere"
    assert (
        find("broken")[0]
        == f"{tmp_path}/broken: the interpreter that its first line names, /no/such/python, is missing"
    )
    assert find("nope")[0] == "nope: command not found"
    assert find("./nope")[0] == "./nope: command not found"
    assert find("app.py") == ("app.py: not executable", "python app.py, or chmod +x")
    assert find(".")[0] == ".: is a directory"
    assert find("")[0] == ": command not found"
    assert find("env", "A=1")[0] == "env has no command to run"
    assert find("env", "-C", "/", "python")[0] == "what env does with -C is not known here"
    assert find("shims/serve")[0] == "pyenv does not find it: pyenv: serve: command not found"
    assert find(*uv_run, "--with", "x", "y")[0] == "with --with, uv run chooses its environment anew"
    assert (
        find(*uv_run, "--no-project", "inline.py")[0] == "uv makes an environment for inline.py from what stands in it"
    )
    assert find(uv_run[0], "pip")[0] == "of uv's commands only `uv run` is known here"
    environ["PATH"] = str(tmp_path)
    script("python3", "#!/bin/sh\n")
    assert find("python") == (
        "python: command not found",
        "name the command that you run: highlight-run --check python3 ...",
    )


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ("app.py -E", ""),
        ("-Es app.py", "-E -s"),
        ("-m app -E", ""),
        ("-Im app", "-I"),
        ("-c -E", ""),
        ("-W error -Xdev -E -", "-Werror -Xdev -E"),
        ("-iV -x -OO -B", "-O -O -B"),
        ("--check-hash-based-pycs never -S", "--check-hash-based-pycs never -S"),
        ("-E -- -S", "-E"),
        ("-W", "-W"),
    ],
)
def test_pythons_own_options(arguments, kept):
    assert check_command.options(arguments.split()) == kept.split()
