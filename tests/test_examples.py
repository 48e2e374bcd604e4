"""The examples do what they promise: here, one session, one trace and one error through six services."""

from __future__ import annotations

import importlib.util

from tests.environment import ROOT


def test_a_chain_of_six_services(tmp_path):
    spec = importlib.util.spec_from_file_location("chain", ROOT / "examples" / "chain.py")
    chain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chain)

    receiver = chain.run(tmp_path, print)

    spans = receiver.spans
    assert [(span.service, span.kind, span.name) for span in spans] == [
        ("shop", "SERVER", "GET /orders/<int:number>"),
        ("shop", "PRODUCER", "send orders"),
        ("worker", "CONSUMER", "process orders"),
        ("worker", "PRODUCER", "send tasks.ship"),
        ("celery", "CONSUMER", "process tasks.ship"),
        ("celery", "CLIENT", "Warehouse/Reserve"),
        ("warehouse", "SERVER", "Warehouse/Reserve"),
        ("warehouse", "CLIENT", "GET"),
        ("stock", "SERVER", "GET /items/{number}"),
    ]
    assert {span.session for span in spans} == {chain.SESSION}
    assert len({span.trace_id for span in spans}) == 1
    assert [span.parent_id for span in spans] == ["", *[span.span_id for span in spans[:-1]]]
    assert [(e.type, e.message, e.session, e.record.service) for e in receiver.errors] == [
        ("KeyError", "13", chain.SESSION, "stock")
    ]
    assert receiver.faults == []
