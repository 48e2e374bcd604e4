"""What the README says is what the code has."""

from __future__ import annotations

import re

from tests.tables import README, TABLES, TESTED, versions_module, with_tables


def test_the_tables_are_those_of_the_code():
    text = README.read_text()

    assert with_tables(text) == text, "run: python3 tests/tables.py"


def test_the_versions_that_the_check_knows_are_those_of_the_matrix():
    assert TESTED.read_text() == versions_module(), "run: python3 tests/tables.py"


def test_every_table_has_its_place():
    assert set(re.findall(r"<!-- (\w+) -->", README.read_text())) == {*TABLES, "end"}


def test_the_first_commands_are_there():
    text = README.read_text()

    assert "python3 examples/demo.py" in text
    assert "python3 tests/run.py" in text
