"""The arrows between the parts: who may import whom."""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "highlight_autoinstrument"
FILES = {file.relative_to(PACKAGE).with_suffix("").as_posix(): file for file in PACKAGE.rglob("*.py")}
INTEGRATIONS = [name for name in FILES if name.startswith("integrations/") and not name.endswith("__init__")]

# Loaded whenever Python starts, or when a library is imported: before OpenTelemetry is, if it ever is.
AT_START = ["__init__", "bootstrap", "config", "ecosystem", "guard", "imports", "lifecycle", "loading"]
AT_START += ["active", "later"]
PROTOCOLS = ["wsgi", "asgi", "serving", "messaging", "outside", "loops"]
PROTOCOLS += ["aws", "aws_events", "aws_lambda", "azure_functions", "grpc_client", "grpc_server", "httpx_client"]
PROTOCOLS += ["processes", "urllib3_client"]
BEFORE_OPENTELEMETRY = [*AT_START, "patching", *PROTOCOLS, *INTEGRATIONS]
FOR_INTEGRATIONS = {"active", "config", "ecosystem", "guard", "imports", "later", "lifecycle", "patching", *PROTOCOLS}


class Imports(ast.NodeVisitor):
    """What a file imports when it is loaded (`eager`), and later inside its functions as well (`all`)."""

    def __init__(self, name: str) -> None:
        self.package = ["highlight_autoinstrument", *name.split("/")[:-1]]
        self.eager: set[str] = set()
        self.all: set[str] = set()
        self._depth = 0
        self.visit(ast.parse(FILES[name].read_text()))

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.package[: len(self.package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = module.removeprefix("highlight_autoinstrument").lstrip(".").replace(".", "/")
            as_module = f"{inner}/{alias.name}".lstrip("/")
            self._add(f"{module}.{alias.name}" if as_module in FILES else module)

    def _add(self, name: str) -> None:
        self.all.add(name)
        if not self._depth:
            self.eager.add(name)


IMPORTS = {name: Imports(name) for name in FILES}


def parts(names: set[str]) -> set[str]:
    """Of some imported names, those of our own parts."""
    prefix = "highlight_autoinstrument."
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


@pytest.mark.parametrize("name", AT_START)
def test_what_is_loaded_at_start_loads_only_os_and_sys(name):
    eager = {module for module in IMPORTS[name].eager if not module.startswith("highlight_autoinstrument")}

    assert eager <= {"__future__", "_thread", "atexit", "os", "sys"}
    assert parts(IMPORTS[name].eager) <= set(AT_START)


@pytest.mark.parametrize("name", BEFORE_OPENTELEMETRY)
def test_what_is_loaded_with_a_library_does_not_load_opentelemetry(name):
    assert not {module for module in IMPORTS[name].eager if module.startswith("opentelemetry")}
    assert parts(IMPORTS[name].eager) <= {item.replace("/", ".") for item in BEFORE_OPENTELEMETRY}


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_integration_stands_on_the_core_and_on_no_other(name):
    assert parts(IMPORTS[name].eager) <= FOR_INTEGRATIONS
    libraries = {module.split(".")[0] for module in IMPORTS[name].eager} - {"highlight_autoinstrument"}
    assert libraries <= sys.stdlib_module_names, "the library is given to patch(), never imported"


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_integration_is_named_as_the_package_that_wakes_it(name):
    tree = ast.parse(FILES[name].read_text())
    modules = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "MODULES"
    )

    assert isinstance(modules, tuple)
    assert {module.split(".")[0] for module in modules} == {name.split("/")[1]}
    assert any(isinstance(node, ast.FunctionDef) and node.name == "patch" for node in tree.body)


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_the_guard_is_the_drivers(name):
    """An integration that catches all but the application's own failures hides what the guard has to say."""
    source = FILES[name].read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            names = ast.unparse(node.type) if node.type else "everything"
            reraises = any(isinstance(child, ast.Raise) for child in ast.walk(node))
            the_applications = source.splitlines()[node.lineno - 1].endswith("- the application's")
            catches_all = names in ("Exception", "BaseException", "everything")
            assert not catches_all or reraises or the_applications, ast.unparse(node)


def test_one_file_imports_wrapt_and_one_the_sdk():
    importers = {
        library: {name for name in FILES if any(f"{module}.".startswith(f"{library}.") for module in IMPORTS[name].all)}
        for library in ("wrapt", "opentelemetry.sdk")
    }

    assert importers == {"wrapt": {"patching"}, "opentelemetry.sdk": {"otel"}}


def test_only_the_settings_know_environment_variables():
    readers = {
        name for name, file in FILES.items() if "environ" in file.read_text() and "os.environ" in file.read_text()
    }

    # cli sets them for its child, and distro for OpenTelemetry; bootstrap remembers what was said; transport hands
    # proxies to the standard library; check_probe is run where the agent may not be. The server on one's own machine is
    # no part of the agent: it has a folder to find.
    assert readers <= {"config", "cli", "bootstrap", "transport", "distro", "check_probe", "local/machine"}


def test_the_agent_knows_nothing_of_the_server_on_ones_own_machine():
    """Nor the other way about, but for the version: each can be changed, and left out, without the other."""
    for name in FILES:
        known = {part for part in parts(IMPORTS[name].all) if part.split(".")[0] == "local"}
        if name.startswith("local/"):
            assert known == parts(IMPORTS[name].all), name
        else:
            assert not known, name


def test_only_the_launcher_loads_what_is_its_own():
    """However a program has come to have the agent: what runs commands is no part of it."""
    own = {"child", "run_local", "run_local_errors", "run_local_server"}
    importers = {name for name in FILES if parts(IMPORTS[name].all) & own}

    assert importers <= {"cli", *own}


def test_one_file_of_the_server_imports_the_protocol_and_few_its_libraries():
    """The command says what is missing, so that it has to start without them."""
    libraries = ("google", "opentelemetry", "starlette", "uvicorn")
    importers = {
        library: {name for name in FILES if name.startswith("local/") and library in _roots(IMPORTS[name].eager)}
        for library in libraries
    }

    assert importers == {
        "google": {"local/otlp"},
        "opentelemetry": {"local/otlp"},
        "starlette": {"local/api", "local/application", "local/bodies", "local/pages", "local/protection"},
        "uvicorn": {"local/server"},
    }
    assert _roots(IMPORTS["local/command"].eager) <= sys.stdlib_module_names


def _roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("name", FILES)
def test_each_file_begins_with_one_sentence(name):
    first = (ast.get_docstring(ast.parse(FILES[name].read_text())) or "").split("\n\n")[0]

    assert first, "say what the file is"
    assert first.endswith(".")


def test_an_integration_is_small():
    assert statistics.median(len(FILES[name].read_text().splitlines()) for name in INTEGRATIONS) < 60
