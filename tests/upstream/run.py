"""The tests of the libraries themselves, bare and under the agent: no test may end differently.

    python3 tests/upstream/run.py [SUITE ...]

Each suite has an environment of its own beside the project (.venv-upstream-flask-3.11, ...), and the library's source
distribution in it, which the tests come from.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests import environment

SECONDS = 900
OUTCOMES = {"failure", "error", "skipped"}


@dataclass
class Suite:
    package: str  # its pin; none: the interpreter's own tests
    requirements: str
    command: str = "pytest tests"  # after `python -m`
    remove: str = ""  # the folder of the package itself, so that the installed one is what is tested
    left_out: list[str] = field(default_factory=list)  # what needs a network, or ends differently from run to run
    excused: dict[str, str] = field(default_factory=dict)  # a test that may end differently, and why


SUITES = {
    "flask": Suite("flask==3.1.3", "asgiref greenlet python-dotenv pytest<9"),
    "requests": Suite(
        "requests==2.34.2",
        "requests[socks] pytest-httpbin==2.1.0 httpbin~=0.10.0 pytest-mock pytest<9 trustme",
        left_out=[
            "tests/test_requests.py::TestTimeout::test_connect_timeout",
            "tests/test_requests.py::TestTimeout::test_total_timeout_connect",
            "tests/test_requests.py::TestTimeout::test_encoded_methods",
            "tests/test_requests.py::TestTimeout::test_none_timeout",
            "tests/test_requests.py::test_urllib3_retries",
            "tests/test_testserver.py",
        ],
    ),
    "httpx": Suite(
        "httpx==0.28.1",
        "httpx[brotli,cli,http2,socks,zstd] chardet==5.2.0 trio trio-typing trustme uvicorn cryptography pytest<9",
        remove="httpx",
        left_out=[
            "tests/client/test_proxies.py::test_async_proxy_close",
            "tests/client/test_proxies.py::test_sync_proxy_close",
        ],
    ),
    "starlette": Suite(
        "starlette==1.10.0",
        "starlette[full] httpx2[zstd]>=2 blockbuster importlib-metadata pytest>=9.1.1 trio opentelemetry-sdk "
        "pytest-codspeed",
        remove="starlette",
    ),
    "structlog": Suite("structlog==26.1.0", "pytest<9 pytest-asyncio simplejson time-machine twisted rich greenlet"),
    "responses": Suite(
        "responses==0.26.3",
        "pytest<9 pytest-asyncio pytest-httpserver tomli tomli-w flake8",
        command="pytest responses/tests",
    ),
    "python": Suite("", "", command="test test_logging test_warnings"),
}


def main() -> int:
    environment.enter(environment.ROOT / f".venv-upstream-3.{sys.version_info.minor}", ["opentelemetry-proto"])
    names = sys.argv[1:] or list(SUITES)
    lines = [f"{'suite':12} {'tests':>6} {'differences':>12}"]
    failed = False
    for name in names:
        suite = SUITES[name]
        folder = environment.ROOT / f".venv-upstream-{name}-3.{sys.version_info.minor}"
        requirements = [each for each in [suite.package, *suite.requirements.split()] if each]
        python = environment.make(folder, requirements)
        source = unpack(python, folder / "source", suite)
        bare = run(name, suite, python, source, "")
        with_agent = run(name, suite, python, source, "highlight-run")
        differing = [test for test in sorted({*bare, *with_agent}) if bare.get(test) != with_agent.get(test)]
        lines.append(f"{name:12} {len(bare):6} {len(differing):12}")
        lines += [
            f"    {test}: {bare.get(test)} -> {with_agent.get(test)} {suite.excused.get(test, '')}"
            for test in differing
        ]
        failed = failed or not bare or any(test not in suite.excused for test in differing)
    print("\n".join(lines))
    return int(failed)


def unpack(python: str, folder: Path, suite: Suite) -> Path:
    """Get the source distribution, and return the folder in which its tests run."""
    if not suite.package:
        return Path(python).parent.parent
    unpacked = folder / suite.package.replace("==", "-")
    if not unpacked.exists():
        name = suite.package.partition("==")[0]
        command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(folder)]
        subprocess.run([*command, suite.package], check=True)
        for archive in folder.glob("*.tar.gz"):
            shutil.unpack_archive(archive, folder)
        if suite.remove:
            shutil.rmtree(unpacked / suite.remove)
    return unpacked


def run(name: str, suite: Suite, python: str, source: Path, launcher: str) -> dict[str, str]:
    """Run the tests; return how each of them ended."""
    from tests.support.receiver import Receiver

    print(f"running {name} {'under ' + launcher if launcher else 'bare'} ...", flush=True)
    report = Path(python).parent.parent / f"{launcher or 'bare'}.xml"
    report.unlink(missing_ok=True)
    module, *arguments = suite.command.split()
    if module == "test":
        options = ["--junit-xml", str(report)]
    else:
        options = [f"--junitxml={report}", "-ojunit_logging=system-err"]
        options += [f"--deselect={test}" for test in suite.left_out]
    command = [python, "-m", module, *arguments, *options]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("HIGHLIGHT_", "OTEL_"))}
    receiver = Receiver()
    if launcher:
        command.insert(0, str(Path(python).with_name(launcher)))
        environ.update(HIGHLIGHT_PROJECT_ID="1", HIGHLIGHT_OTLP_ENDPOINT=receiver.url)
    with open(report.with_suffix(".txt"), "w") as output:
        process = subprocess.Popen(command, cwd=source, env=environ, stdout=output, stderr=subprocess.STDOUT)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    receiver.close()
    if not report.exists():
        sys.exit(f"no outcome: see {report.with_suffix('.txt')}")
    # highlight-run becomes the program: what ran the tests has its process id.
    senders = {record.resource["process.pid"] for record in (*receiver.spans, *receiver.logs)}
    if launcher and process.pid not in senders:
        sys.exit(f"the agent was not active in the process of the tests: {senders} are not {process.pid}")
    outcomes = defaultdict(set)
    for case in ET.parse(report).iter("testcase"):
        found = OUTCOMES & {child.tag for child in case} or {"passed"}
        outcomes[f"{case.get('classname') or ''}::{case.get('name')}".removeprefix("::")] |= found
    # A part of the agent that has failed and is off changes nothing more: what it says is as bad as a test that fails.
    for line in re.findall(r"highlight: .*", report.read_text() + report.with_suffix(".txt").read_text()):
        outcomes[line].add("said")
    return {test: " and ".join(sorted(found)) for test, found in outcomes.items()}


if __name__ == "__main__":
    sys.exit(main())
