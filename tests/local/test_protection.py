"""Who may ask what, and that nobody else reaches anything."""

from __future__ import annotations

import json
import re
import secrets

import pytest

from tests.support.local import Local, logs, traces

JSON = "application/json"
INGESTION = ("/v1/traces", "/v1/logs", "/v1/metrics", "/public")
OTHERS = ("/", "/api/state", "/api/logs", "/api/live", "/api/sessions/x/events", "/nothing")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4318", "127.0.0.1.evil.example", "localhost.evil", ""])
@pytest.mark.parametrize("path", ["/api/logs", "/v1/logs", "/"])
def test_another_name_that_points_here_is_not_answered(local, host, path):
    before = local.api("state")["logs"]
    body = logs({"body": "from elsewhere"}) if path == "/v1/logs" else None

    answer = local.request(
        "POST" if body else "GET", path, body, {"Host": host, "Content-Type": "application/x-protobuf"}
    )

    assert answer.status == 421
    assert answer.text.count("\n") == 1
    assert local.api("state")["logs"] == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:4318", "[::1]:4318"])
def test_the_machines_own_names_are_answered(local, host):
    assert local.request("GET", "/api/state", headers={"Host": host}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null", "http://127.0.0.1", "x"])
@pytest.mark.parametrize("path", OTHERS)
def test_pages_of_other_origins_read_nothing(local, path, origin):
    answer = local.request("GET", path, headers={"Origin": origin})

    assert answer.status == 403
    assert answer.header("access-control-allow-origin") is None
    preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    assert local.request("OPTIONS", path, headers=preflight).status == 403


def test_pages_of_other_origins_do_not_even_cause_a_read(local):
    """Without CORS a browser sends no Origin with a GET, but says where it comes from."""
    for site in ("cross-site", "same-site"):
        for mode, dest in (("no-cors", "script"), ("no-cors", "image"), ("navigate", "iframe")):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
            assert local.request("GET", "/", headers=headers).status == 403
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert local.request("GET", "/", headers=link).status == 200
        assert local.request("GET", "/api/logs", headers=link).status == 403
    assert local.request("GET", "/api/logs", headers={"Sec-Fetch-Site": "same-origin"}).status == 200


def test_its_own_pages_read_all(local):
    answer = local.request("GET", "/api/state", headers={"Origin": local.url})

    assert answer.status == 200
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cross-origin-resource-policy") == "same-origin"


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://shop.test", "null"])
@pytest.mark.parametrize("path", INGESTION)
def test_any_page_may_send_what_it_records(local, path, origin):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-highlight-project",
        "Access-Control-Request-Private-Network": "true",
    }
    preflight = local.request("OPTIONS", path, headers=asked)
    assert preflight.status == 204
    assert preflight.header("access-control-allow-headers") == "content-type,x-highlight-project"
    assert preflight.header("access-control-allow-methods") == "POST, OPTIONS"
    assert preflight.header("access-control-allow-private-network") == "true"

    for body, status in ((b"{}", 200), (b"[", 400)):
        answer = local.post(path, body, JSON, Origin=origin, Sec_Fetch_Site="cross-site")
        assert answer.status == status
        for given in (preflight, answer):
            assert given.header("access-control-allow-origin") == origin
            assert given.header("access-control-allow-credentials") == "true"
            assert given.header("vary") == "Origin"


@pytest.mark.parametrize("path", INGESTION)
def test_ingestion_is_not_read(local, path):
    assert local.request("GET", path, headers={"Origin": "http://evil.example"}).status == 405


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    server = Local(tmp_path_factory.mktemp("open"), "--host", "0.0.0.0")
    yield server
    assert server.stop() == 0
    server.check()


def token(server: Local) -> str:
    found = re.search(r"needs the token (\S+) as the header x-highlight-local-token", server.output)
    assert found, server.output
    return found[1]


def test_where_others_reach_it_every_request_needs_the_token(open_server):
    trace = secrets.token_hex(16)
    body = traces({"trace": trace, "span": secrets.token_hex(8)})
    wrong = token(open_server)[:-1] + "!"

    for path in ("/", "/api/state", f"/api/traces/{trace}", "/nothing", "/?token=x"):
        assert open_server.request("GET", path).status == 401
        assert open_server.request("GET", path, headers={"X-Highlight-Local-Token": wrong}).status == 401
        assert open_server.request("GET", path, headers={"Cookie": f"highlight_local_token={wrong}"}).status == 401
        assert (
            open_server.request("GET", path, headers={"Cookie": 'a="b; ;;{x}=1; highlight_local_token'}).status == 401
        )
    assert open_server.post("/v1/traces", body).status == 401
    assert open_server.post("/public", b"{}", JSON).status == 401

    right = {"X-Highlight-Local-Token": token(open_server)}
    assert open_server.request("GET", f"/api/traces/{trace}", headers=right).status == 404
    assert open_server.post("/v1/traces", body, **right).status == 200
    assert json.loads(open_server.request("GET", f"/api/traces/{trace}", headers=right).body)["spans"] == 1
    bearer = {"Authorization": f"Bearer {token(open_server)}"}
    assert open_server.request("GET", "/api/state", headers=bearer).status == 200
    assert open_server.request("GET", "/api/state", headers={**right, "Origin": "http://evil.example"}).status == 403


def test_a_browser_gets_its_cookie_by_a_link(open_server):
    answer = open_server.request("GET", f"//evil.example/?a=b&token={token(open_server)}")

    assert answer.status == 303
    assert answer.header("location") == "/evil.example/?a=b"
    cookie = answer.header("set-cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    given = {"Cookie": f'another="of a program on localhost; {cookie.partition(";")[0]}'}
    assert open_server.request("GET", "/api/state", headers=given).status == 200


def test_a_server_for_this_machine_prints_no_token(local):
    assert local.host == "127.0.0.1"
    assert "token" not in local.output
