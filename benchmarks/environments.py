"""What the benchmarks compare: one row for each way to run the same unmodified programs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import environment  # noqa: E402

FOLDER = ROOT / ".venv-bench"
SETUPS = Path(__file__).resolve().parent / "setups"

# What the programs are made of: a folder each beside the environments, so that every agent gets the same versions, and
# finds no library that the program at hand does not use (some import whatever they find when they start). The folders
# come last on the path, by PATH_FILE: what pip has put into an environment stays what is used there.
LIBRARIES = {
    "flask": ("flask", "gunicorn", "requests"),
    "httpx": ("httpx",),
    "fastapi": ("fastapi", "uvicorn"),
    "fastapi-0.141": ("fastapi==0.141.1", "uvicorn"),  # the last that goes with OpenTelemetry 1.28
    "django": ("django",),
    "kafka": ("kafka-python",),
}
PATH_FILE = "import os, sys; sys.path += filter(None, os.environ.get('LIBRARIES', '').split(os.pathsep))\n"


class Environment(NamedTuple):
    """A virtual environment, and what stands before a command in it.

    In variables `{sink}` is the URL that takes all exports, `{host}` its host and port, `{grpc}` the same for gRPC.
    """

    name: str
    packages: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    setup: bool = False  # whether a folder of setups/ stands on the path: what its documentation says to add by hand
    instead: tuple[tuple[str, str], ...] = ()  # libraries that it needs in another version
    project: bool = False  # whether this project is installed in it
    here: bool = False  # in the environment of the Python that runs this, which has everything

    @property
    def bin(self) -> Path:
        return Path(sys.executable).parent if self.here else FOLDER / self.name / "bin"

    @property
    def python(self) -> str:
        return str(self.bin / "python")

    @property
    def grpc(self) -> bool:
        return any("{grpc}" in value for _, value in self.variables)

    def prepare(self) -> None:
        """Make the virtual environment, unless it is there as it should be."""
        if self.here:
            return
        wanted = json.dumps([self.packages, PATH_FILE])
        if self.project:
            wanted += (ROOT / "setup.cfg").read_text()
        if stale(FOLDER / self.name, wanted):
            environment.make(FOLDER / self.name, list(self.packages), project=self.project)
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            (FOLDER / self.name / "lib" / version / "site-packages" / "benchmarks.pth").write_text(PATH_FILE)
            made(FOLDER / self.name, wanted)

    def command(self, words: list[str]) -> list[str]:
        """A command as it is started here: by this environment's Python, behind the launcher."""
        found = [self.python if words[0] == "python" else words[0], *words[1:]]
        return [str(self.bin / self.launcher[0]), *self.launcher[1:], *found] if self.launcher else found

    def environ(self, libraries: tuple[str, ...], **places: str) -> dict[str, str]:
        """The environment variables, and none of this shell's that could change what Python does."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        own = {name: value.format(**places) for name, value in self.variables}
        own["LIBRARIES"] = os.pathsep.join(str(folder(library)) for library in self.own(libraries))
        if self.setup:
            own["PYTHONPATH"] = str(SETUPS / self.name.replace("-", "_"))
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}", **own}

    def own(self, libraries: tuple[str, ...]) -> list[str]:
        """The libraries as this environment has them."""
        return [] if self.here else [dict(self.instead).get(library, library) for library in libraries]

    def version(self) -> str:
        """The agent's version: that of the first package."""
        package = "highlight-autoinstrument" if self.project else next(iter(self.packages), "")
        if not package:
            return ""
        code = f"import importlib.metadata; print(importlib.metadata.version('{package.partition('==')[0]}'))"
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def folder(library: str) -> Path:
    return FOLDER / "libraries" / library / "site-packages"  # whose name tells agents that it is not the user's code


def prepare_libraries(names: set[str]) -> None:
    """Install what the programs import, each library in its folder."""
    for name in sorted(names):
        wanted = json.dumps(LIBRARIES[name])
        if stale(folder(name), wanted):
            print(f"installing {name} ...", flush=True)
            pip = [BARE.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
            done = subprocess.run([*pip, "--target", str(folder(name)), *LIBRARIES[name]], check=False)
            if done.returncode != 0:
                sys.exit(f"pip could not install {name}: see above; is there a network?")
            made(folder(name), wanted)


def stale(place: Path, wanted: str) -> bool:
    stamp = place / "benchmarks"
    return not stamp.exists() or stamp.read_text() != digest(wanted)


def made(place: Path, wanted: str) -> None:
    (place / "benchmarks").write_text(digest(wanted))


def digest(wanted: str) -> str:
    return hashlib.sha256((wanted + sys.version).encode()).hexdigest()


BARE = Environment("bare")
OURS = Environment(
    "highlight",
    launcher=("highlight-run",),
    variables=(("HIGHLIGHT_PROJECT_ID", "1"), ("HIGHLIGHT_OTLP_ENDPOINT", "{sink}")),
    project=True,
)

ENVIRONMENTS = (
    BARE,  # the first is what the others are compared with
    OURS,
    Environment(
        "opentelemetry",
        packages=(
            "opentelemetry-distro",
            "opentelemetry-exporter-otlp-proto-http",
            *(
                f"opentelemetry-instrumentation-{name}"
                for name in ("django", "fastapi", "flask", "httpx", "kafka-python", "logging", "requests", "threading")
            ),
        ),
        launcher=("opentelemetry-instrument",),
        variables=(
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "{sink}"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_LOGS_EXPORTER", "otlp"),  # the logging instrumentation's handler is on unless it is turned off
            ("OTEL_METRICS_EXPORTER", "none"),
        ),
    ),
    Environment(
        "ddtrace",
        packages=("ddtrace",),
        launcher=("ddtrace-run",),
        variables=(
            ("DD_SERVICE", "shop"),
            ("DD_TRACE_AGENT_URL", "{sink}"),
            ("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false"),
            ("DD_REMOTE_CONFIGURATION_ENABLED", "false"),
            ("DD_CRASHTRACKING_ENABLED", "false"),
        ),
    ),
    Environment(
        "sentry",
        packages=("sentry-sdk",),
        variables=(("SENTRY_DSN", "http://key@{host}/1"), ("SENTRY_RELEASE", "1")),  # else it asks git at each start
        setup=True,
    ),
    Environment(
        "newrelic",
        packages=("newrelic",),
        launcher=("newrelic-admin", "run-program"),
        variables=(
            ("NEW_RELIC_APP_NAME", "shop"),
            ("NEW_RELIC_LICENSE_KEY", "0" * 40),
            ("NEW_RELIC_DEVELOPER_MODE", "true"),
            ("NEW_RELIC_STARTUP_TIMEOUT", "10"),  # else it drops what comes before it has connected
            # It samples; the others send everything.
            ("NEW_RELIC_DISTRIBUTED_TRACING_SAMPLER_ROOT", "always_on"),
            ("NEW_RELIC_DISTRIBUTED_TRACING_SAMPLER_REMOTE_PARENT_SAMPLED", "always_on"),
            ("NEW_RELIC_ANALYTICS_EVENTS_MAX_SAMPLES_STORED", "100000"),
            ("NEW_RELIC_SPAN_EVENTS_MAX_SAMPLES_STORED", "100000"),
            ("NEW_RELIC_ERROR_COLLECTOR_MAX_EVENT_SAMPLES_STORED", "100000"),
            ("NEW_RELIC_APPLICATION_LOGGING_FORWARDING_MAX_SAMPLES_STORED", "100000"),
            ("SINK_HOST", "{host}"),
        ),
        setup=True,
    ),
    Environment(
        "highlight-io",
        packages=("highlight-io==0.10.2",),
        variables=(("GRPC_SINK", "{grpc}"),),
        setup=True,
        instead=(("fastapi", "fastapi-0.141"),),
    ),
)
