"""What the browser client sends, as its published versions 9 and 10 do, and what is there of it afterwards."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import zlib

import pytest

from tests.support.local import logs, packed, traceback, traces

NOW = 1_700_000_000_000  # ms
JSON = "application/json"


def session() -> str:
    return secrets.token_hex(14)


def start(local, name, **more):
    variables = {
        "session_secure_id": name,
        "session_key": None,
        "organization_verbose_id": "1",
        "enable_strict_privacy": False,
        "privacy_setting": "default",
        "enable_recording_network_contents": True,
        "clientVersion": "9.28.0",
        "firstloadVersion": "9.28.0",
        "clientConfig": "{}",
        "environment": "development",
        "id": "client1",
        "appVersion": "1.2",
        "serviceName": "shop-web",
        "client_id": "client1",
        "network_recording_domains": [],
        **more,
    }
    return local.graphql("initializeSession", variables, User_Agent="Firefox", Origin="http://localhost:3000")


def event(at: int, kind: int = 3, **data: object) -> dict[str, object]:
    return {"type": kind, "timestamp": NOW + at, "data": data, "_sid": at}


def resource(at: int, request_id: str, **headers: str) -> dict[str, object]:
    request = {"id": request_id, "url": "http://localhost:8000/cart", "verb": "POST", "headers": headers, "body": "{}"}
    return {
        "initiatorType": "fetch",
        "name": "http://localhost:8000/cart",
        "startTimeAbs": NOW + at + 0.5,
        "responseEndAbs": NOW + at + 100.5,
        "requestResponsePairs": {
            "request": {"sessionSecureID": "x", **request},
            "response": {"status": 500, "headers": {}, "body": "no"},
            "urlBlocked": False,
        },
    }


def payload(**parts: object) -> dict[str, object]:
    return {
        "session_secure_id": "ignored",
        "payload_id": "ignored",
        "events": {"events": parts.get("events", [])},
        "messages": json.dumps({"messages": parts.get("messages", [])}),
        "resources": json.dumps({"resources": parts.get("resources", [])}),
        "web_socket_events": json.dumps({"webSocketEvents": parts.get("sockets", [])}),
        "errors": parts.get("errors", []),
        "is_beacon": False,
        "has_session_unloaded": False,
    }


def test_a_session_begins_and_learns_who_its_user_is(local):
    name = session()

    answer = start(local, name)

    assert json.loads(answer.body) == {
        "data": {"initializeSession": {"secure_id": name, "project_id": "1", "sampling": {"spans": [], "logs": []}}}
    }
    user = {"user_identifier": "ann@shop.test", "user_object": {"plan": "gold", "old": None}}
    assert json.loads(local.graphql("identifySession", {"session_secure_id": name, **user}).body) == {
        "data": {"identifySession": name}
    }
    for properties in ({"visited-url": "http://localhost:3000/a"}, {"referrer": "x"}, None):
        variables = {"session_secure_id": name, "properties_object": properties}
        assert json.loads(local.graphql("addSessionProperties", variables).body) == {
            "data": {"addSessionProperties": name}
        }
    feedback = {"session_secure_id": name, "verbatim": "slow!", "timestamp": "2026-01-01T00:00:00Z"}
    assert json.loads(local.graphql("addSessionFeedback", feedback).body) == {"data": {"addSessionFeedback": name}}

    found = local.api(f"sessions/{name}")
    assert found.pop("first") <= found.pop("last")
    assert [page.pop("time") > 0 for page in found["pages"]] == [True]
    assert found == {
        "id": name,
        "service": "shop-web",
        "environment": "development",
        "version": "1.2",
        "user_agent": "Firefox",
        "client_id": "client1",
        "user_identifier": "ann@shop.test",
        "user": {"plan": "gold"},
        "properties": {"visited-url": "http://localhost:3000/a", "referrer": "x", "feedback": "slow!"},
        "events": 0,
        "errors": 0,
        "network": 0,
        "pages": [{"url": "http://localhost:3000/a"}],
        "url": "http://localhost:3000/a",
        "replay": None,
    }


@pytest.mark.parametrize("operation", ["PushSessionEvents", "PushPayloadCompressed", "PushPayload"])
def test_what_was_recorded_is_there_once(local, operation):
    name = session()
    start(local, name)
    recorded = payload(
        events=[event(0, 4, href="http://localhost:3000/cart"), event(5, 2, node={"id": 1}), event(9), None],
        messages=[
            {"type": "error", "time": NOW + 7, "value": ['"it broke"', '{"a":1}'], "trace": [{"fileName": "a.js"}]},
            {"type": "log", "time": NOW + 8, "value": ["fine"]},
        ],
        resources=[resource(3, "abcdefghij")],
        sockets=[{"socketId": "s", "type": "sent", "name": "ws://localhost/ws", "timeStamp": NOW + 6, "message": "hi"}],
        errors=[
            {
                "event": '"TypeError: x is undefined"',
                "type": "window.onerror",
                "url": "http://localhost:3000/cart",
                "source": "a.js",
                "lineNumber": 3,
                "columnNumber": 4,
                "timestamp": "2023-11-14T22:13:20.004Z",
                "stackTrace": [
                    {"functionName": "inner", "fileName": "http://localhost:3000/node_modules/r.js", "lineNumber": 1},
                    {"functionName": "pay", "fileName": "http://localhost:3000/src/cart.js", "lineNumber": 30},
                ],
                "id": secrets.token_hex(8),
            }
        ],
    )
    variables = {"session_secure_id": name, "payload_id": "1700000000001"}
    variables |= recorded if operation == "PushPayload" else {"data": packed(recorded)}
    variables |= {"session_secure_id": name, "payload_id": "1700000000001"}

    field = operation[0].lower() + operation[1:]
    for _ in range(2):  # the client sends again what was not answered in time
        answer = json.loads(local.graphql(operation, variables).body)
        assert answer == {"data": {field: 0 if operation == "PushPayload" else None}}

    found = local.api(f"sessions/{name}")
    assert (found["events"], found["errors"], found["network"]) == (3, 1, 2)
    assert found["pages"] == [{"time": NOW, "url": "http://localhost:3000/cart"}]
    assert found["replay"] == {"first": NOW, "last": NOW + 9}
    answer = local.request("GET", f"/api/sessions/{name}/events")
    assert json.loads(answer.body) == [one for one in recorded["events"]["events"] if one]

    console = local.api(f"logs?session={name}")["items"]
    assert [(log["severity"], log["body"], log["service"], log["time"]) for log in console] == [
        ("INFO", "fine", "shop-web", NOW + 8),
        ("ERROR", 'it broke {"a":1}', "shop-web", NOW + 7),
    ]
    requests = local.api(f"sessions/{name}/network")["items"]
    assert [(r["kind"], r["method"], r["status"], r["start"], r["duration"], r["request_id"]) for r in requests] == [
        ("fetch", "POST", 500, NOW + 3.5, 100.0, "abcdefghij"),
        ("websocket message", "", None, NOW + 6, 0.0, None),
    ]
    (error,) = local.api(f"sessions/{name}/errors")["items"]
    assert (error["service"], error["source"]) == ("shop-web", "browser")
    assert (error["type"], error["message"], error["time"]) == ("TypeError", "x is undefined", NOW + 4)
    assert (error["file"], error["line"], error["function"]) == ("http://localhost:3000/src/cart.js", 30, "pay")
    assert local.api(f"error/{error['id']}")["moment"] == {"offset": 4.0, "recorded": True}


def test_a_page_that_is_told_again_is_the_same_page(local):
    name, there, elsewhere = session(), "http://localhost:3000/a", "http://localhost:3000/b"
    start(local, name)
    told = [(0, there), (500, there), (900, elsewhere), (1000, there), (1100, there)]
    events = [event(at, 5, tag="Navigate", payload=url) for at, url in told]
    local.push(name, 1, payload(events=[event(1, 4, href=there), *events[:2]]))
    local.push(name, 2, payload(events=events[2:]))

    found = local.api(f"sessions/{name}")

    assert [(page["time"] - NOW, page["url"]) for page in found["pages"]] == [
        (0, there),
        (900, elsewhere),
        (1000, there),
    ]
    (listed,) = local.api(f"sessions?text={name}")["items"]
    assert listed["pages"] == 3


def test_of_what_the_client_tells_without_words_there_are_some(local):
    name = session()
    recorded = payload(
        messages=[
            {"type": "warn", "time": NOW, "value": [], "attributes": '{"only":"an object"}'},
            {"type": "warn", "time": NOW + 1, "value": ["text"], "attributes": '{"and":"an object"}'},
            {"type": "warn", "time": NOW + 2, "value": [], "attributes": "{}"},
        ],
        errors=[
            {"event": '"rejected"', "type": "window.onerror", "timestamp": NOW + 1},
            {"event": "reported", "type": "custom", "timestamp": NOW + 2},
            {"event": "ErrorBoundary: rendered", "type": "React.ErrorBoundary", "timestamp": NOW + 3},
        ],
    )

    assert local.push(name, 1, recorded).status == 200

    logs_ = reversed(local.api(f"logs?session={name}")["items"])
    assert [(log["body"], log["attributes"].get("console.attributes")) for log in logs_] == [
        ('{"only":"an object"}', '{"only":"an object"}'),
        ("text", '{"and":"an object"}'),
        ("", None),
    ]
    errors = local.api(f"sessions/{name}/errors")["items"]
    assert sorted((error["type"], error["message"]) for error in errors) == [
        ("Error", "rejected"),
        ("Error", "reported"),
        ("React.ErrorBoundary", "ErrorBoundary: rendered"),
    ]


def test_the_console_and_each_request_are_asked_for_alone(local):
    name, other = session(), session()
    said = [{"type": "log", "time": NOW + at, "value": [f'"{at}"']} for at in (5, 3, 1, 4)]
    local.push(name, 1, payload(messages=said, resources=[resource(0, "one"), resource(9, "two")]))
    local.push(other, 1, payload(messages=said[:1], resources=[resource(0, "other")]))
    local.post("/v1/logs", logs({"body": "not the browser's", "attributes": {"highlight.session_id": name}}))

    first = local.api(f"sessions/{name}/console?limit=3")
    rest = local.api(f"sessions/{name}/console?limit=3&cursor={first['next']}")
    assert [log["body"] for log in first["items"] + rest["items"]] == ["1", "3", "4", "5"]
    assert rest["next"] is None

    items = local.api(f"sessions/{name}/network")["items"]
    assert sorted(items[0]) == sorted(
        ["duration", "errors", "id", "kind", "logs", "method", "request_id", "start", "status", "traces", "url"]
    )
    for item, (at, request_id) in zip(items, ((0, "one"), (9, "two")), strict=True):
        found = local.api(f"sessions/{name}/network/{item['id']}")
        assert found == {"id": item["id"], "data": resource(at, request_id)}
        assert local.request("GET", f"/api/sessions/{other}/network/{item['id']}").status == 404
    assert local.request("GET", f"/api/sessions/{name}/network/{1 << 63}").status == 404


def test_payloads_are_replayed_in_their_order_and_followed(local):
    name = session()
    for number, at in ((2, 2000), (1, 0), (3, 4000)):
        local.push(name, number, payload(events=[event(at + 1), event(at + 2)]))

    answer = local.request("GET", f"/api/sessions/{name}/events")
    assert [one["timestamp"] - NOW for one in json.loads(answer.body)] == [1, 2, 2001, 2002, 4001, 4002]
    last = answer.header("x-last-chunk")
    assert local.api(f"sessions/{name}/events?since={last}") == []
    local.push(name, 4, payload(events=[event(6000)]))
    assert [one["timestamp"] - NOW for one in local.api(f"sessions/{name}/events?since={last}")] == [6000]
    assert local.api(f"sessions/{session()}/events") == []


TRACEPARENT, REQUEST, TRACE = "its header names the trace", "highlight.request_id", "highlight.trace_id"


@pytest.mark.parametrize(
    ("request_is", "known_by"),
    [
        ("the trace", [TRACEPARENT, REQUEST, TRACE]),  # fetch
        ("another", [TRACEPARENT, REQUEST]),  # XMLHttpRequest
        ("another", [TRACEPARENT]),
        ("another", [REQUEST]),
        ("another", [TRACE]),  # an SDK of Highlight's, or no traceparent
        ("the trace", []),
    ],
)
def test_a_request_of_the_browser_leads_to_what_happened_behind_it(local, request_is, known_by):
    name, trace, other = session(), secrets.token_hex(16), secrets.token_hex(16)
    request = trace if request_is == "the trace" else secrets.token_hex(5)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"} if TRACEPARENT in known_by else {}
    values = {"highlight.session_id": name, **dict.fromkeys([by for by in known_by if by != TRACEPARENT], request)}
    failed = ("exception", traceback("shop.Broke", "behind it"))
    span = {"trace": trace, "span": secrets.token_hex(8), "attributes": values, "events": [failed], "status": 2}
    beside = {"trace": other, "span": secrets.token_hex(8), "attributes": {"highlight.session_id": name}}
    local.push(name, 1, payload(resources=[resource(0, request, **headers), resource(50, "another")]))
    local.post("/v1/traces", traces(span, beside))
    local.post("/v1/logs", logs({"body": "told", "trace": trace, "attributes": values}))

    found = local.api(f"sessions/{name}/network")["items"]

    assert [(item["traces"], [e["message"] for e in item["errors"]], item["logs"]) for item in found] == [
        ([trace], ["behind it"], 1),
        ([], [], 0),
    ]
    assert [item["url"] for item in local.api(f"traces/{trace}")["requests"]] == ["http://localhost:8000/cart"]
    assert local.api(f"traces/{other}")["requests"] == []


def test_what_is_awaited_of_launchdarklys_client_is_answered(local):
    body = {"query": "query GetSamplingConfig($organization_verbose_id: String!) { sampling }", "variables": {}}
    for asked in (body, {**body, "operationName": "GetSamplingConfig"}):
        answer = local.post("/public", json.dumps(asked).encode(), JSON)
        assert json.loads(answer.body) == {"data": {"sampling": {"spans": [], "logs": []}}}
    metrics = [{"name": "LCP", "value": 1.5, "session_secure_id": "x", "timestamp": "2026-01-01T00:00:00Z"}]
    assert json.loads(local.graphql("pushMetrics", {"metrics": metrics}).body) == {"data": {"pushMetrics": 1}}


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { name } } }",
        "query IntrospectionQuery { __schema { types { name } } }",
        "mutation x { y }",
        "",
    ],
)
def test_other_operations_get_an_error_and_tell_nothing(local, query):
    answer = local.post("/public", json.dumps({"query": query}).encode(), JSON)

    assert answer.status == 200
    (error,) = json.loads(answer.body)["errors"]
    assert error["message"].startswith("no such operation: ")


GOOD = {"session_secure_id": "badsession", "payload_id": "1"}
DEEP = "[" * 300 + "]" * 300
BAD = {
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "variables that are none": {"operationName": "initializeSession", "variables": [1]},
    "no session": ("initializeSession", {}),
    "a session that is none": ("initializeSession", {"session_secure_id": {"a": 1}}),
    "a session of control characters": ("initializeSession", {"session_secure_id": "a\n"}),
    "a session called null": ("initializeSession", {"session_secure_id": "null"}),
    "a long session": ("initializeSession", {"session_secure_id": "x" * 1000}),
    "a service that is none": ("initializeSession", {**GOOD, "serviceName": 1}),
    "a user that is none": ("identifySession", {**GOOD, "user_identifier": ["a"]}),
    "properties that are none": ("addSessionProperties", {**GOOD, "properties_object": "x"}),
    "metrics that are none": ("pushMetrics", {"metrics": {}}),
    "no data": ("PushSessionEvents", GOOD),
    "data that are none": ("PushSessionEvents", {**GOOD, "data": 1}),
    "no base64": ("PushSessionEvents", {**GOOD, "data": "%%%"}),
    "no gzip": ("PushSessionEvents", {**GOOD, "data": base64.b64encode(zlib.compress(b"{}")).decode()}),
    "no JSON in it": ("PushSessionEvents", {**GOOD, "data": base64.b64encode(gzip.compress(b"{")).decode()}),
    "a list in it": ("PushSessionEvents", {**GOOD, "data": packed([1])}),
    "events that are none": ("PushSessionEvents", {**GOOD, "data": packed(payload(events=[1]))}),
    "events without a time": ("PushSessionEvents", {**GOOD, "data": packed(payload(events=[{"type": 1}]))}),
    "events of no time": ("PushSessionEvents", {**GOOD, "data": packed(payload(events=[event(-(10**15))]))}),
    "events of a far time": ("PushSessionEvents", {**GOOD, "data": packed(payload(events=[event(10**300)]))}),
    "deep events": ("PushSessionEvents", {**GOOD, "data": packed(payload(events=[event(1, a=json.loads(DEEP))]))}),
    "deep messages": ("PushSessionEvents", {**GOOD, "data": packed({**payload(), "messages": DEEP})}),
    "messages that are none": ("PushSessionEvents", {**GOOD, "data": packed({**payload(), "messages": [1]})}),
    "resources that are none": ("PushSessionEvents", {**GOOD, "data": packed({**payload(), "resources": "7"})}),
    "a resource that is none": ("PushSessionEvents", {**GOOD, "data": packed(payload(resources=["x"]))}),
    "a request that is none": (
        "PushSessionEvents",
        {**GOOD, "data": packed(payload(resources=[{"requestResponsePairs": 7}]))},
    ),
    "errors that are none": ("PushSessionEvents", {**GOOD, "data": packed(payload(errors=["x"]))}),
    "no payload id": ("PushSessionEvents", {**GOOD, "payload_id": None, "data": packed(payload())}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_client_never_sends_is_refused_in_one_line_and_leaves_nothing(local, name):
    given = BAD[name]
    if isinstance(given, tuple):
        given = {"operationName": given[0], "variables": given[1]}
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    before = local.api("state")

    answer = local.post("/public", body, JSON)

    assert answer.status == 400
    (error,) = json.loads(answer.body)["errors"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 100
    assert {**local.api("state"), "bytes": 0} == {**before, "bytes": 0}
    assert local.request("GET", "/api/sessions/badsession").status == 404


def test_a_bomb_in_the_data_is_refused(local):
    data = base64.b64encode(gzip.compress(b"\0" * (65 * 1024 * 1024))).decode()

    assert local.graphql("PushSessionEvents", {**GOOD, "data": data}).status == 413


def test_strange_but_valid_values_are_kept_as_they_can_be(local):
    name = session()
    odd = resource(0, "x" * 300)
    odd["startTimeAbs"] = "soon"
    odd["requestResponsePairs"]["response"] = {"status": "none"}
    odd["requestResponsePairs"]["request"]["headers"] = {"TraceParent": "nonsense"}
    recorded = payload(
        events=[event(1, 5, tag="Navigate", payload={"no": "text"}), event(2.5, 3, text="\ud800 \0")],
        messages=[{"type": None, "value": [None, 3, '"', "\ud800"]}, {}],
        resources=[odd, {}],
        errors=[{"event": None, "timestamp": "never"}, {"event": '["a","b"]', "stackTrace": [None, {}]}],
    )

    assert local.push(name, "\ud800", recorded).status == 200

    assert len(local.api(f"sessions/{name}/events")) == 2
    assert [log["body"] for log in local.api(f"logs?session={name}")["items"]] == ["", '3 " ?']
    assert [r["status"] for r in local.api(f"sessions/{name}/network")["items"]] == [None, None]
    errors = local.api(f"sessions/{name}/errors")["items"]
    assert sorted((e["type"], e["message"]) for e in errors) == [("Error", ""), ("Error", "a b")]
