"""The clock of the machine is set back and forth while a program runs: no span lasts less than nothing, or for days."""

from __future__ import annotations

import glob

NANOSECONDS = 1_000_000_000
DAY = 86_400

PROGRAM = """
import logging, os, select, time
from highlight_autoinstrument import flush, trace

def set_clock(offset):
    with open("offset.new", "w") as file:
        file.write(offset)
    os.rename("offset.new", "offset")  # faketime reads it at each call

real = time.time()
set_clock("-86400")
assert time.time() < real - 80_000, "the clock does not follow"
set_clock("+0")
for offset in ("-86400", "+86400", "-1", "+0"):
    with trace("outer " + offset):
        with trace("inner " + offset) as span:
            select.select([], [], [], 0.02)  # not by time.sleep, which fails under faketime
            set_clock(offset)
            logging.warning("after " + offset)
            span.add_event("seen " + offset)
    set_clock("+0")
    assert flush(20)  # the waiting and the retries are by the other clock
"""


def test_no_duration_is_negative_whatever_happens_to_the_clock(run_python, receiver, tmp_path):
    (tmp_path / "offset").write_text("+0")
    libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    assert libraries, "apt-get install faketime"
    env = {
        "LD_PRELOAD": libraries[0],
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "offset"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    program = run_python(PROGRAM, env=env, measured=False)
    assert program.returncode == 0, program.stderr
    assert "highlight: " not in program.stderr, program.stderr
    spans = receiver.spans
    assert sorted(span.name for span in spans) == sorted(
        f"{place} {offset}" for place in ("outer", "inner") for offset in ("-86400", "+86400", "-1", "+0")
    )
    for span in spans:
        assert 0.02 <= (span.end_ns - span.start_ns) / NANOSECONDS < 60, span.name
        for event in span.events:
            assert span.start_ns <= event.time_ns <= span.end_ns
    # A log has the time that the machine told, as the application's own lines have.
    told = {log.body: log.time_ns / NANOSECONDS for log in receiver.logs}
    assert set(told) == {f"after {offset}" for offset in ("-86400", "+86400", "-1", "+0")}
    assert abs(told["after +86400"] - told["after -86400"] - 2 * DAY) < 600
