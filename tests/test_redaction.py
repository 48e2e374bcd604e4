"""What is taken out of the records, and what looks like it and stays."""

from __future__ import annotations

import base64
import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highlight_autoinstrument import otlp
from highlight_autoinstrument.redaction import Rules
from tests.support.services import wait_until
from tests.support.target import Target

RULES = Rules()

# In each the secret is hunter2, or holds it.
SECRETS = [
    ("postgres://admin:hunter2@db:5432/x", "postgres://REDACTED:REDACTED@db:5432/x"),
    ("https://ghp_hunter2@github.com/a", "https://REDACTED@github.com/a"),
    ("could not connect to amqp://u:p@hunter2@h/v", "could not connect to amqp://REDACTED:REDACTED@h/v"),
    ("amqp://u:pa/hunter2@h/v", "amqp://REDACTED:REDACTED@h/v"),
    ("amqp://u:pa?hunter2@h/v", "amqp://REDACTED:REDACTED@h/v"),
    ("redis://:hunter2@h", "redis://REDACTED:REDACTED@h"),
    ("redis://:hun'ter2@h", "redis://REDACTED:REDACTED@h"),
    ("next=https%3A%2F%2Fu%3Ahunter2%40h%2Fx", "next=https%3A%2F%2FREDACTED%40h%2Fx"),
    ("GET /x?token=hunter2&page=2", "GET /x?token=REDACTED&page=2"),
    ("/x?a=1&pass%77ord=hunter2 HTTP/1.1", "/x?a=1&pass%77ord=REDACTED HTTP/1.1"),
    ("/x?a=1&access_token=hunter2", "/x?a=1&access_token=REDACTED"),
    ("/x?a=1&key=hunter2#top", "/x?a=1&key=REDACTED#top"),
    ("/cb?code=hunter2&state=1", "/cb?code=REDACTED&state=1"),
    ("/x?sig=hunter2", "/x?sig=REDACTED"),
    (
        "/x?X-Amz-Signature=hunter2&X-Amz-Credential=hunter2%2Fx&X-Amz-Security-Token=hunter2",
        "/x?X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED&X-Amz-Security-Token=REDACTED",
    ),
    (
        "/x?AWSAccessKeyId=hunter2&Signature=hunter2&Expires=1",
        "/x?AWSAccessKeyId=REDACTED&Signature=REDACTED&Expires=1",
    ),
    ("/x?X-Goog-Signature=hunter2", "/x?X-Goog-Signature=REDACTED"),
    ("/l?next=%2Fcb%3Ftoken%3Dhunter2%26a%3D1", "/l?next=%2Fcb%3Ftoken%3DREDACTED%26a%3D1"),
    ("/l?user%5Bpassword%5D=hunter2", "/l?user%5Bpassword%5D=REDACTED"),
    ("/l?user[password]=hunter2", "/l?user[password]=REDACTED"),
    ("Authorization: Bearer hunter2", "Authorization: REDACTED"),
    ("Authorization: Basic dTpodW50ZXIy, Host: x", "Authorization: REDACTED, Host: x"),
    ("{'Authorization': 'Basic hunter2=='}", "{'Authorization': 'REDACTED'}"),
    ('{"authorization": "hunter2", "a": 1}', '{"authorization": "REDACTED", "a": 1}'),
    ("[(b'authorization', b'Bearer hunter2'), (b'host', b'h')]", "[(b'authorization', b'REDACTED'), (b'host', b'h')]"),
    ("[(b'cookie', b'a=hunter2; b=hunter2')]", "[(b'cookie', b'REDACTED')]"),
    (
        "Authorization: AWS4-HMAC-SHA256 Credential=hunter2/x, SignedHeaders=host, Signature=hunter2",
        "Authorization: REDACTED",
    ),
    ('Authorization: Digest username="u", response="hunter2"', "Authorization: REDACTED"),
    ("Proxy-Authorization: Basic hunter2", "Proxy-Authorization: REDACTED"),
    ("Cookie: a=b; sid=hunter2; c=d", "Cookie: REDACTED"),
    ('Cookie: a="hunter2"; c=hunter2\nHost: x', "Cookie: REDACTED\nHost: x"),
    ("b'GET / HTTP/1.1\\r\\nCookie: a=hunter2\\r\\nHost: x'", "b'GET / HTTP/1.1\\r\\nCookie: REDACTED\\r\\nHost: x'"),
    ("Set-Cookie: sid=hunter2; Path=/; HttpOnly", "Set-Cookie: REDACTED"),
    ("X-Api-Key: hunter2", "X-Api-Key: REDACTED"),
    ("x-auth-token=hunter2", "x-auth-token=REDACTED"),
    ("login password=hunter2 user=bob", "login password=REDACTED user=bob"),
    ("password: hunter2", "password: REDACTED"),
    ("password: letmein for bob", "password: REDACTED for bob"),
    ("wrong password: hunter2.", "wrong password: REDACTED."),
    ("Invalid password 'hunter2' for bob", "Invalid password 'REDACTED' for bob"),
    ("DB_PASSWORD=hunter2;USER=x", "DB_PASSWORD=REDACTED;USER=x"),
    ("password=hunter,2;x", "password=REDACTED"),
    ("Server=h;Pwd=hunter2;Db=x", "Server=h;Pwd=REDACTED;Db=x"),
    ("AccountKey=hunter2==;EndpointSuffix=x", "AccountKey=REDACTED;EndpointSuffix=x"),
    ("SharedAccessKey=hunter2", "SharedAccessKey=REDACTED"),
    ('{"password": "hunter2", "user": "bob"}', '{"password": "REDACTED", "user": "bob"}'),
    ('{"password":"hun\\"ter2"}', '{"password":"REDACTED"}'),
    ('"{\\"password\\": \\"hunter2\\"}"', '"{\\"password\\": \\"REDACTED\\"}"'),
    ('{"password": 123456}', '{"password": REDACTED}'),
    ("{'password': ['hunter2'], 'u': ['bob']}", "{'password': [REDACTED], 'u': ['bob']}"),
    ("{'clientSecret': 'hunter2'}", "{'clientSecret': 'REDACTED'}"),
    ("User(name='bob', password='hunter2')", "User(name='bob', password='REDACTED')"),
    ("<User password=hunter2>", "<User password=REDACTED>"),
    ("Command '['mysql', '--password', 'hunter2']' failed", "Command '['mysql', '--password', 'REDACTED']' failed"),
    ("mysql --db-password hunter2 -h x", "mysql --db-password REDACTED -h x"),
    ("curl --token=hunter2", "curl --token=REDACTED"),
    ("requests.get(u, auth=('bob', 'hunter2'))", "requests.get(u, auth=(REDACTED))"),
    ("cookies={'sid': 'hunter2'}", "cookies={REDACTED}"),
    ("got Bearer hunter2 here", "got Bearer REDACTED here"),
    ("sent 'Basic Ym9iOmh1bnRlcjI='", "sent 'Basic REDACTED'"),
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2-x bad", "jwt REDACTED bad"),
    ("PHPSESSID=hunter2", "PHPSESSID=REDACTED"),
    ("a=1; connect.sid=hunter2", "a=1; connect.sid=REDACTED"),
    ("a=1; session=hunter2", "a=1; session=REDACTED"),
    ("user=bob pass=hunter2", "user=bob pass=REDACTED"),
    ("token=hunter2", "token=REDACTED"),
    ("token=123456", "token=REDACTED"),
    ("secret: hunter2", "secret: REDACTED"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\nx",
        "-----BEGIN RSA PRIVATE KEY-----REDACTED-----END RSA PRIVATE KEY-----\nx",
    ),
    ("-----BEGIN PRIVATE KEY-----\\nhunter2", "-----BEGIN PRIVATE KEY-----REDACTED"),
    ("PASSWORD=hunter2", "PASSWORD=REDACTED"),
    (
        "Traceback\n  File \"/a.py\", line 1, in f\n    login('bob', password='hunter2')\nE: password=hunter2",
        "Traceback\n  File \"/a.py\", line 1, in f\n    login('bob', password='REDACTED')\nE: password=REDACTED",
    ),
    ("x" * 400 + " amqp://u:hunter2", "x" * 400 + " amqp://REDACTED"),
]

NO_SECRETS = [
    "tokens=5",
    "token=5",
    "max_token=512",
    "token_type=bearer",
    "password_length=8",
    "password_reset=done",
    "secretary=Anna",
    "key=value",
    "cache_key=a",
    "primary_key: 5",
    "code=404",
    "status_code=200",
    "/x?country_code=DE&sort_key=a",
    "monkey=1",
    "author=Bob",
    "authority=x",
    "authenticated=True",
    "auth: failed",
    "auth=basic",
    "password=None",
    "password=''",
    "password: This field is required.",
    "{'password': ['This field is required.']}",
    "{'password': 'This field is required.'}",
    "def f(user: str, password: str) -> None",
    "password=***",
    "password=%(pw)s",
    "password={password}",
    'Unexpected token: "<"',
    "unexpected token: x",
    "cryptography.fernet.InvalidToken: signature mismatch",
    "app.errors.WeakPassword: choose another",
    "InvalidToken: x",
    "token is missing",
    "no password given",
    "Bearer token expired",
    "Basic training is done",
    "http://host:8080/users/me@example.com",
    "https://[::1]:80/a@b",
    "mailto:me@example.com",
    "me@example.com: hi",
    "signature: (a, b)",
    "PWD=/home/u",
    "session=abc",
    "session_id=42",
    "design=3",
    "sid: 5",
    "passed=5 failed=3",
    "bypass=1",
    "compass: north",
    "eyJ",
    "CookieError: Illegal key",
    "cookies: accepted",
    "missing fields: ['password', 'email']",
    "the token (see docs)",
    "assertion failed",
    "sign: +",
    "otp sent",
    "Exception: secret",
    "10:30:15 keyboard: ok",
    "http://a:1,http://b:2/x@y",
    "highlight.session_id=abc",
]


@pytest.mark.parametrize(("text", "shown"), SECRETS, ids=range(len(SECRETS)))
def test_a_secret_is_taken_out_of_a_text_and_nothing_else(text, shown):
    assert RULES.text(text) == shown
    assert RULES.text(shown) == shown


@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_looks_like_a_secret_stays(text):
    assert RULES.text(text) == text


@pytest.mark.parametrize(
    "around", ["{}", "at 12:30: {} (see below)", "{}\nnext line: 7", "\u00fc \u0130 {}", "\U0001f600{}"]
)
def test_a_secret_is_found_wherever_it_stands(around):
    for text, _ in SECRETS[:-1]:  # the last has been cut where it ends
        assert "hunter2" not in RULES.text(around.format(text)), text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("token=hunter2", "token=REDACTED"),
        ("a=1&pass%77ord=hunter2&b=2", "a=1&pass%77ord=REDACTED&b=2"),
        ("user%5Bpassword%5D=hunter2", "user%5Bpassword%5D=REDACTED"),
        ("password=a,hunter2;b'c", "password=REDACTED"),
        ("code=hunter2&key=hunter2&sid=hunter2", "code=REDACTED&key=REDACTED&sid=REDACTED"),
        ("next=%2Fa%3Ftoken%3Dhunter2", "next=%2Fa%3Ftoken%3DREDACTED"),
        ("x=Bearer+hunter2", "x=Bearer+REDACTED"),
        ("TOKEN=hunter2", "TOKEN=REDACTED"),
        ("token=&password", "token=&password"),
        ("page=2&tokens=5&country_code=DE&sort_key=name", "page=2&tokens=5&country_code=DE&sort_key=name"),
        ("&&=&=x&a=b=c", "&&=&=x&a=b=c"),
    ],
)
def test_the_query_of_a_url(query, shown):
    assert RULES.of_key("url.query")(query) == shown


@pytest.mark.parametrize(
    "key",
    [
        *("password", "user.password", "DB_PASSWORD", "accessToken", "access_token", "api-key", "apiKey", "api_key"),
        *("http.request.header.authorization", "http.request.header.cookie", "http.response.header.set-cookie"),
        *("http.request.header.proxy-authorization", "http.request.header.x-api-key", "client_secret", "cookies"),
        *("AWSAccessKeyId", "aws_secret_access_key", "jwt", "otp", "mysql_pwd", "extra.pass", "credentials"),
    ],
)
def test_the_value_of_such_a_key_is_a_secret(key):
    assert RULES.is_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "tokens",
            "token_count",
            "gen_ai.usage.input_tokens",
            "key",
            "code",
            "auth",
            "author",
            "session",
            "session.id",
        ),
        *("messaging.kafka.message.key", "bypass", "passed", "primary_key", "secretary", "signature", "sid"),
        *("highlight.session_id", "highlight.password", "exception.stacktrace", "url.query", "code.function.name"),
    ],
)
def test_the_value_of_such_a_key_is_none(key):
    assert not RULES.is_secret(key)


def sent(values, rules=RULES, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr(otlp, "_rules", rules)
        monkeypatch.setattr(otlp, "_keys", {})
    from opentelemetry.proto.common.v1.common_pb2 import KeyValueList

    from tests.support.records import attributes

    message = KeyValueList()
    message.ParseFromString(otlp.attributes(b"\x0a", values))
    return attributes(message.values)


def test_in_an_attribute_of_any_type():
    assert sent(
        {
            "password": "hunter2",
            "token": 123456,
            "secret": {"a": 1},
            "cookies": ["a=b", "c=d"],
            "otp": 1.5,
            "api_key": b"hunter2",
            "empty_password": "",
            "has_password": True,
            "user": {"name": "bob", "password": "hunter2", "urls": ["http://u:hunter2@h", 7]},
            "headers": [["cookie", "sid=hunter2"], (b"X-API-Key", b"hunter2"), ("host", "h")],
            "fields": ["password", "email"],
            "raw": b"GET /?token=hunter2 HTTP/1.1",
            "a?token=hunter2": 1,
        }
    ) == {
        "password": "REDACTED",
        "token": "REDACTED",
        "secret": "REDACTED",
        "cookies": ["REDACTED"],
        "otp": "REDACTED",
        "api_key": "REDACTED",
        "empty_password": "",
        "has_password": "true",
        "user": {"name": "bob", "password": "REDACTED", "urls": ["http://REDACTED:REDACTED@h", 7]},
        "headers": [["cookie", "REDACTED"], ["X-API-Key", "REDACTED"], ["host", "h"]],
        "fields": ["password", "email"],
        "raw": "GET /?token=REDACTED HTTP/1.1",
        "a?token=REDACTED": 1,
    }


def test_an_id_stays_whatever_it_is():
    ids = {"highlight.session_id": "password=hunter2", "highlight.trace_id": "Bearer hunter2", "highlight.token": "x"}
    assert sent(ids) == ids


def test_structured_frames_stay_json_and_their_code_readable():
    frame = {
        "fileName": "/srv/app.py",
        "lineNumber": 3,
        "functionName": "login",
        "linesBefore": 'TOKEN = "hunter2"\n# don\'t\ntoken = self.token(key="password")\nurl = "http://u:hunter2@h"',
        "lineContent": '    connect("host=db password=hunter2", password=password, auth=("bob", "hunter2"))',
        "linesAfter": 'headers = {"Authorization": "Bearer hunter2", "x": f"{token}"}\nx = "Cookie: a=hunter2"',
        "error": 'E: {"password": "hunter2"} \\\\"',
    }
    text = json.dumps([frame, {**frame, "linesBefore": ""}], separators=(",", ":"))

    shown = RULES.of_key("exception.structured_stacktrace")(text)
    assert "hunter2" not in shown
    first, second = json.loads(shown)
    assert first == {
        **frame,
        "linesBefore": 'TOKEN = "REDACTED"\n# don\'t\ntoken = self.token(key="password")\n'
        'url = "http://REDACTED:REDACTED@h"',
        "lineContent": '    connect("host=db password=REDACTED", password=password, auth=(REDACTED))',
        "linesAfter": 'headers = {"Authorization": "REDACTED", "x": f"{token}"}\nx = "Cookie: REDACTED"',
        "error": 'E: {"password": "REDACTED"} \\\\"',
    }
    assert second == {**first, "linesBefore": ""}


@pytest.mark.parametrize(
    "text", ['[{"a":"password=hunter2', "password=hunter2", '{"password":"hunter2"}', '[1,"token=hunter2"]']
)
def test_structured_frames_that_are_none_are_a_text(text):
    assert "hunter2" not in RULES.of_key("exception.structured_stacktrace")(text)


def test_structured_frames_do_not_grow_beyond_what_is_sent():
    frame = {"linesBefore": "", "error": "?key=a&" * 100}
    shown = RULES.of_key("exception.structured_stacktrace")(json.dumps([frame] * 80, separators=(",", ":")))
    assert 20 < len(json.loads(shown)) < 80
    assert len(shown) < otlp.MAX_TEXT


def test_the_same_frames_with_another_message_are_read_again():
    text = 'Traceback (most recent call last):\n  File "/a.py", line 1, in f\n    f()\nE: {}\n'
    for word in ("fine", "password=hunter2", "fine", "token=hunter2"):
        assert "hunter2" not in RULES.text(text.format(word))
    code = text.replace("f()", 'f(password="hunter2")')
    assert "hunter2" not in RULES.text(code.format("a"))
    assert "hunter2" not in RULES.text(code.format("b"))


HOSTILE = [
    *(
        "password=",
        "password='",
        'password="',
        "password=[",
        "token=(",
        "password = \\",
        "'password': \\\"",
        "a",
        "//",
        "//a:",
    ),
    *(
        "//a:b",
        "//a@",
        "@",
        "eyJ",
        "eyJaaaaaaaa.",
        "_eyJ",
        "Bearer ",
        "Basic aaaa",
        "authorization: a b,",
        "cookie: a=b;",
    ),
    *("?key=", "%26key%3D", "%2F%2Fa", "%252525", "--password ", "('password', '", "-----BEGIN PRIVATE KEY-----"),
    *(
        "api_",
        "access-key-",
        "=",
        ":",
        "'",
        '"',
        "\\",
        " ",
        "\n",
        '  File "',
        "password: This x",
        "{",
        "password={",
        ",a",
        "&",
    ),
    *(
        "password=a,",
        "secret secret '",
        "token_hint",
        "  ",
        'authorization: x y="',
        'password"""',
        "sessionid=;",
        "İ",
        "K=",
    ),
]


def test_a_megabyte_of_anything_takes_a_bounded_time(monkeypatch):
    for rules in (RULES, Rules(["ssn", "card_*", "*mail", "/[0-9]{16}/"])):
        monkeypatch.setattr(otlp, "_rules", rules)
        monkeypatch.setattr(otlp, "_keys", {})
        for part in HOSTILE:
            text = part * (1_000_000 // len(part))
            for key in ("text", "url.query", "exception.structured_stacktrace"):
                began = time.process_time()
                encoded = otlp.attributes(b"\x0a", {key: text})
                assert time.process_time() - began < 2, part  # what takes time by its square takes minutes
                assert len(encoded) <= otlp.MAX_TEXT + 100


TEXT = st.lists(st.sampled_from([*HOSTILE, "hunter2", "Authorization", "x"]) | st.text(max_size=3), max_size=12).map(
    "".join
)


@settings(deadline=None)
@given(TEXT)
def test_any_text_is_read_and_what_has_been_taken_out_is_not_again(text):
    once = RULES.text(text)
    assert RULES.text(once).count("REDACTED") <= 2 * once.count("REDACTED") + 1
    RULES.query(text)
    RULES.structured(text)


def test_any_base64_is_no_password():
    for plain in (b"bob:hunter2", b"no colon"):
        text = f"sent Basic {base64.b64encode(plain).decode()} there"
        assert (RULES.text(text) == text) is (b":" not in plain)


@pytest.mark.parametrize(
    ("entries", "values", "shown"),
    [
        (
            ["ssn", "card_*"],
            {
                "ssn": 1,
                "SSN": "x",
                "card_number": "4",
                "a": "x ssn=hunter2 card_no: hunter2",
                "b": '{"ssn": "hunter2"}',
            },
            {"ssn": "REDACTED", "SSN": "REDACTED", "card_number": "REDACTED"}
            | {"a": "x ssn=REDACTED card_no: REDACTED", "b": '{"ssn": "REDACTED"}'},
        ),
        (
            ["ssn"],
            {"my_ssn": "1", "ssnx": "2", "x": "the ssn is 7", "y": "ssn"},
            {"my_ssn": "1", "ssnx": "2"} | {"x": "the ssn is 7", "y": "REDACTED"},
        ),
        (
            ["/[0-9]{16}/"],
            {"a": "pay 4111111111111111 now", "n": 4111111111111111, "m": 5, "u": {"l": ["4111111111111111"]}},
            {"a": "pay REDACTED now", "n": "REDACTED", "m": 5, "u": {"l": ["REDACTED"]}},
        ),
        (
            ["/MAIL/"],
            {"e-mail": "a@b", "http.method": "MAIL", "x": "by mail"},
            {"e-mail": "REDACTED"} | {"http.method": "REDACTED", "x": "by REDACTED"},
        ),
        (["/x*/"], {"a": "axxb", "x": "y", "b": "none"}, {"a": "aREDACTEDb", "x": "REDACTED", "b": "none"}),
        (
            ["*"],
            {"a": "b", "n": 1, "highlight.session_id": "s"},
            {"a": "REDACTED", "n": "REDACTED"} | {"highlight.session_id": "s"},
        ),
        (
            ["highlight.*", "/highlight/", "/s1/"],
            {"highlight.session_id": "s1", "highlight.trace_id": "highlight", "a": "s1"},
            {"highlight.session_id": "s1", "highlight.trace_id": "highlight", "a": "REDACTED"},
        ),
        (["client.address"], {"client.address": "1.2.3.4"}, {"client.address": "REDACTED"}),
        (
            ["url.query", "exception.structured_stacktrace"],
            {"url.query": "a", "exception.structured_stacktrace": "[]"},
            {"url.query": "REDACTED", "exception.structured_stacktrace": "REDACTED"},
        ),
        (["page"], {"url.query": "page=2&q=1"}, {"url.query": "page=REDACTED&q=1"}),
    ],
    ids=str,
)
def test_what_the_setting_names(monkeypatch, entries, values, shown):
    assert sent(values, Rules(entries), monkeypatch) == shown


# Through the front door: whatever a service does with secrets, none of them is in the bytes that arrive.

SERVICE = r"""
import base64, http.client, json, logging, os, urllib.request
import flask, httpx, requests, structlog
import highlight_autoinstrument as highlight
from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

logging.getLogger("werkzeug").disabled = True
logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
log = logging.getLogger("shop")
app = flask.Flask(__name__)
TARGET = os.environ["TARGET"]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0ZWxsbm9ib2R5In0.tellnobody"
BASIC = base64.b64encode(b"bob:tellnobody").decode()

@app.get("/logs")
def logs():
    log.info("connecting to postgres://bob:tellnobody@db/shop")
    log.info("headers: %s", dict(flask.request.headers))
    log.info("environ: %s", {key: value for key, value in flask.request.environ.items() if isinstance(value, str)})
    log.info("request line: %s", flask.request.full_path)
    log.info(json.dumps({"password": "tellnobody", "user": "bob", "nested": json.dumps({"token": "tellnobody"})}))
    log.info("Authorization: Bearer tellnobody"), log.info("Cookie: a=b; sid=tellnobody"), log.info("got " + JWT)
    log.info("Set-Cookie: sid=tellnobody; Path=/"), log.info("X-Api-Key: tellnobody"), log.info("Basic " + BASIC)
    log.info("login failed: password=tellnobody")
    log.warning("with extras", extra={
        "password": "tellnobody", "url": "redis://:tellnobody@h", "headers": {"Cookie": "tellnobody"},
        "scope": [(b"authorization", b"tellnobody")], "raw": b"token=tellnobody"})
    log.warning("with a stack", stack_info=True, extra={"x": "password=tellnobody"})
    structlog.get_logger().info("in structlog", token="tellnobody", db="postgres://bob:tellnobody@db")
    highlight.log("by hand, secret=tellnobody", "INFO", {"api_key": "tellnobody"})
    highlight.record_incr("logins password=tellnobody", {"url": "http://bob:tellnobody@h", "token": "tellnobody"})
    return "fine"

def connect(url, password):
    raise ConnectionError(f"cannot connect to {url} with password={password!r}")

class Note(Exception):
    pass

@app.get("/raise")
def raising():
    try:
        connect("postgres://bob:tellnobody@db:5432", password="tellnobody")
    except ConnectionError as error:
        failure = Note({"Authorization": "Bearer tellnobody", "cookie": "sid=tellnobody"})
        if hasattr(failure, "add_note"):
            failure.add_note("api_key: tellnobody")
        requests.get(TARGET + "/missing", params={"access_token": "tellnobody"})
        raise failure from error

@app.get("/caught")
def caught():
    try:
        int("token=tellnobody")
    except ValueError:
        log.exception("could not read password=tellnobody")
    return "fine"

@app.get("/spans")
def spans():
    tracer = trace.get_tracer("shop?token=tellnobody")
    link = Link(SpanContext(1, 2, True, TraceFlags(1)), {"url": "http://bob:tellnobody@h"})
    with tracer.start_as_current_span("GET /x?token=tellnobody", links=[link]) as span:
        span.set_attribute("db.connection_string", "Server=db;Password=tellnobody;")
        span.set_attributes({"password": "tellnobody", "list": ["Bearer tellnobody"]})
        span.set_attribute("http.url", "https://bob:tellnobody@h/?sig=tellnobody")
        span.add_event("sent secret=tellnobody", {"cookie": "tellnobody", "text": "Cookie: a=tellnobody"})
        span.set_status(Status(StatusCode.ERROR, "refused: password=tellnobody"))
    return "fine"

@app.get("/calls")
def calls():
    secret = {"Authorization": "Bearer tellnobody", "Cookie": "sid=tellnobody", "X-Api-Key": "tellnobody"}
    inside = TARGET.replace("http://", "http://bob:tellnobody@")
    requests.get(inside + "/a", params={"token": "tellnobody"}, headers=secret)
    httpx.get(inside + "/b?code=tellnobody", headers=secret)
    urllib.request.urlopen(urllib.request.Request(TARGET + "/c?key=tellnobody", headers=secret)).read()
    connection = http.client.HTTPConnection(TARGET.removeprefix("http://"))
    connection.request("GET", "/d?X-Amz-Signature=tellnobody&sig=tellnobody", headers=secret)
    connection.getresponse().read()
    connection.close()
    return "fine"

@app.get("/headers")
def headers():
    answer = flask.Response("fine", content_type="text/plain")
    answer.set_cookie("sid", "tellnobody")
    answer.headers.add("X-Shop", "one"), answer.headers.add("X-Shop", "two")
    return answer

app.run(port=int(os.environ["PORT"]))
"""

SECRET = "tellnobody"
QUERY = f"token={SECRET}&access_token={SECRET}&X-Amz-Signature={SECRET}&sig={SECRET}&pass%77ord={SECRET}&page=2"
HEADERS = {
    "Authorization": f"Bearer {SECRET}",
    "Proxy-Authorization": "Basic " + base64.b64encode(f"bob:{SECRET}".encode()).decode(),
    "Cookie": f"theme=dark; sid={SECRET}",
    "X-Api-Key": SECRET,
    "Referer": f"https://bob:{SECRET}@shop.example/?code={SECRET}",
    "X-Highlight-Request": "session1/request1",
    "Content-Type": "text/plain",
    "X-Trace-Note": "seen",
}
RECORDED = "authorization, proxy-authorization, cookie, set-cookie, x-api-key, Referer, Content-Type"
RECORDED += ", X-Trace-Note, X-Shop, X-No"


def leaks(receiver):
    """Where a secret is in what arrived, in any of the forms in which one was sent."""
    everything = b"".join(receiver.bodies)
    forms = (SECRET, base64.b64encode(f"bob:{SECRET}".encode()).decode(), "eyJzdWIiOiJ0ZWxsbm9ib2R5In0")
    return [
        everything[max(0, match.start() - 60) : match.end() + 10]
        for match in re.finditer("|".join(map(re.escape, forms)).encode(), everything)
    ]


@pytest.fixture
def target():
    server = Target()
    yield server
    server.close()


def test_no_secret_of_a_service_is_in_what_arrives(run_service, receiver, target):
    service = run_service(
        "python app.py",
        files={"app.py": SERVICE},
        env={"TARGET": target.url, "HIGHLIGHT_RECORD_HEADERS": RECORDED},
    )
    for path, status in (
        ("/logs", 200),
        ("/raise", 500),
        ("/caught", 200),
        ("/spans", 200),
        ("/calls", 200),
        ("/headers", 200),
    ):
        assert service.get(f"{path}?{QUERY}", HEADERS).status == status
    # The requests, the calls, and one by OpenTelemetry's API.
    receiver.wait(spans=12, errors=2)
    wait_until(lambda: receiver.metrics, what="for the metrics")

    assert leaks(receiver) == []
    assert {span.session for span in receiver.spans} == {"session1"}
    served = {span.name: span.attributes for span in receiver.spans if span.kind == "SERVER"}
    assert list(served) == ["GET /logs", "GET /raise", "GET /caught", "GET /spans", "GET /calls", "GET /headers"]
    assert {attributes["url.query"] for attributes in served.values()} == {QUERY.replace(SECRET, "REDACTED")}
    recorded = {key: value for key, value in served["GET /headers"].items() if ".header." in key}
    assert recorded == {
        "http.request.header.authorization": ["REDACTED"],
        "http.request.header.proxy-authorization": ["REDACTED"],
        "http.request.header.cookie": ["REDACTED"],
        "http.request.header.x-api-key": ["REDACTED"],
        "http.request.header.referer": ["https://REDACTED:REDACTED@shop.example/?code=REDACTED"],
        "http.request.header.content-type": ["text/plain"],
        "http.request.header.x-trace-note": ["seen"],
        "http.response.header.set-cookie": ["REDACTED"],
        "http.response.header.content-type": ["text/plain"],
        "http.response.header.x-shop": ["one", "two"],
    }
    (span,) = (span for span in receiver.spans if span.kind == "INTERNAL")
    assert (span.name, span.status_message) == ("GET /x?token=REDACTED", "refused: password=REDACTED")
    assert [(event.name, event.attributes) for event in span.events] == [
        ("sent secret=REDACTED", {"cookie": "REDACTED", "text": "Cookie: REDACTED"})
    ]
    assert [link["attributes"] for link in span.links] == [{"url": "http://REDACTED:REDACTED@h"}]
    bodies = [log.body for log in receiver.logs]
    assert "connecting to postgres://REDACTED:REDACTED@db/shop" in bodies
    assert "login failed: password=REDACTED" in bodies
    assert [(metric.name, metric.points[0][0]) for metric in receiver.metrics] == [
        ("logins password=REDACTED", {"url": "http://REDACTED:REDACTED@h", "token": "REDACTED"})
    ]
    assert [error.type for error in receiver.errors] == ["__main__.Note", "ValueError"]
    assert 'connect("postgres://REDACTED:REDACTED@db:5432", password="REDACTED")' in receiver.errors[0].stacktrace
    # What called the target has its secrets: only what is recorded is without them.
    assert all(SECRET in seen.head.decode() for seen in target.seen)


PROVIDER = r"""
import highlight_autoinstrument as highlight
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
with highlight.trace("work", session_secure_id="session1"):
    with trace.get_tracer("x").start_as_current_span("theirs token=tellnobody") as span:
        span.set_attribute("http.url", "https://bob:tellnobody@h")
        span.set_attribute("ssn", "tellnobody")
        try:
            raise ValueError("password=tellnobody")
        except ValueError as error:
            span.record_exception(error)
        repaired = {"exception.message": "cookie: tellnobody", "exception.stacktrace": "token=tellnobody"}
        span.add_event("exception", repaired)
        span.set_status(trace.Status(trace.StatusCode.ERROR, "secret=tellnobody"))
"""


def test_the_spans_of_an_applications_own_opentelemetry_hold_none_either(run_python, receiver):
    done = run_python(
        PROVIDER,
        env={
            "HIGHLIGHT_REDACT": "ssn, /(/, /sess.*/",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.url=http://bob:tellnobody@h,db.password=tellnobody,ssn=tellnobody",
        },
    )

    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("highlight: HIGHLIGHT_REDACT: '/(/' is not a regular expression: missing )")
    assert line.endswith("; it is ignored, the others are used")
    receiver.wait(spans=2, errors=2)
    assert leaks(receiver) == []
    assert {span.session for span in receiver.spans} == {"session1"}
    assert [span.name for span in receiver.spans] == ["work", "theirs token=REDACTED"]
    resource = receiver.spans[0].resource
    assert (resource["deployment.url"], resource["db.password"]) == ("http://REDACTED:REDACTED@h", "REDACTED")


LONG = r"""
import logging
logging.basicConfig(handlers=[logging.NullHandler()])
import highlight_autoinstrument as highlight
from opentelemetry import trace

with highlight.trace("work", session_secure_id="session1") as span:
    logging.error("é" * 1_000_000 + " password=tellnobody")
    many = {"x": "x" * 1_000_000, "y": {"z": ["y" * 1_000_000] * 1000}}
    logging.error("amqp://bob:tellnobody@h " * 100_000, extra=many)
    span.set_attribute("long", "token=tellnobody&" * 100_000)
    trace.get_current_span().update_name("n" * 1_000_000)
    try:
        raise ValueError("m" * 1_000_000 + " password=tellnobody")
    except ValueError as error:
        highlight.record_exception(error)
assert highlight.flush(60)
"""


def test_enormous_texts_are_cut(run_python, receiver):
    done = run_python(LONG)

    assert (done.returncode, done.stderr) == (0, "")
    receiver.wait(spans=1, logs=2, errors=1)
    assert leaks(receiver) == []
    assert [len(log.body.encode()) for log in receiver.logs] == [65_536, len(receiver.logs[1].body.encode())]
    assert all(len(log.body.encode()) <= 65_536 for log in receiver.logs)
    (span,) = receiver.spans
    assert len(span.name) <= 65_536
    assert len(span.attributes["long"]) <= 65_536
    (error,) = receiver.errors
    assert (error.message, len(error.stacktrace) <= 65_536) == ("m" * 10_000, True)
    assert sum(map(len, receiver.bodies)) < 8_000_000
