"""What `tests/long/reading.py` measures with much stored is all that there is to ask."""

from __future__ import annotations

import pytest

from highlight_autoinstrument.local.store import Store
from tests.long import reading


@pytest.fixture
def questions(tmp_path):
    store = Store(str(tmp_path / "local.db"), 10**12, lambda *_: None)
    reading.fill(store, 5000)
    yield store, reading.asked(tmp_path / "local.db")
    store.close()


def test_every_question_that_the_api_and_the_pages_have_is_measured(questions):
    store, asked = questions

    assert reading.not_asked(store, asked) == []
    without = [question for question in asked if question.route not in ("state", "sessions/{id}/events")]
    without = [question._replace(values={**question.values, "text": (None,)}) for question in without]
    for question in without:
        question.values.pop("slower", None)
    assert reading.not_asked(store, without) == [
        "not asked: sessions/{id}/events ",
        "not asked: state ",
        "not asked: traces slower",
    ]


def test_what_takes_too_long_is_told(questions, capsys, tmp_path):
    times = {"logs": [1.0, 2.0, 500.0], "logs?text=x": [400.0, 2.0, 301.0]}

    assert reading.report(iter([("logs", times)]), 300) == ["too slow: logs?text=x, 301.0 ms"]
    assert "| `logs` | 2 | 151.5 | 301.0 | 500.0 |" in capsys.readouterr().out.splitlines()
