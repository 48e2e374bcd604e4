"""The examples do what they promise."""

from __future__ import annotations

import importlib.util
import re

from tests.environment import ROOT


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_session_one_trace_and_one_error_through_six_services(tmp_path):
    chain = example("chain")

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


def test_an_error_of_the_page_is_seen_beside_its_session(tmp_path):
    demo, said = example("demo"), []

    demo.run(tmp_path, said.append, demo.click_and_show)

    text = "\n".join(said)
    assert "clicked 'Order a lamp', and the page said: ordered: a lamp\n" in text
    assert "clicked 'Order what is not there', and the page said: the order failed: 500\n" in text
    failed = text.partition("  500\n")[2].splitlines()
    told = [re.sub(r"  \d+\.\d ms|http://\S+", "", line) for line in failed if "[page]" not in line]
    assert [line.strip() for line in told] == [
        "server POST /orders  [shop]  error",
        "log WARN shop: an order of item 13: asking the stock",
        "log ERROR shop: Exception on /orders [POST]",
        "ERROR requests.exceptions.HTTPError: 500 Server Error: Internal Server Error for url:",
        "client GET  [shop]  error",
        "server GET /items/{number}  [stock]  error",
        "log WARN stock: looking for item 13",
        "log ERROR uvicorn.error: Exception in ASGI application",
        "ERROR KeyError: 13",
        "ERROR KeyError: 13  [stock]",
        "ERROR requests.exceptions.HTTPError: 500 Server Error: Internal Server Error for url:   [shop]",
    ]
