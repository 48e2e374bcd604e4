"""Headers that strangers put on messages, for every library alike; each is followed by a message that is as it should.

It needs nothing but the standard library, and is put beside the programs as well: they tell what they see by `told`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .receiver import Received

FILE = Path(__file__)
HEADER = "x-highlight-request"
LARGE = 1_000_000

_ODD: dict[str, Any] = {
    "null": None,
    "a number": 5,
    "a truth": True,
    "a list": ["s1/r1"],
    "a table": {"s1": "r1"},
    "no text": b"\xff\xfe/r1",
    "a null byte": b"s1\0/r1",
    "the word null": "null",
    "the word undefined": "undefined",
    "empty": "",
    "a slash": "/",
    "no session": "/r1",
    "not ASCII": "\u00fc/r1",
    "two lines": "s1\r\nx: y/r1",
    "steers a terminal": "\x1b[2Js1/r1",
    "257 characters": "a" * 254 + "/r1",
    "large": "a" * LARGE + "/r1",
}
# What leaves the session as the header says it, and what says several.
_KEPT: dict[str, tuple[tuple[str, Any], ...]] = {
    "malformed traceparent": ((HEADER, "s1/r1"), ("traceparent", "00-zz")),
    "large traceparent": ((HEADER, "s1/r1"), ("traceparent", "00-" + "a" * LARGE)),
    "malformed tracestate": (
        (HEADER, "s1/r1"),
        ("traceparent", f"00-{'1' * 32}-{'2' * 16}-01"),
        ("tracestate", "=,;=\u00fc"),
    ),
    "another case": ((HEADER.title(), "s1/r1"),),
    "two in one": ((HEADER, "s1/r1, s2/r2"),),
    "two of one name": ((HEADER, "s1/r1"), (HEADER, "s2/r2")),
}
_ODD_OTHERS: dict[str, tuple[str, Any]] = {
    "malformed baggage": ("baggage", f"{HEADER}=%00%ff,=;=,highlight.session_id,{HEADER}="),
    "large baggage": ("baggage", f"{HEADER}=" + "a" * LARGE),
    "malformed cookie": ("cookie", 'sessionID=; sessionData_s1={"lastPushTime": NaN; =;'),
    "deep cookie": ("cookie", "sessionData_s1=" + "[" * 60_000),
}
_CASES: dict[str, tuple[tuple[tuple[str, Any], ...], str | None]] = {
    "none": ((), None),
    **{case: (((HEADER, value),), None) for case, value in _ODD.items()},
    **{f"traceparent: {case}": ((("traceparent", value),), None) for case, value in _ODD.items()},
    **{case: (pairs, "s1") for case, pairs in _KEPT.items()},
    **{case: ((pair,), None) for case, pair in _ODD_OTHERS.items()},
}
NAMES = (HEADER, "traceparent", "tracestate", "baggage", "cookie")


class Message(NamedTuple):
    """A message to be sent as it is: its number is its payload."""

    number: int
    case: str
    headers: tuple[tuple[str, Any], ...]
    session: str | None


def messages(
    kinds: str, longest: int = LARGE + 100, *, repeated: str = "", without: tuple[str, ...] = ()
) -> list[Message]:
    """The messages for a library or broker that carries values of these types, at most so long; the rest is cut.

    `repeated`: two headers may have the same name, and the `first` or the `last` of them counts. `without`: cases that
    cannot be sent there.
    """
    found: list[Message] = []
    for case, (pairs, session) in _CASES.items():
        carried = all(type(value).__name__ in kinds.split() for _, value in pairs)
        once = len(dict(pairs)) == len(pairs)
        if carried and (repeated or once) and not case.endswith(without):
            cut = tuple((name, value[:longest] if isinstance(value, (str, bytes)) else value) for name, value in pairs)
            found.append(Message(len(found), case, cut, "s2" if not once and repeated == "last" else session))
            good = f"good{len(found)}"
            found.append(Message(len(found), "as it should be", ((HEADER, f"{good}/r1"),), good))
    return found


def told(number: object, headers: Any) -> str:
    """One line of what was sent, or is seen: the payload, and the headers in the type that they have."""
    if isinstance(headers, dict):
        headers = dict(sorted(headers.items()))
    text = repr(headers)
    if len(text) > 400:
        text = f"{text[:60]}... {len(text)} characters, {hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"
    return f"{number} {text}"


def files(program: str, kinds: str, **options: Any) -> dict[str, str]:
    """What stands beside a program that sends or receives the messages: it finds them as `sent.SENT`."""
    more = "".join(f", {name}={value!r}" for name, value in options.items())
    sent = f"from hostile import messages\nSENT = messages({kinds!r}{more})\n"
    return {"program.py": program, "hostile.py": FILE.read_text(), "sent.py": sent}


def _lines(text: str) -> list[str]:
    """The lines of `told` in what a program has printed; a worker may greet as well."""
    return [line for line in text.splitlines() if line.partition(" ")[0].isdigit() and " " in line]


def check(
    receiver: Received, sent: list[Message], name: str, seen: str, expected: str, logger: str = "app", failures: int = 0
) -> None:
    """Fail unless each message was seen as it was sent, and worked on in a span and with a log of its own session.

    `seen` is what the consumer has printed, `expected` what the sender has. Each message is logged by its number.
    `failures` are those that the library logs of its own accord, without the agent as well.
    """
    printed = [sorted(_lines(text), key=lambda line: int(line.split()[0])) for text in (seen, expected)]
    assert [len(lines) for lines in printed] == [len(sent)] * 2
    for message, actual, line in zip(sent, *printed, strict=True):
        assert actual == line, f"{message.case}: {actual} is not {line}"
    receiver.wait(spans=len(sent), logs=len(sent))
    spans = {span.span_id: span for span in receiver.spans}
    logs = sorted(
        ((int(log.body), log.session, log.span_id) for log in receiver.logs if log.logger == logger),
        key=lambda log: log[0],
    )
    assert len(receiver.spans) == len(logs) == len({span_id for *_, span_id in logs}) == len(sent), receiver.told()
    for (number, session, span_id), message in zip(logs, sent, strict=True):
        span = spans[span_id]
        found = (number, session, span.name, span.kind, span.session, span.status)
        assert found == (message.number, message.session, name, "CONSUMER", message.session, "UNSET"), (
            f"{message.case}: {found}"
        )
    assert [(error.session, error.source) for error in receiver.errors] == [(None, "log")] * failures


def exchange(
    run_python: Any,
    receiver: Received,
    program: str,
    name: str,
    kinds: str,
    env: dict[str, str],
    *,
    bare: bool = False,
    python: str = sys.executable,
    **options: Any,
) -> None:
    """Have a program send the messages without the agent, and receive them under it; see `check`.

    It is run as `program.py send` and as `program.py receive`; where the sender cannot know what a receiver sees
    (`bare`), also as `program.py bare`, which receives them without the agent.
    """
    beside = files(program, kinds, **options)
    sent = run_python(["program.py", "send"], env=env, under_agent=False, files=beside, python=python)
    assert sent.returncode == 0, sent.stderr
    failures = 0
    if bare:
        sent = run_python(["program.py", "bare"], env=env, under_agent=False, python=python)
        assert sent.returncode == 0, sent.stderr
        failures = sent.stderr.count("Traceback ")
    done = run_python(["program.py", "receive"], env=env, python=python)
    assert (done.returncode, "highlight: " in done.stderr) == (0, False), done.stderr
    check(receiver, messages(kinds, **options), name, done.stdout, sent.stdout, failures=failures)


def work_off(
    run_python: Any,
    run_service: Any,
    receiver: Received,
    program: str,
    worker: str,
    name: str,
    kinds: str,
    env: dict[str, str],
    **options: Any,
) -> None:
    """The same for a library with a worker of its own, which is a command and is stopped once it has printed all."""
    beside = files(program, kinds, **options)
    sent = run_python(["program.py", "send"], env=env, under_agent=False, files=beside)
    assert sent.returncode == 0, sent.stderr
    running = run_service(worker, files=beside, env={**env, "PYTHONUNBUFFERED": "1"}, wait=None)
    expected = messages(kinds, **options)
    from .services import wait_until  # not at the top: beside a program there is no package

    def done() -> bool:
        assert running.process.poll() is None, running.output
        return len(_lines(running.output)) >= len(expected)

    wait_until(done)
    assert running.stop() == 0, running.output
    check(receiver, expected, name, running.output, sent.stdout)
