"""An application under `highlight-run` that sends to `highlight-local`: what its developer sees there."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.support.services import Service, wait_until

APPLICATION = """
import logging
import flask
import requests

app = flask.Flask(__name__)
log = logging.getLogger("shop")

@app.get("/cart/<int:number>")
def cart(number):
    log.warning("looking for cart %s", number)
    return pay(number)

def pay(number):
    raise LookupError(f"no cart {number}")

@app.get("/front")
def front():
    answer = requests.get(f"http://127.0.0.1:{flask.request.environ['SERVER_PORT']}/cart/7")
    return str(answer.status_code)

if __name__ == "__main__":
    import os
    app.run(port=int(os.environ["PORT"]), threaded=True)
"""


@pytest.fixture
def shop(local, tmp_path):
    service = Service(
        ["python", "app.py"], files={"app.py": APPLICATION}, folder=tmp_path, endpoint=local.url, name="shop"
    )
    yield service
    service.kill()
    service.check()


def test_an_error_is_found_with_its_request_logs_and_session(local, shop):
    session, request = secrets.token_hex(14), "Abcdefghij"
    recorded = {"id": request, "url": f"{shop.url}/front", "verb": "GET"}
    resources = {"resources": [{"initiatorType": "fetch", "requestResponsePairs": {"request": recorded}}]}
    events = [{"type": 2, "timestamp": 1, "data": {}}, {"type": 3, "timestamp": 4_000_000_000_000, "data": {}}]
    payload = {"events": {"events": events}, "resources": json.dumps(resources)}
    assert local.push(session, 1, payload).status == 200

    assert shop.get("/front", {"X-Highlight-Request": f"{session}/{request}"}).text == "500"

    wait_until(lambda: local.api(f"sessions/{session}/errors")["items"], what="for the error")
    wait_until(lambda: len(local.api(f"traces?session={session}")["items"]) == 1, what="for the trace")
    (trace,) = local.api(f"traces?session={session}")["items"]
    wait_until(lambda: local.api(f"traces/{trace['trace_id']}")["spans"] == 3, what="for all spans")

    (group,) = local.api(f"errors?session={session}")["items"]
    assert (group["type"], group["message"], group["count"]) == ("LookupError", "no cart 7", 1)
    assert (group["file"], group["function"], group["services"]) == (str(shop.folder / "app.py"), "pay", ["shop"])
    error = local.api(f"error/{group['latest']}")
    assert error["session_id"] == session
    assert error["frames"][0]["source"] == 'raise LookupError(f"no cart {number}")'
    assert [frame["function"] for frame in error["frames"] if frame["own"]] == ["pay", "cart"]
    assert error["request"]["name"] == "GET /front"
    assert error["span"]["name"] == "GET /cart/<int:number>"
    assert "looking for cart 7" in [log["body"] for log in error["logs"]]
    assert error["moment"]["recorded"]
    assert error["resource"]["service.name"] == "shop"

    found = local.api(f"traces/{trace['trace_id']}")
    assert (found["name"], found["service"], found["failed"] > 0) == ("GET /front", "shop", True)
    assert [(span["kind"], span["parent_id"] is None) for span in found["items"]] == [
        ("server", True),
        ("client", False),
        ("server", False),
    ]
    assert [one["url"] for one in found["requests"]] == [f"{shop.url}/front"]
    (request_row,) = local.api(f"sessions/{session}/network")["items"]
    assert request_row["traces"] == [trace["trace_id"]]
    assert [one["id"] for one in request_row["errors"]] == [error["id"]]
    assert request_row["logs"] >= 1
    assert "shop" in local.api("services")["items"]
