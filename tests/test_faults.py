"""Whatever part of the agent fails, in whatever way: the application answers byte for byte as without it.

`python -m tests.faults.run` puts in all faults; here each application gets a part of them.
"""

from __future__ import annotations

import pytest

from tests.faults import run
from tests.faults.applications import ALL


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch):
    """Coverage has no place in processes whose code is exchanged."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("application", ALL, ids=lambda application: application.name)
def test_an_application_does_not_notice_that_a_part_fails(application, tmp_path):
    report = run.run(application, tmp_path)

    assert report.noticed == [], "\n".join(report.noticed)
    assert len(report.unsteady) <= 1, "\n".join(report.unsteady)
    assert report.wrong == []
    assert report.met > report.faults * 0.6, "the faults were not where the application passes"


def test_a_program_begins_and_ends_as_ever_when_a_part_fails(tmp_path):
    report = run.run_starter(tmp_path)

    assert report.noticed == [], "\n".join(report.noticed)
    assert report.faults > 30
