"""The matrix of versions has every integration, and each of its rows says what is really run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.matrix import update, versions

ROOT = Path(__file__).resolve().parent.parent
INTEGRATIONS = {file.stem for file in ROOT.glob("highlight_autoinstrument/integrations/[!_]*.py")}
# Tests that go through several libraries, whose own tests are in the matrix.
OF_SEVERAL = {"test_echoes", "test_kafka_chain"}


def test_every_integration_has_a_row():
    assert set(versions.supported()) == INTEGRATIONS, "add it to tests/matrix/versions.toml"


def test_every_test_of_an_integration_is_run():
    run = {Path(shlex.split(test)[0]).stem for row in versions.rows() for test in row.tests}
    there = {file.stem for file in ROOT.glob("tests/integrations/test_*.py")}

    assert there - run == OF_SEVERAL


@pytest.mark.parametrize("name", versions.read())
def test_a_library_has_its_oldest_and_a_newest_version(name):
    table = versions.read()[name]
    chosen = table["versions"]

    assert chosen == sorted(set(chosen), key=update.key)
    assert chosen[0] == table.get("oldest", chosen[0])
    assert table["seen"] == [version for version in chosen if version in table["seen"]]
    assert table["seen"], "nothing has passed: python3 tests/matrix/update.py --seen"
    assert set(table) <= {
        "integrations",
        "tests",
        "oldest",
        "below",
        "why",
        "versions",
        "seen",
        "needs",
        "with",
        "python",
        "together",
        "beside",
    }
    for key in (*table.get("with", {}), *table.get("python", {})):
        assert any(each == key or (key.endswith(".") and each.startswith(key)) for each in chosen), key


def test_what_a_row_runs_is_there_and_its_library_is_pinned():
    for row in versions.rows():
        for test in row.tests:
            assert (ROOT / shlex.split(test)[0]).is_file(), row
        assert row.name == "Python" or f"{row.name}=={row.version}" in [*row.requirements, *row.constraints]


def test_the_whole_suite_has_every_client():
    from tests.support.calls import ALL_CLIENTS, CLIENTS

    assert CLIENTS == ALL_CLIENTS


@pytest.mark.parametrize(
    ("releases", "oldest", "chosen"),
    [
        ("1.0 1.1 1.2", "1.0", "1.0 1.2"),
        ("0.9 1.0 1.9 2.0 2.5.1 2.10 3.0 3.1", "1.0", "1.0 1.9 2.10 3.1"),
        ("0.1 0.2 0.3 0.3.1 0.4 0.5", "0.2", "0.2 0.4 0.5"),
        ("0.1 0.2 0.3 1.0 1.1", "0.1", "0.1 0.2 1.1"),
        ("22.1 22.9 23.1 24.2 24.10", "22.1", "22.1 22.9 23.1 24.10"),
        ("1.0", "1.0", "1.0"),
    ],
)
def test_which_versions_are_chosen(releases, oldest, chosen):
    assert update.choose(releases.split()[::-1], oldest) == chosen.split()


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (["2.2.0", "2.3.3", "3.1.3"], "2.2 \N{EN DASH} 3.1"),
        (["2.0.2", "3.0.12"], "2.0.2 \N{EN DASH} 3.0"),
        (["3.10", "3.13"], "3.10 \N{EN DASH} 3.13"),
        (["1.5.0", "1.5.29"], "1.5"),
    ],
)
def test_how_the_readme_tells_them(chosen, told):
    assert versions.span(chosen) == told
