"""highlight-run: the command line, what it leaves as it was, and the programs that it reaches."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import uv

from highlight_autoinstrument import __version__, cli, config

LAUNCHER = Path(sysconfig.get_path("scripts"), "highlight-run")
TEMPLATE = cli.template_folder()
STARTED = "import sys; print('highlight_autoinstrument.bootstrap' in sys.modules)"


@pytest.fixture
def environ():
    """What the program under test sees: nothing of ours or Python's, and a receiver that nobody listens on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HIGHLIGHT", "OTEL", "PYTHON"))}
    return kept | {"HIGHLIGHT_PROJECT_ID": "1", "HIGHLIGHT_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture
def run(environ, tmp_path):
    def run(*command, **options):
        options = {"env": environ, "cwd": tmp_path, "input": "", "timeout": 60} | options
        return subprocess.run([LAUNCHER, *command], capture_output=True, text=True, check=False, **options)

    return run


@pytest.fixture
def script(tmp_path):
    def script(name, text, mode=0o755):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return script


# The command line


@pytest.mark.parametrize(("option", "value_name", "variable"), [option[:3] for option in cli.OPTIONS if option[1]])
def test_an_option_sets_its_variable_however_it_is_written(option, value_name, variable):
    assert cli.parse([option, "a b", "python"]) == ({variable: "a b"}, ["python"], set())
    assert cli.parse([f"{option}=a=b", "python"]) == ({variable: "a=b"}, ["python"], set())
    assert cli.parse([f"{option}=", "python"]) == ({variable: ""}, ["python"], set())


def test_each_option_is_a_setting():
    variables = {setting.variables[0] for setting in config.SETTINGS}
    assert {variable for _, _, variable, _ in cli.OPTIONS} <= variables


def test_options_end_where_the_command_begins():
    assert cli.parse(["--debug", "python", "--debug", "--", "-x"]) == (
        {"HIGHLIGHT_DEBUG": "true"},
        ["python", "--debug", "--", "-x"],
        set(),
    )
    assert cli.parse(["--", "--help", "--"]) == ({}, ["--help", "--"], set())


def test_options_reach_the_program_and_override_the_environment(run, environ):
    environ["HIGHLIGHT_SERVICE_NAME"] = "old"
    done = run("--service-name", "new", "--debug", "sh", "-c", "echo $HIGHLIGHT_SERVICE_NAME $HIGHLIGHT_DEBUG")
    assert (done.stdout, done.stderr, done.returncode) == ("new true\n", "", 0)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_help_lists_each_option_beside_its_variable(run, flag):
    done = run(flag)
    assert (done.stderr, done.returncode) == ("", 0)
    for option, _, variable, _ in cli.OPTIONS:
        assert [line for line in done.stdout.splitlines() if option in line.split() and variable in line.split()]
    assert all(len(line) <= 120 for line in done.stdout.splitlines())


def test_the_version_is_said(run):
    done = run("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"highlight-run {__version__}\n", "", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope", "python"], "unknown option --nope"),
        (["--nope=1", "python"], "unknown option --nope=1"),
        (["-m", "app"], "highlight-run python -m"),
        (["-"], "unknown option -"),
        (["--project-id"], "--project-id needs a value"),
        (["--project-id", "--debug", "python"], "--project-id needs a value"),
        (["--debug=yes", "python"], "--debug takes no value"),
        (["--json", "python"], "--json goes with --check"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(run, arguments, said):
    done = run(*arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--"], ["--debug"]])
def test_no_command_is_usage_and_status_2(run, arguments):
    done = run(*arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("usage: highlight-run")


# Commands that do not start


@pytest.mark.parametrize("name", ["no-such-command", "./no-such-command", "/no/such/command", "setup.cfg/x", ""])
def test_a_missing_command_is_one_line_and_status_127(run, name):
    done = run(name)
    assert (done.stdout, done.returncode) == ("", 127)
    assert done.stderr == f"highlight-run: {name}: command not found\n"


def test_a_script_that_is_not_on_path_is_suggested_for_python(run, script):
    script("app.py", "print('hello')", 0o644)
    done = run("app.py")
    assert (done.stdout, done.returncode) == ("", 127)
    assert done.stderr == "highlight-run: app.py: command not found; try: highlight-run python app.py\n"


@pytest.mark.parametrize("on_path", [False, True])
def test_a_script_that_is_not_executable_is_suggested_for_python(run, script, environ, tmp_path, on_path):
    script("app.py", "print('hello')", 0o644)
    environ["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    name = "app.py" if on_path else "./app.py"
    done = run(name)
    assert (done.stdout, done.returncode) == ("", 126)
    assert done.stderr == f"highlight-run: {name}: not executable; try: highlight-run python {name}\n"


def test_other_files_that_are_not_executable_are_one_line_and_status_126(run, script, tmp_path):
    script("tool", "#!/bin/sh\n", 0o644)
    assert run("./tool").stderr == "highlight-run: ./tool: not executable\n"
    assert run("./tool").returncode == 126
    assert run(tmp_path).stderr == f"highlight-run: {tmp_path}: is a directory\n"
    assert run(tmp_path).returncode == 126


def test_a_script_whose_interpreter_is_missing_is_one_line_and_status_127(run, script):
    script("tool", "#!/no/such/python\n")
    done = run("./tool")
    assert (done.stdout, done.returncode) == ("", 127)
    assert done.stderr == "highlight-run: ./tool: the interpreter that its first line names is missing\n"


def test_an_executable_file_of_no_known_format_is_status_126(run, script):
    script("app.py", "print('hello')")
    done = run("./app.py")
    assert (done.stdout, done.returncode) == ("", 126)
    assert done.stderr == "highlight-run: ./app.py: Exec format error; try: highlight-run python ./app.py\n"


def test_a_script_without_a_first_line_is_run_by_the_shell_as_env_and_nohup_do(run, script, environ, tmp_path):
    script("start", 'echo "started with $1"; exit 3')
    done = run("./start", "a b")
    assert (done.stdout, done.stderr, done.returncode) == ("started with a b\n", "", 3)
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    assert run("start", "c").stdout == "started with c\n"


def test_a_folder_on_path_with_the_commands_name_is_not_the_command(run, environ, tmp_path):
    (tmp_path / "tool").mkdir()
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    done = run("tool")
    assert (done.stdout, done.stderr, done.returncode) == ("", "highlight-run: tool: command not found\n", 127)


@pytest.mark.parametrize("place", ["absolute", "relative", "path"])
def test_the_command_is_found_where_a_shell_finds_it(run, script, environ, tmp_path, place):
    path = script("tool", "#!/bin/sh\necho found")
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    assert run({"absolute": path, "relative": "./tool", "path": "tool"}[place]).stdout == "found\n"


def test_without_path_the_system_default_is_searched(run, environ):
    del environ["PATH"]
    assert run("echo", "found").stdout == "found\n"


# What stays as it was


def test_the_program_has_the_launchers_pid_streams_and_exit_code(environ, tmp_path):
    program = "import os, sys; print(os.getpid(), sys.stdin.read()); print('e', file=sys.stderr); sys.exit(41)"
    process = subprocess.Popen(
        [LAUNCHER, sys.executable, "-c", program],
        env=environ,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate("what was piped", timeout=60)
    assert (out, err, process.returncode) == (f"{process.pid} what was piped\n", "e\n", 41)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signals_reach_the_program_itself(environ, tmp_path, number):
    process = subprocess.Popen(
        [LAUNCHER, "sh", "-c", "echo ready; exec sleep 60"], env=environ, cwd=tmp_path, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(60) == -number


def test_a_pipeline_ends_as_it_does_without_the_launcher(environ, tmp_path):
    # Python ignores SIGPIPE, and what it ignores stays ignored across exec.
    command = f"'{LAUNCHER}' sh -c 'yes; echo $? >&2' | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("y\n", "141\n")


def test_the_launcher_works_with_closed_streams(environ, tmp_path):
    command = f"'{LAUNCHER}' no-such-command 2>&-; echo $?; '{LAUNCHER}' sh -c 'exit 5' <&- >&- 2>&-; echo $?"
    done = subprocess.run(
        ["sh", "-c", command], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("127\n5\n", "")


# PYTHONPATH


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "OURS"),
        ("", "OURS"),
        ("/a", "OURS:/a"),
        ("/a:b:/c d", "OURS:/a:b:/c d"),
        ("OURS", "OURS"),
        ("OURS:/a", "OURS:/a"),
        ("/a:OURS:/b", "OURS:/a:/b"),
        (":/a", "OURS:.:/a"),  # an empty entry is the current directory
        ("/a:", "OURS:/a:."),
        (":", "OURS:.:."),
    ],
)
def test_our_folder_is_first_once_and_the_users_entries_stay(before, after):
    environ = {} if before is None else {"PYTHONPATH": before.replace("OURS", TEMPLATE)}
    cli.add_to_path(environ, TEMPLATE)
    assert environ == {"PYTHONPATH": after.replace("OURS", TEMPLATE)}


def test_a_launcher_under_a_launcher_adds_nothing(run):
    done = run(LAUNCHER, LAUNCHER, "sh", "-c", "echo $PYTHONPATH")
    assert done.stdout == f"{TEMPLATE}\n"


@pytest.fixture
def copy_of_the_package(tmp_path):
    """The launcher as it would be in another place, to break it there."""

    def copy(folder):
        package = tmp_path / folder / "highlight_autoinstrument"
        shutil.copytree(Path(cli.__file__).parent, package)
        shutil.copytree(TEMPLATE, package.parent / "sitecustomize_template")
        return package.parent

    return copy


def run_copy(folder, environ, *command, stderr=None):
    options = {"env": environ, "cwd": folder, "text": True, "timeout": 60, "stdout": subprocess.PIPE}
    arguments = [sys.executable, "-m", "highlight_autoinstrument", *command]
    if stderr is None:
        return subprocess.run(arguments, check=False, stderr=subprocess.PIPE, **options)
    with open(stderr, "w") as file:
        return subprocess.run(arguments, check=False, stderr=file, **options)


def test_the_launcher_works_from_a_folder_with_spaces_and_other_letters(copy_of_the_package, environ):
    folder = copy_of_the_package("ein Ordner für Ümläute 日本")
    done = run_copy(folder, environ, sys.executable, "-c", STARTED + "; print(sys.modules['sitecustomize'].__file__)")
    ours = folder / "sitecustomize_template" / "sitecustomize.py"
    assert (done.stdout, done.stderr, done.returncode) == (f"True\n{ours}\n", "", 0)


def test_without_the_agents_folder_the_command_runs_all_the_same(copy_of_the_package, environ):
    folder = copy_of_the_package("broken")
    shutil.rmtree(folder / "sitecustomize_template")
    done = run_copy(folder, environ, "sh", "-c", "echo ${PYTHONPATH-unset}; exit 7")
    assert (done.stdout, done.returncode) == ("unset\n", 7)
    assert done.stderr.startswith(f"highlight-run: the agent's folder {folder}/sitecustomize_template is missing")
    assert done.stderr.count("\n") == 1


def test_a_warning_that_cannot_be_written_stops_nothing(copy_of_the_package, environ):
    folder = copy_of_the_package("broken")
    shutil.rmtree(folder / "sitecustomize_template")
    done = run_copy(folder, environ, "sh", "-c", "exit 7", stderr="/dev/full")
    assert (done.stdout, done.returncode) == ("", 7)


def test_a_folder_that_pythonpath_cannot_hold_is_said_and_the_command_runs(copy_of_the_package, environ):
    folder = copy_of_the_package("a:b")
    done = run_copy(folder, environ, "sh", "-c", "echo ${PYTHONPATH-unset}; exit 7")
    assert (done.stdout, done.returncode) == ("unset\n", 7)
    assert "':' in its name" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_launcher_loads_next_to_nothing():
    program = (
        "import sys; before = set(sys.modules); import highlight_autoinstrument.cli; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) <= {"__future__", "highlight_autoinstrument", "highlight_autoinstrument.cli"}


# Programs that it reaches


def test_python_with_a_file_a_module_a_text_and_standard_input(run, script):
    script("app.py", STARTED)
    for arguments in (["app.py"], ["-m", "app"], ["-c", STARTED]):
        done = run(sys.executable, *arguments)
        assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)
    assert run(sys.executable, input=STARTED).stdout == "True\n"


def test_a_console_script_and_a_script_with_a_first_line(run, script):
    script("tool", f"#!{sys.executable}\n{STARTED}\n")
    assert run("./tool").stdout == "True\n"
    script("conftest.py", STARTED)
    done = run(Path(sysconfig.get_path("scripts"), "pytest"), "-sq", "-p", "no:cacheprovider")
    assert "True\n" in done.stdout


def test_uv_run(run, environ):
    environ |= {"UV_OFFLINE": "1", "UV_PYTHON": sys.executable}
    done = run(uv.find_uv_bin(), "run", "--no-project", "python", "-c", STARTED)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_children_of_the_program(run, script):
    script("child.py", STARTED)
    script("app.py", "import subprocess, sys; sys.exit(subprocess.call([sys.executable, 'child.py']))")
    done = run(sys.executable, "app.py")
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing(run, script, method):
    script(
        "app.py",
        f"""
import multiprocessing, sys

def work():
    print("highlight_autoinstrument.bootstrap" in sys.modules, flush=True)
    sys.exit(9)

if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start()
    process.join()
    sys.exit(process.exitcode)
""",
    )
    done = run(sys.executable, "app.py")
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 9)


@pytest.mark.parametrize("flag", ["-E", "-I", "-S"])
def test_a_python_that_reads_no_environment_runs_as_it_always_did(run, flag):
    done = run(sys.executable, flag, "-c", STARTED)
    assert (done.stdout, done.stderr, done.returncode) == ("False\n", "", 0)


@pytest.mark.parametrize("flags", [["-W", "error"], ["-X", "dev", "-W", "error"], ["-bb"], ["-OO"], ["-B"], ["-s"]])
def test_the_start_warns_of_nothing(run, flags):
    done = run(sys.executable, *flags, "-c", STARTED)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_the_programs_own_folder_stays_first_on_its_path(run, script, environ):
    environ["PYTHONPATH"] = "/elsewhere"
    script("app.py", "import sys; print(*sys.path[:3], sep='\\n')")
    folder, *others = run(sys.executable, "app.py").stdout.splitlines()
    assert others == [TEMPLATE, "/elsewhere"]
    assert not folder.startswith(TEMPLATE)


def test_a_program_without_its_folder_on_the_path(run, script, environ):
    environ["PYTHONSAFEPATH"] = "1"  # since Python 3.11
    script("app.py", STARTED)
    assert run(sys.executable, "app.py").stdout == "True\n"


# Windows, where a child takes the place of exec


def run_as_child(environ, *command):
    program = f"import sys; from highlight_autoinstrument.cli import run_child; sys.exit(run_child({list(command)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_child_has_the_streams_and_gives_its_status(environ):
    process = run_as_child(environ, sys.executable, "-c", "import sys; print(sys.stdin.read()); sys.exit(41)")
    out, err = process.communicate("what was piped", timeout=60)
    assert (out, err, process.returncode) == ("what was piped\n", "", 41)


def test_a_child_decides_how_ctrl_c_ends(environ):
    program = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("cleaned up", flush=True)
    raise SystemExit(7)
"""
    with run_as_child(environ, sys.executable, "-c", program) as process:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # a console sends Ctrl-C to all that run in it
        out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("cleaned up\n", "", 7)


def test_a_child_that_does_not_start_has_the_shells_status(environ, script):
    process = run_as_child(environ, "no-such-command")
    assert process.communicate(timeout=60) == ("", "highlight-run: no-such-command: command not found\n")
    assert process.returncode == 127
    process = run_as_child(environ, str(script("app.py", "", 0o644)))
    assert "not executable; try: highlight-run python" in process.communicate(timeout=60)[1]
    assert process.returncode == 126


def test_a_status_of_windows_keeps_its_bits():
    assert [cli.signed(status) for status in (0, 1, 255, 0xC000013A)] == [0, 1, 255, 0xC000013A - 2**32]
