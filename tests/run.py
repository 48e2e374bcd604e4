"""The tests, as everybody runs them: sets up what they need, then style, types and behaviour.

    python3 tests/run.py [--quick] [PYTEST ARGUMENTS]

`--quick` leaves out style, types and coverage, and runs in one process. Each version of Python has an environment of
its own beside the project (.venv-test-3.11, ...); what it is run with is what is tested.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment

# Real servers that the tests start; Debian's packages, by the program that each brings.
PROGRAMS = {
    "faketime": "faketime",
    "redis-server": "redis-server",
    "nats-server": "nats-server",
    "openssl": "openssl",
    "rabbitmq-server": "rabbitmq-server",
    "wrk": "wrk",
    "chromium": "chromium",
    "apache2": "libapache2-mod-wsgi-py3",  # without the package that makes it a service of the system
}


def main() -> int:
    arguments = sys.argv[1:]
    quick = "--quick" in arguments
    arguments = [argument for argument in arguments if argument != "--quick"]
    environment.enter(environment.ROOT / f".venv-test-3.{sys.version_info.minor}", [], extras="test", node=True)
    _install_programs()
    steps = []
    if not quick:
        steps = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]
    pytest = ["pytest", *arguments]
    if not quick:
        pytest[1:1] = ["--cov", "--cov-report=term:skip-covered", "--numprocesses=auto", "--dist=loadfile"]
    for step in [*steps, pytest]:
        print("+", " ".join(step), flush=True)
        status = subprocess.run([sys.executable, "-m", *step], cwd=environment.ROOT, check=False).returncode
        if status != 0:
            return status
    return 0


def _install_programs() -> None:
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        print("installing", *missing, flush=True)
        # A browser's older packages do not stay where they were; what cannot be asked is seen below.
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        if subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=False).returncode != 0:
            sys.exit(f"the tests need these programs: apt-get install {' '.join(missing)}")


if __name__ == "__main__":
    sys.exit(main())
