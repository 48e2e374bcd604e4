"""The tests of the libraries themselves, bare and under the agent: no test may end differently.

    python3 tests/upstream/run.py [--once] [--quick | SUITE ...]

Each suite (`suites.py`) has an environment of its own beside the project (.venv-upstream-flask-3.11, ...), and the
library's source distribution in it, which the tests come from. Where a test ends differently, its suite is run again,
bare and under the agent, up to three times in all: a test that differs each time is a difference, one that does not is
named as unsteady. `--once`: each suite is run once, and whatever differs is a difference.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests import environment  # noqa: E402
from tests.upstream.suites import QUICK, SUITES, Suite  # noqa: E402

ROUNDS = 3
REDIS_PORT = 6379
OUTCOMES = {"failure", "error", "skipped"}
# What a test's name holds that is another one in each run: an object's address.
RUN_IN = re.compile(r"0x[0-9a-f]{6,}")


class NoOutcomeError(Exception):
    """The tests did not run to their end, or the agent was not there."""


@dataclass
class Compared:
    """What came of a suite, or of all of them."""

    tests: int = 0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0
    cpu_seconds: float = 0

    def add(self, other: Compared) -> None:
        self.tests += other.tests
        self.differences += other.differences
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds

    def say(self, name: str) -> None:
        numbers = f"{self.tests:6} {len(self.differences):12} {self.seconds:8.0f} {self.cpu_seconds:8.0f}"
        print(f"{name:32} {numbers}")
        for line in () if name == "all" else (*self.differences, *self.notes):
            print(f"    {line}")
        sys.stdout.flush()


def main() -> int:
    environment.enter(environment.ROOT / f".venv-upstream-3.{sys.version_info.minor}", ["opentelemetry-proto"])
    given = sys.argv[1:]
    rounds = 1 if "--once" in given else ROUNDS
    names = [name for name in given if not name.startswith("--")] or list(QUICK if "--quick" in given else SUITES)
    print(f"{'suite':32} {'tests':>6} {'differences':>12} {'seconds':>8} {'of CPU':>8}", flush=True)
    total = Compared()
    for name in names:
        began, cpu = time.monotonic(), cpu_seconds()
        try:
            compared = compare(name, SUITES[name], rounds)
        except NoOutcomeError as error:
            compared = Compared(0, [str(error)])
        compared.seconds, compared.cpu_seconds = time.monotonic() - began, cpu_seconds() - cpu
        compared.say(SUITES[name].package or f"CPython {sys.version.split()[0]}: {name}")
        total.add(compared)
    total.say("all")
    return int(bool(total.differences))


def cpu_seconds() -> float:
    """What the processes that were started have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(name: str, suite: Suite, most_rounds: int) -> Compared:
    """Run a suite bare and under the agent, again where a test has ended differently."""
    folder = environment.ROOT / f".venv-upstream-{name}-3.{sys.version_info.minor}"
    with contextlib.redirect_stdout(sys.stderr):
        python = environment.make(folder, [each for each in (suite.package, *suite.requirements.split()) if each])
        source = unpack(python, folder / "source", suite)
    rounds: list[tuple[dict[str, str], dict[str, str]]] = []
    with service(suite):
        while len(rounds) < most_rounds:
            bare, agent = (run(suite, python, source, launcher) for launcher in ("", "highlight-run"))
            rounds.append((bare, agent))
            if not differing(bare, agent) - suite.excused.keys():
                break
    counts = [len(each) for outcomes in rounds for each in outcomes]
    compared = Compared(max(counts))
    if min(counts) == 0:
        compared.differences.append("no test was run")
    each_round = [differing(*outcomes) for outcomes in rounds]
    for test in sorted(set().union(*each_round)):
        line = f"{test}: " + ", ".join(f"{bare.get(test)} -> {agent.get(test)}" for bare, agent in rounds)
        if test in suite.excused:
            compared.notes.append(f"excused ({suite.excused[test]}): {line}")
        elif all(test in found for found in each_round):
            compared.differences.append(line)
        else:
            compared.notes.append(f"unsteady: {line}")
    return compared


def differing(bare: dict[str, str], agent: dict[str, str]) -> set[str]:
    """The tests that ended differently."""
    return {test for test in (*bare, *agent) if bare.get(test) != agent.get(test)}


@contextlib.contextmanager
def service(suite: Suite):
    """Start Redis for the suites that need it, at the port that they all look for it."""
    from tests.support import brokers
    from tests.support.services import accepts

    if not suite.redis:
        yield
        return
    if accepts(REDIS_PORT):
        raise NoOutcomeError(f"a Redis runs at port {REDIS_PORT} already; these tests would empty it")
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(REDIS_PORT), "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder, brokers.running(command, REDIS_PORT, Path(folder)):
        yield


def unpack(python: str, folder: Path, suite: Suite) -> Path:
    """Get the source distribution, and return the folder in which its tests run."""
    folder.mkdir(exist_ok=True)
    (folder / "pytest.ini").touch()  # else pytest goes on to this project's settings, where theirs has none
    if not suite.package:
        return folder
    name, _, version = suite.package.partition("==")
    unpacked = [each for each in folder.glob(f"*-{version}") if each.is_dir()]
    if not unpacked:
        command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(folder)]
        subprocess.run([*command, suite.package], check=True)
        for archive in folder.glob("*.tar.gz"):
            shutil.unpack_archive(archive, folder)
        unpacked = [each for each in folder.glob(f"*-{version}") if each.is_dir()]
        for part in suite.remove.split():
            shutil.rmtree(unpacked[0] / part)
    return unpacked[0] / suite.folder


def run(suite: Suite, python: str, source: Path, launcher: str) -> dict[str, str]:
    """Run the tests; return how each of them ended."""
    from tests.support.receiver import Receiver

    report = Path(python).parent.parent / f"{launcher or 'bare'}.xml"
    report.unlink(missing_ok=True)
    module, *arguments = shlex.split(suite.command)
    if module == "pytest":
        # Their plugins may give tests in an order of their own: one that is the same each time.
        arguments += [f"--junitxml={report}", "-ojunit_logging=system-err", "-ojunit_family=xunit1"]
        arguments += [f"--deselect={test}" for test in suite.left_out]
    elif module == "test":
        # Some builds come without some of them.
        arguments = [each for each in arguments if importlib.util.find_spec(f"test.{each}")]
        arguments += ["--junit-xml", str(report)]
    command = [python, str(HERE / "outcomes.py"), str(report), module, *arguments]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HIGHLIGHT_", "OTEL_"))}
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"  # tests start the library's own commands
    environ = {**inherited, "PATH": path, "PYTHONHASHSEED": "0", "UPSTREAM_WARM": suite.warm, **suite.environ}
    receiver = Receiver()
    if launcher:
        command.insert(0, str(Path(python).with_name(launcher)))
        environ.update(HIGHLIGHT_PROJECT_ID="1", HIGHLIGHT_OTLP_ENDPOINT=receiver.url)
    said = report.with_suffix(".txt")
    # What the tests leave in the folder for temporary files, the next run shall not find there.
    with open(said, "w") as output, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        environ["TMPDIR"] = folder
        process = subprocess.Popen(
            command,
            cwd=source,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(suite.seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what its tests have left running
            process.wait()
    receiver.close()
    # pytest ends otherwise where it could not load all its tests, or was stopped.
    if not report.exists() or (module == "pytest" and process.returncode not in {0, 1}):
        raise NoOutcomeError(f"the tests were not all run (exit status {process.returncode}): see {said}")
    # highlight-run becomes the program: what ran the tests has its process id.
    senders = {record.resource["process.pid"] for record in (*receiver.spans, *receiver.logs)}
    if launcher and process.pid not in senders:
        raise NoOutcomeError(f"the agent was not active in the process of the tests: {senders}, not {process.pid}")
    outcomes = defaultdict(set)
    for case in ET.parse(report).iter("testcase"):
        # What is expected to fail, perhaps: it may pass as well.
        found = OUTCOMES & {child.tag for child in case if child.get("type") != "pytest.xfail"} or {"passed"}
        name = "::".join(each for each in (case.get("file"), case.get("classname"), case.get("name")) if each)
        outcomes[RUN_IN.sub("0x", name)] |= found
    # A part of the agent that has failed and is off changes nothing more: what it says is as bad as a test that fails.
    for line in re.findall(r"highlight: .*", report.read_text() + said.read_text(errors="replace")):
        outcomes[line].add("said")
    return {test: " and ".join(sorted(found)) for test, found in outcomes.items()}


if __name__ == "__main__":
    sys.exit(main())
