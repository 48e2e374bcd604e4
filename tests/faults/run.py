"""Putting one fault after another into a running application, which must not notice.

    python -m tests.faults.run [APPLICATION ...]

runs all parts with all kinds of faults, and prints how many they were; the tests run a part of it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any
from zlib import crc32

from tests.environment import ROOT
from tests.faults.applications import (
    ALL,
    FIRST,
    INJECT,
    PACKAGE,
    PAGE,
    Application,
    Control,
    Output,
    plain,
    running,
    settled,
)
from tests.faults.table import is_part, kinds
from tests.support.receiver import Receiver
from tests.support.services import accepts, agent_environment, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("raise", "hostile", "recursion", "memory", "after", "late", "none", "number", "text", "object")
QUICK_SECONDS = 3  # what a request may take whose fault is in another thread
BARE = {"HIGHLIGHT_ENABLED": "false"}


@dataclass
class Report:
    """What was tried, and where the application noticed it."""

    application: str
    parts: int = 0
    faults: int = 0
    met: int = 0
    hangs: int = 0
    noticed: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)  # noticed once, and not when the same was done again
    wrong: list[str] = field(default_factory=list)  # records that were attributed to another session

    def __str__(self) -> str:
        ends = (
            f"{len(self.noticed)} noticed, {len(self.unsteady)} unsteady, {len(self.wrong)} records of a wrong session"
        )
        return f"{self.application}: {self.parts} parts, {self.faults} faults, {self.hangs} hangs; {ends}"


def sample(part: str, number: int, wanted: list[str]) -> list[str]:
    """Of a part's kinds of faults that of its raising, and another one, each application's its own."""
    others = wanted[1:]
    return [wanted[0], others[(crc32(part.encode()) + number) % len(others)]] if others else wanted


class Session:
    """One application under faults."""

    def __init__(self, application: Application, service: Any, control: Control, expected: Any, output: Any) -> None:
        self.application, self.service, self.control = application, service, control
        self.expected, self.expected_output = expected, output
        self.output = Output(service)
        self.report = Report(application.name)
        self.numbers = count(FIRST + 1)
        self.rounds: dict[str, str] = {}  # what was wrong in each

    def ask(self, what: str = "") -> object:
        number = next(self.numbers)
        self.rounds[str(number)] = what
        return plain(self.application.ask(self.service, number))

    def compare(self, what: str, limit: float | None = None) -> None:
        """One round: the same answers, and the same output."""
        self.output.skip()
        began = time.monotonic()
        try:
            answers = self.ask(what)
        except Exception as error:  # noqa: BLE001 - the service may have hung up
            answers = [repr(error)]
        seconds = time.monotonic() - began
        output = settled(self.output, self.expected_output)
        lines = self.output.lines
        if answers != self.expected:
            self.report.noticed.append(f"{what}: the answers are {answers}, not {self.expected} {lines}")
        elif output != self.expected_output:
            self.report.noticed.append(f"{what}: the output is {output}, not {self.expected_output} {lines}")
        elif len(lines) != len(set(lines)):
            self.report.noticed.append(f"{what}: said more than once: {lines}")
        elif limit is not None and seconds > limit:
            self.report.noticed.append(f"{what}: the answers took {seconds:.1f} s")
        assert self.service.process.poll() is None, f"{what}: the process has ended\n{self.service.output}"

    def fault(self, part: str, kind: str) -> None:
        before = len(self.report.noticed)
        if not self._put(part, kind) and self._put(part, kind):
            # What is seen once and not again is the machine's doing, or a race: named, and few of them allowed.
            self.report.unsteady += self.report.noticed[before:]
            del self.report.noticed[before:]
        self.report.faults += 1

    def _put(self, part: str, kind: str) -> bool:
        """Put a fault in for one round; False if it was noticed."""
        before = len(self.report.noticed)
        self.control("put", part, kind)
        self.compare(f"{part} {kind}")
        self.report.met += self.control("clear") > 0
        return len(self.report.noticed) == before

    def hang(self, part: str, seconds: float, *, elsewhere: bool) -> None:
        """Have a part hang; where it does not run in the application's threads, that must not wait."""
        self.control("hang", seconds)
        self.control("put", part, "hang")
        self.compare(f"{part} hang", QUICK_SECONDS if elsewhere else None)
        if elsewhere and self.control("hits"):  # now it hangs
            self.compare(f"{part} still hanging", QUICK_SECONDS)
        self.control("clear")
        self.report.hangs += 1

    def run(self, *, everything: bool) -> None:
        self.ask()
        self.control("phase", "work")
        self.compare("nothing")
        self.compare("nothing")
        time.sleep(0.3)  # the exporter's next rounds
        seen = self.control("seen")
        work = {
            name: told
            for name, told in sorted(seen.items())
            if "work" in told["phases"] and is_part(name, told["file"], told["line"])
        }
        self.report.parts = len(work)
        number = [application.name for application in ALL].index(self.application.name)
        for name, told in work.items():
            wanted = kinds(name, told["kind"], KINDS)
            for kind in wanted if everything else sample(name, number, wanted):
                self.fault(name, kind)
        own = [name for name, told in work.items() if not told["exporter"]]
        others = [name for name, told in work.items() if told["exporter"]]
        for name in others if everything else others[number::7]:
            self.hang(name, 5, elsewhere=True)
        for place, name in enumerate(own if everything else own[number * 7 :: 50]):
            self.hang(name, 5 if everything and place % 30 == 0 else 0.05, elsewhere=False)
        self.compare("nothing, in the end")


def run(application: Application, folder: Path, *, everything: bool = False) -> Report:
    """Run an application bare, and then with faults."""
    receiver = Receiver()
    beside = None
    try:
        if application.name == "shop":
            beside = ALL[1].start(folder / "beside", bare=True, env=BARE)
            application.env |= {"STOCK_URL": beside.url, "PAGE_URLS": PAGE}
        with running(application, folder / "bare", bare=True, env=BARE) as service:
            output = Output(service)
            application.ask(service, FIRST)
            settled(output, None, 0.5)
            output.skip()
            expected = plain(application.ask(service, FIRST))
            expected_output = settled(output, None, 0.5)
            status = service.stop()
        control = Control(folder / "control")
        env = {
            "PYTHONPATH": f"{INJECT}:{application.path}",
            "HIGHLIGHT_RAISE_ERRORS": "false",
            "HIGHLIGHT_FAULTS_CONTROL": str(control.folder),
            "HIGHLIGHT_FAULTS_PACKAGE": f"{PACKAGE}/",
            "HIGHLIGHT_FAULTS_WATCH": "1",
        }
        with running(application, folder / "agent", endpoint=receiver.url, env=env, wait=None) as service:
            control.open()
            wait_until(lambda: accepts(service.port))
            session = Session(application, service, control, expected, expected_output)
            session.run(everything=everything)
            control.close()
            if service.stop() != status:
                session.report.noticed.append(f"the exit status is {service.process.returncode}, not {status}")
        session.report.wrong = strangers(receiver, session.rounds)
        return session.report
    finally:
        if beside is not None:
            beside.kill()
        receiver.close()


def strangers(receiver: Receiver, rounds: dict[str, str]) -> list[str]:
    """Records that tell of an order, and have the session of another."""
    told = [(log.body, log.session) for log in receiver.logs]
    told += [(f"{error.type} {error.message}", error.session) for error in receiver.errors]
    wrong = []
    for text, session in told:
        numbers = re.findall(r"\b1[0-9]{5}\b", str(text))
        if numbers and session is not None and session != f"faults{numbers[0]}":
            wrong.append(f"{text} ({rounds.get(numbers[0])}) has {session} ({rounds.get(session[6:])})")
    return wrong


class Starter:
    """Programs that begin and end under faults, each in a process of its own."""

    ENDS = ("return", "exit", "raise", "kill")

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self._folder = folder
        template = ROOT / "sitecustomize_template" / "sitecustomize.py"
        command = [sys.executable, str(Path(__file__).parent / "starter.py"), str(template), str(INJECT)]
        env = agent_environment(
            receiver.url,
            HIGHLIGHT_RAISE_ERRORS="false",
            HIGHLIGHT_SPOOL_DIR=str(folder / "spool"),
            HIGHLIGHT_FAULTS_PACKAGE=f"{PACKAGE}/",
            CLOSED_PORT=str(free_port()),
        )
        self._process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Starter:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __call__(self, *, agent: bool, **env: str) -> tuple[int, str, str]:
        """Run the program: its exit status, output and errors."""
        out, err = self._folder / "out", self._folder / "err"
        order = {"out": str(out), "err": str(err), "agent": agent, "env": env}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())
        from tests.faults.applications import without_ours

        return status, str(plain(out.read_text())), str(plain(without_ours(err.read_text())))

    def parts(self) -> dict[str, Any]:
        """The parts that are at work at a start and an end."""
        found: dict[str, Any] = {}
        for end in ("return", "raise"):
            file = self._folder / "seen"
            self(agent=True, END=end, HIGHLIGHT_FAULTS_WATCH="1", HIGHLIGHT_FAULTS_SEEN=str(file))
            found.update(json.loads(file.read_text()))
        return {name: told for name, told in sorted(found.items()) if is_part(name, told["file"], told["line"])}


def run_starter(folder: Path, *, everything: bool = False) -> Report:
    """Begin and end programs with faults in them, several at a time where it is all of them."""
    receiver = Receiver()
    report = Report("start and end")
    free: Queue[Starter] = Queue()
    try:
        with ExitStack() as stack:
            for number in range(os.cpu_count() or 1 if everything else 1):
                place = folder / str(number)
                place.mkdir()
                free.put(stack.enter_context(Starter(place, receiver)))
            starter = free.get()
            expected = {end: starter(agent=False, END=end) for end in Starter.ENDS}
            parts = starter.parts()
            free.put(starter)
            report.parts = len(parts)

            def start(fault: str, end: str, most_seconds: float | None = None, **env: str) -> None:
                starter = free.get()
                began = time.monotonic()
                try:
                    found = starter(agent=True, END=end, HIGHLIGHT_FAULTS_SET=fault, **env)
                finally:
                    seconds = time.monotonic() - began
                    free.put(starter)
                if found != expected[end] or (most_seconds is not None and seconds > most_seconds):
                    report.noticed.append(f"{fault} {end}: {found}, not {expected[end]}, after {seconds:.1f} s")

            with ThreadPoolExecutor(free.qsize()) as pool:
                jobs = [pool.submit(start, "", end) for end in Starter.ENDS]
                if not everything:
                    parts = {name: told for name, told in parts.items() if crc32(name.encode()) % 4 == 0}
                for place, (name, told) in enumerate(parts.items()):
                    wanted = kinds(name, told["kind"], KINDS)
                    faults = [(kind, end) for kind in wanted for end in Starter.ENDS]
                    if not everything:
                        faults = [(wanted[place % len(wanted)], Starter.ENDS[place // 3 % 4])]
                    report.faults += len(faults)
                    jobs += [pool.submit(start, f"{name} {kind}", end) for kind, end in faults]
                exporters = [name for name, told in parts.items() if told["exporter"]]
                for name in exporters if everything else exporters[::5]:
                    report.hangs += 1
                    hanging = {"HIGHLIGHT_FAULTS_HANG": "20"}
                    jobs.append(pool.submit(start, f"{name} hang", "return", 2 + QUICK_SECONDS, **hanging))
                for job in jobs:
                    job.result()
    finally:
        receiver.close()
    return report


def main(names: list[str]) -> Iterator[Report]:
    everything = "--quick" not in names
    names = [name for name in names if not name.startswith("--")]
    for application in ALL:
        if not names or application.name in names:
            yield run(application, Path(tempfile.mkdtemp()), everything=everything)
    if not names or "start" in names:
        yield run_starter(Path(tempfile.mkdtemp()), everything=everything)


if __name__ == "__main__":
    failed = False
    for report in main(sys.argv[1:]):
        print(report, *report.noticed, *report.wrong, sep="\n  ", flush=True)
        failed = failed or bool(report.noticed or report.wrong or not report.faults)
    sys.exit(failed)
