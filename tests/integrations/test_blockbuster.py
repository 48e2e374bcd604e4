"""blockbuster, which raises where something blocks an event loop."""

from __future__ import annotations

import inspect

import pytest
from blockbuster import BlockBuster

APP = """
import logging, time
from blockbuster import BlockBuster
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

log = logging.getLogger("shop")

async def order(request):
    log.warning("order")
    return PlainTextResponse("fine")

async def boom(request):
    raise LookupError("no such order")

async def slow(request):
    time.sleep(0.01)

app = Starlette(routes=[Route("/order", order), Route("/boom", boom), Route("/slow", slow)])
BlockBuster(MODULES).activate()
"""
HEADERS = {"x-highlight-request": "s1/r1"}


MODULES = ["'starlette'", "None"] if inspect.signature(BlockBuster).parameters else [""]  # 1.5.0 is for all of them


@pytest.mark.parametrize("modules", MODULES)
def test_a_request_is_recorded_and_what_the_application_blocks_is_found(run_service, receiver, modules):
    service = run_service(
        "uvicorn app:app --port {port} --log-level critical", files={"app.py": APP.replace("MODULES", modules)}
    )

    assert service.get("/order", HEADERS).text == "fine"
    assert [service.get(path, HEADERS).status for path in ("/boom", "/slow")] == [500, 500]

    receiver.wait(spans=3, logs=1, errors=2)
    assert [(span.name, span.session) for span in receiver.spans] == [
        ("GET /order", "s1"),
        ("GET /boom", "s1"),
        ("GET /slow", "s1"),
    ]
    assert [(log.body, log.session) for log in receiver.logs] == [("order", "s1")]
    assert [(error.type, error.session) for error in receiver.errors] == [
        ("LookupError", "s1"),
        ("blockbuster.blockbuster.BlockingError", "s1"),
    ]
