"""The drop-in: what it shadows runs first, the agent starts once, and nothing of it stops the program."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import highlight_autoinstrument

ROOT = Path(highlight_autoinstrument.__file__).parent.parent
TEMPLATE = ROOT / "sitecustomize_template"
STARTED = "import sys; print('highlight_autoinstrument.bootstrap' in sys.modules)"


@pytest.fixture
def environ():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HIGHLIGHT", "OTEL", "PYTHON"))}
    return kept | {"HIGHLIGHT_PROJECT_ID": "1", "HIGHLIGHT_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture
def python(environ, tmp_path):
    """Run a program with these folders on PYTHONPATH."""

    def python(program, *path, executable=sys.executable, flags=(), **variables):
        return subprocess.run(
            [executable, *flags, "-c", program],
            env=environ | {"PYTHONPATH": os.pathsep.join(map(str, path))} | variables,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return python


@pytest.fixture
def folder(tmp_path):
    """Make a folder with one file in it."""

    def folder(name, text, file="sitecustomize.py"):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
        return tmp_path / name

    return folder


@pytest.fixture
def agent(folder):
    """Make a folder with an agent that starts as told, in place of the real one."""

    def agent(bootstrap):
        path = folder("agent", bootstrap, "highlight_autoinstrument/bootstrap.py")
        (path / "highlight_autoinstrument" / "__init__.py").touch()
        return path

    return agent


@pytest.fixture
def copy(tmp_path):
    """Make another copy of the drop-in, as `COPY sitecustomize.py` in an image does."""

    def copy(name):
        (tmp_path / name).mkdir()
        shutil.copy(TEMPLATE / "sitecustomize.py", tmp_path / name)
        return tmp_path / name

    return copy


# What it shadows


def test_the_shadowed_sitecustomize_runs_first_and_is_left_in_its_place(python, folder):
    theirs = folder("theirs", "import sys, sitecustomize as me; AGENT = 'highlight_autoinstrument' in sys.modules")
    program = f"{STARTED}; import sitecustomize as s; print(s.AGENT, s.me is s, s.__file__, s.__spec__.name)"
    done = python(program, TEMPLATE, theirs)
    assert done.stdout == f"True\nFalse True {theirs / 'sitecustomize.py'} sitecustomize\n"
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_package_as_sitecustomize_runs_too(python, folder):
    theirs = folder("theirs", "from .part import X", "sitecustomize/__init__.py")
    (theirs / "sitecustomize" / "part.py").write_text("X = 5")
    done = python(f"{STARTED}; import sitecustomize; print(sitecustomize.X)", TEMPLATE, theirs)
    assert (done.stdout, done.stderr) == ("True\n5\n", "")


def test_one_in_site_packages_runs_too(python, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "sitecustomize.py").write_text("print('theirs')")
    done = python(STARTED, TEMPLATE, ROOT, executable=tmp_path / "venv" / "bin" / "python")
    assert (done.stdout, done.stderr) == ("theirs\nTrue\n", "")


def test_a_folder_of_that_name_is_no_sitecustomize(python, folder):
    theirs = folder("theirs", "", "sitecustomize/notes.txt")
    done = python(f"{STARTED}; import sitecustomize; print(sitecustomize.__file__)", TEMPLATE, theirs)
    assert (done.stdout, done.stderr) == (f"True\n{TEMPLATE / 'sitecustomize.py'}\n", "")


@pytest.mark.parametrize("error", ["ValueError('a bug')", "ImportError('x', name='sitecustomize')", "SystemExit(5)"])
def test_its_exception_leaves_as_it_would_have(python, folder, error):
    theirs = folder("theirs", f"raise {error}")
    bare = python("print('went on')", theirs)
    done = python("print('went on')", TEMPLATE, theirs)
    assert (done.stdout, done.returncode) == (bare.stdout, bare.returncode)
    assert done.stderr.splitlines()[-1:] == bare.stderr.splitlines()[-1:]
    if bare.returncode == 0:
        assert python(STARTED, TEMPLATE, theirs).stdout == "True\n"


def test_usercustomize_still_runs(python, folder, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=True)  # others have no user's site-packages
    theirs = folder("theirs", "print('the user')", "usercustomize.py")
    done = python(STARTED, TEMPLATE, ROOT, theirs, executable=tmp_path / "venv" / "bin" / "python")
    assert (done.stdout, done.stderr) == ("the user\nTrue\n", "")


def test_pth_files_still_run(python, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "tool.pth").write_text("import sys; print('before', 'sitecustomize' in sys.modules)\n")
    program, executable = STARTED, tmp_path / "venv" / "bin" / "python"
    bare = python(program, ROOT, executable=executable)
    done = python(program, TEMPLATE, ROOT, executable=executable)
    assert "before False\n" in bare.stdout
    assert (done.stdout, done.stderr) == (bare.stdout.removesuffix("False\n") + "True\n", "")


# Several copies


@pytest.mark.parametrize("order", ["A", "AB", "BA", "ABA", "AUB", "ABU", "UAB", "AULB", "ALAU", "ATBU", "BTAU"])
def test_several_copies_start_the_agent_once_and_reach_the_shadowed_one(python, agent, folder, copy, tmp_path, order):
    places = {"A": copy("a"), "B": copy("b"), "U": folder("u", "print('theirs')")}
    places |= {"L": tmp_path / "link", "T": f"{tmp_path}/a/"}
    places["L"].symlink_to(places["A"])
    done = python("", *(places[letter] for letter in order), agent("def start(): print('started')"))
    started = [] if order.startswith("U") else ["started"]
    assert done.stdout.split() == ["theirs"] * order.count("U") + started
    assert done.stderr == ""


def test_an_entry_that_python_has_not_tidied_is_no_other_copy(python, copy, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    ours = copy("ours")
    (packages / "tool.pth").write_text(f"import sys; sys.path.append('{ours}/')\n")
    done = python(STARTED, ours, ROOT, executable=tmp_path / "venv" / "bin" / "python")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_copy_that_another_agent_runs_does_not_run_that_agent_again(python, folder):
    other = folder(
        "other",
        f"""
import importlib.util, sys
print("other")
spec = importlib.util.spec_from_file_location("sitecustomize", {str(TEMPLATE / "sitecustomize.py")!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
""",
    )
    for path in ([other, TEMPLATE], [other]):
        done = python(STARTED, *path)
        assert (done.stdout, done.stderr) == ("other\nTrue\n", "")


# Where the agent cannot start


@pytest.fixture
def bare_python(tmp_path):
    """A Python of another environment, without the agent."""
    venv.create(tmp_path / "other", with_pip=False)
    return tmp_path / "other" / "bin" / "python"


COMES_BACK = """
import os, sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

print("theirs")
folder = os.path.dirname(__file__)
spec = PathFinder.find_spec("sitecustomize", [entry for entry in sys.path if entry != folder])
spec.loader.exec_module(module_from_spec(spec))
"""


def test_another_agent_that_searches_all_of_the_path_is_not_run_again(python, folder):
    theirs, users = folder("theirs", COMES_BACK), folder("users", "print('users')")
    done = python(STARTED, TEMPLATE, theirs, users)

    assert (done.returncode, done.stdout, done.stderr) == (0, "theirs\nusers\nTrue\n", "")


def test_another_environment_is_said_in_one_line_and_its_program_runs(python, bare_python):
    done = python("print('went on')", TEMPLATE, executable=bare_python)
    assert (done.stdout, done.returncode) == ("went on\n", 0)
    assert done.stderr == (
        f"highlight: the agent is not installed for {bare_python}, which runs without it; "
        f"install it there: {bare_python} -m pip install highlight-autoinstrument\n"
    )


def test_another_environment_is_said_once_for_all_its_processes(python, bare_python):
    program = "import subprocess, sys; [subprocess.call([sys.executable, '-c', 'print(1)']) for _ in range(3)]"
    done = python(program, TEMPLATE, executable=bare_python)
    assert (done.stdout, done.stderr.count("\n")) == ("1\n1\n1\n", 1)


def test_another_environment_is_not_said_where_the_agent_is_off(python, bare_python):
    done = python("print('went on')", TEMPLATE, executable=bare_python, HIGHLIGHT_ENABLED="False")
    assert (done.stdout, done.stderr) == ("went on\n", "")


@pytest.mark.parametrize(
    ("bootstrap", "said"),
    [
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def start(): raise BaseException", "BaseException"),
        ("start = None", "TypeError"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_a_failure_of_the_agent_is_one_line_and_the_program_runs(python, agent, bootstrap, said):
    broken = agent(bootstrap)
    done = python("print('went on')", TEMPLATE, broken)
    assert (done.stdout, done.returncode) == ("went on\n", 0)
    assert done.stderr.startswith(f"highlight: the agent is off: {said}")
    assert "pip install --force-reinstall highlight-autoinstrument" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_failure_of_the_agent_raises_where_tests_ask_for_it(python, agent):
    broken = agent("raise ValueError('a bug')")
    done = python("print('went on')", TEMPLATE, broken, HIGHLIGHT_RAISE_ERRORS="true")
    assert "Error in sitecustomize" in done.stderr
    assert "ValueError: a bug" in done.stderr


def test_ctrl_c_during_the_start_is_the_users(python, agent):
    broken = agent("raise KeyboardInterrupt")
    done = python("print('went on')", TEMPLATE, broken)
    assert "went on" not in done.stdout
    assert done.returncode != 0


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_a_stderr_that_takes_nothing_stops_nothing(environ, bare_python, stderr):
    environ["PYTHONPATH"] = str(TEMPLATE)
    command = f"'{bare_python}' -c 'print(\"went on\")' {stderr}"
    done = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("went on\n", "")


# Surroundings


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONWARNINGS": "error"},
        {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONPYCACHEPREFIX": "/dev/null/nowhere"},  # nothing can be written, as in a read-only image
        {"PYTHONDONTWRITEBYTECODE": "1"},
        {"PYTHONNOUSERSITE": "1"},
        {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_the_drop_in_starts_the_agent_without_a_word(python, copy, variables):
    done = python(STARTED, copy("mit Leerzeichen und Ümläuten"), **variables)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_a_relative_folder_and_a_current_directory_that_is_gone(environ, copy, tmp_path):
    copy("drop in")
    command = f"""
'{sys.executable}' -c "{STARTED}"
mkdir gone && cd gone && rmdir ../gone
PYTHONPATH='{tmp_path}/drop in' '{sys.executable}' -c "{STARTED}"
"""
    environ["PYTHONPATH"] = "drop in/"
    done = subprocess.run(
        ["sh", "-c", command], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


def test_an_agent_that_is_off_leaves_only_its_smallest_modules(python):
    program = "import sys; print(*sorted(sys.modules))"
    bare = python(program).stdout.split()
    off = python(program, TEMPLATE, HIGHLIGHT_ENABLED="false").stdout.split()
    added = {name.partition(".")[0] for name in set(off) - set(bare)}
    assert added <= {"__future__", "highlight_autoinstrument", "sitecustomize"}
