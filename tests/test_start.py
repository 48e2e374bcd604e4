"""Starting costs next to nothing, patches what is imported and nothing else, and never stops the program."""

from __future__ import annotations

import json

import pytest

from tests.support.services import wait_until

# What Python itself loads varies; what the agent adds to it must be its own smallest modules.
OWN = {
    "highlight_autoinstrument",
    "highlight_autoinstrument.bootstrap",
    "highlight_autoinstrument.config",
    "highlight_autoinstrument.ecosystem",
    "highlight_autoinstrument.guard",
    "highlight_autoinstrument.imports",
    "highlight_autoinstrument.lifecycle",
    "highlight_autoinstrument.loading",
    "__future__",
    "atexit",  # built in
}
MODULES = "import sys, json; print(json.dumps(sorted(sys.modules)))"


def modules(run_python, code=MODULES, **options):
    done = run_python(code, measured=False, **options)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_an_empty_program_loads_only_the_agents_smallest_modules(run_python):
    bare = modules(run_python, under_agent=False)
    under_agent = modules(run_python)

    assert under_agent - bare - {"sitecustomize"} == OWN


def test_starting_opens_no_socket_and_starts_no_thread(run_python):
    code = "import os, json; print(json.dumps([len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task'))]))"

    assert run_python(code).stdout == run_python(code, under_agent=False).stdout


def test_a_library_that_is_not_imported_is_not_loaded(run_python):
    loaded = modules(run_python, "import flask\n" + MODULES)

    assert not {"requests", "httpx", "django", "grpc", "opentelemetry.sdk"} & loaded


def test_importing_a_framework_loads_neither_opentelemetry_nor_the_exporter(run_python):
    loaded = modules(run_python, "import flask, logging, http.client, threading\n" + MODULES)

    assert not {name for name in loaded if name.startswith("opentelemetry")}
    assert "highlight_autoinstrument.pipeline" not in loaded
    assert "wrapt" not in loaded


def test_disabled_nothing_is_patched(run_python):
    code = "import sys, logging; print(logging.Logger.filter.__module__, type(sys.meta_path[0]))"

    assert run_python(code, env={"HIGHLIGHT_ENABLED": "false"}).stdout == run_python(code, under_agent=False).stdout


def test_a_disabled_integration_is_not_patched(run_python):
    code = "import logging; print(hasattr(logging.Logger.filter, '__highlight__'))"

    assert run_python(code).stdout == "True\n"
    assert run_python(code, env={"HIGHLIGHT_DISABLED_INTEGRATIONS": "logging"}).stdout == "False\n"


def test_an_integration_that_does_not_exist_is_said_in_one_line_and_the_others_are_left_out(run_python, tmp_path):
    # Of OpenTelemetry's packages those that are installed may be named as well.
    package = tmp_path / "site-packages" / "opentelemetry_instrumentation_sqlalchemy-1.dist-info"
    package.mkdir(parents=True)
    child = "import logging; print(hasattr(logging.Logger.filter, '__highlight__'), flush=True)"
    code = f"{child}; import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    names = "logging,flsk, Kafka-Python,sqlalchemy,http,"
    env = {"PYTHONPATH": str(package.parent), "HIGHLIGHT_DISABLED_INTEGRATIONS": names + "x" * 1000}
    done = run_python(code, env=env)

    assert done.stdout == "False\nFalse\n"
    variable = "highlight: HIGHLIGHT_DISABLED_INTEGRATIONS: there is no integration"
    assert done.stderr.splitlines() == [
        f"{variable} 'flsk', so none is left out for it; did you mean 'flask'?",
        f"{variable} 'kafka_python', so none is left out for it; did you mean 'kafka'?",
        f"{variable} {'x' * 100!r}, so none is left out for it; the README has a table of the names",
    ]


def test_names_for_opentelemetrys_own_variable_are_not_judged(run_python):
    done = run_python("import difflib", env={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flsk"})

    assert done.stderr == ""


def test_a_module_keeps_its_loader(run_python):
    code = "import flask; l = flask.__loader__; print(type(l), vars(l).keys(), flask.__spec__.loader is l)"

    assert run_python(code).stdout == run_python(code, under_agent=False).stdout


def test_a_reloaded_module_is_patched_again(run_python):
    code = (
        "import importlib, http.client; importlib.reload(http.client); importlib.reload(http.client);"
        "print(http.client.HTTPConnection.endheaders.__highlight__.__name__)"
    )

    assert run_python(code).stdout == "endheaders\n"


def test_a_module_that_fails_to_import_fails_as_ever(run_python, tmp_path):
    (tmp_path / "flask.py").write_text("raise ImportError('mine')")
    done = run_python(["-c", "try:\n import flask\nexcept ImportError as e: print(e, e.__traceback__.tb_next is None)"])

    assert done.stdout == "mine False\n"
    assert done.stderr == ""


def test_an_integration_that_fails_leaves_the_library_importable_and_the_others_patched(run_python, tmp_path):
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "__init__.py").write_text("")
    (tmp_path / "requests" / "sessions.py").write_text("")  # another library of that name: no Session
    code = (
        "import requests.sessions, http.client; print(hasattr(http.client.HTTPConnection.endheaders, '__highlight__'))"
    )
    done = run_python(["-c", code], env={"HIGHLIGHT_RAISE_ERRORS": "false"})

    assert done.stdout == "True\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("highlight: requests.sessions is off: AttributeError: ")


def test_without_a_project_id_one_line_says_so_and_children_do_not_repeat_it(run_python):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1)'])"
    done = run_python(code, endpoint=None)

    assert (done.stdout, done.returncode) == ("1\n", 0)
    (line,) = done.stderr.splitlines()
    assert line.startswith("highlight: HIGHLIGHT_PROJECT_ID is not set")


def test_a_malformed_project_id_is_said_in_one_line(run_python):
    done = run_python("pass", env={"HIGHLIGHT_PROJECT_ID": "my-project"})

    (line,) = done.stderr.splitlines()
    assert "'my-project' is neither an integer nor a hashid" in line


def test_debug_tells_the_settings_and_what_was_patched_but_no_secrets(run_python):
    done = run_python(
        "import logging, http.client",
        env={
            "HIGHLIGHT_DEBUG": "true",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20tellnobody",
            "HIGHLIGHT_OTLP_ENDPOINT": "http://user:tellnobody@127.0.0.1:1/?key=tellnobody",
            "HIGHLIGHT_DISABLED_INTEGRATIONS": "flask",
        },
    )

    lines = done.stderr.splitlines()
    assert all(line.startswith("highlight: ") for line in lines)
    assert "highlight: setting project_id = '1' (from HIGHLIGHT_PROJECT_ID)" in lines
    assert "highlight: setting log_level = 20 (from default)" in lines
    assert "highlight: setting endpoint = 'http://127.0.0.1:1/' (from HIGHLIGHT_OTLP_ENDPOINT)" in lines
    assert "highlight: setting headers = {'authorization': '***'} (from OTEL_EXPORTER_OTLP_HEADERS)" in lines
    assert "highlight: flask: not patched, it is in HIGHLIGHT_DISABLED_INTEGRATIONS" in lines
    assert "highlight: http.client.HTTPConnection.endheaders: patched" in lines
    assert "tellnobody" not in done.stderr


DEBUGGED = """
import os
from wsgiref.simple_server import make_server

def app(environ, start_response):
    start_response("200 OK", [])
    return []

make_server("127.0.0.1", int(os.environ["PORT"]), app).serve_forever()
"""


def test_debug_tells_of_each_request_in_one_line_where_its_ids_came_from(run_service):
    service = run_service("python app.py", files={"app.py": DEBUGGED}, env={"HIGHLIGHT_DEBUG": "true"})
    service.expect("")
    service.get("/first", {"x-highlight-request": "null", "cookie": "theme=dark; sessionSecureID=s1"})
    service.get("/second", {"x-highlight-request": "s2/r2", "cookie": "sessionSecureID=s1"})
    service.get("/third%0Ahighlight:%20forged%1b[31m")

    def come():
        return [line for line in service.agent_lines if "traceparent" in line]

    wait_until(lambda: len(come()) == 3)
    assert come() == [
        "highlight: GET /first: session s1 request - from cookie; no traceparent",
        "highlight: GET /second: session s2 request r2 from x-highlight-request; no traceparent",
        "highlight: GET /third\\nhighlight: forged\\x1b[31m: no session came in; no traceparent",
    ]
    assert "theme" not in service.stderr


@pytest.mark.parametrize("closed", ["sys.stderr = None", "os.close(2)", "sys.stderr.close()"])
def test_a_line_that_cannot_be_written_does_no_harm(run_python, closed):
    code = f"import os, sys; {closed}; import highlight_autoinstrument.guard as g; g.say('line'); os.write(1, b'alive')"

    assert run_python(code).stdout == "alive"


def test_the_exit_status_is_the_programs_although_stderr_is_full(run_python):
    with open("/dev/full", "w") as full:
        import subprocess

        from tests.support.services import LAUNCHER, agent_environment

        environment = agent_environment(None)
        environment.pop("PYTHONUNBUFFERED", None)
        import sys

        done = subprocess.run([LAUNCHER, sys.executable, "-c", "pass"], env=environment, stderr=full, check=False)

    assert done.returncode == 0
