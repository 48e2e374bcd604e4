"""The right session: many requests at a time, of every server; tests/long/soak.py is the same with very many."""

from __future__ import annotations

import pytest

from tests.support.soak import SERVERS, WORKERS, soak


@pytest.mark.parametrize("server", SERVERS)
def test_every_record_has_the_session_of_its_own_request_or_none(server, tmp_path):
    result = soak(server, 400, tmp_path)
    assert result.wrong == []
    assert result.checked.total > 2400
    assert result.checked.records["tick"] > 0


@pytest.mark.parametrize("server", WORKERS)
def test_every_record_has_the_session_of_whoever_sent_its_task(server, tmp_path, redis_url):
    result = soak(server, 200, tmp_path, redis_url)
    assert result.wrong == []
    assert result.checked.total - result.checked.records["tick"] == 1560
    assert result.checked.records["tick"] > 0
