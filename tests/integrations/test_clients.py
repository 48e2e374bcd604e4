"""What each HTTP client has of its own: proxies, tunnels, pools, retries, logins, streams."""

from __future__ import annotations

import json
import ssl
import subprocess

import pytest

from tests.support.target import Target

APP = """
import asyncio, http.client, inspect, json, logging, os, urllib.request, warnings
import aiohttp, httpx, requests, urllib3
from flask import Flask, request
from requests.auth import HTTPDigestAuth

warnings.simplefilter("ignore")  # of certificates that nobody looks at
app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
logging.getLogger("urllib3").disabled = True
TARGET, PROXY = os.environ["TARGET"], os.environ["PROXY"]
DESTINATION = TARGET.split("//")[1]
session = requests.Session()
session.trust_env = False
pool = urllib3.PoolManager(cert_reqs="CERT_NONE")
client = httpx.Client(trust_env=False, verify=False)
VIA = {"proxy" if "proxy" in inspect.signature(httpx.Client).parameters else "proxies": PROXY}  # as before 0.26
connection = http.client.HTTPConnection(DESTINATION)

def pieces():
    yield b"one"
    yield b"two"

async def async_pieces():
    for piece in pieces():
        yield piece

def in_httpx(use, **options):
    async def main():
        async with httpx.AsyncClient(trust_env=False, verify=False, **options) as client:
            return await use(client)
    return asyncio.run(main())

async def in_aiohttp(method, path, **options):
    async with aiohttp.ClientSession() as session, session.request(method, TARGET + path, **options) as response:
        return response.status, (await response.read()).decode()

def through(connection, target):
    connection.request("GET", target)
    response = connection.getresponse()
    response.read()
    return response.status

class Proxied:
    def http_client(): return through(http.client.HTTPConnection(PROXY.split("//")[1]), TARGET + "/fine")
    def urllib():
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": PROXY}))
        with opener.open(TARGET + "/fine") as response:
            return response.status
    def urllib3(): return globals()["urllib3"].ProxyManager(PROXY).request("GET", TARGET + "/fine").status
    def requests(): return session.get(TARGET + "/fine", proxies={"http": PROXY}).status_code
    def httpx(): return globals()["httpx"].get(TARGET + "/fine", **VIA).status_code
    def httpx_async(): return in_httpx(lambda client: client.get(TARGET + "/fine"), **VIA).status_code
    def aiohttp(): return asyncio.run(in_aiohttp("GET", "/fine", proxy=PROXY))[0]

class Tunnelled:
    def http_client():
        context = __import__("ssl")._create_unverified_context()
        connection = http.client.HTTPSConnection(PROXY.split("//")[1], context=context)
        connection.set_tunnel("127.0.0.1", int(DESTINATION.split(":")[1]))
        return through(connection, "/fine")
    def urllib3():
        return globals()["urllib3"].ProxyManager(PROXY, cert_reqs="CERT_NONE").request("GET", TARGET + "/fine").status
    def requests(): return session.get(TARGET + "/fine", proxies={"https": PROXY}, verify=False).status_code
    def httpx(): return globals()["httpx"].get(TARGET + "/fine", **VIA, verify=False).status_code
    def httpx_async(): return in_httpx(lambda client: client.get(TARGET + "/fine"), **VIA).status_code
    def aiohttp(): return asyncio.run(in_aiohttp("GET", "/fine", proxy=PROXY, ssl=False))[0]

class Uploading:
    def http_client():
        connection.request("POST", "/fine", pieces(), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        response = connection.getresponse()
        response.read()
        return response.status
    def urllib():
        with urllib.request.urlopen(urllib.request.Request(TARGET + "/fine", pieces())) as response:
            return response.status
    def urllib3(): return pool.request("POST", TARGET + "/fine", body=pieces()).status
    def requests(): return session.post(TARGET + "/fine", data=pieces()).status_code
    def httpx(): return client.post(TARGET + "/fine", content=pieces()).status_code
    def httpx_async(): return in_httpx(lambda client: client.post(TARGET + "/fine", content=async_pieces())).status_code
    def aiohttp(): return asyncio.run(in_aiohttp("POST", "/fine", data=async_pieces()))[0]

class Downloading:
    def http_client():
        connection.request("GET", "/stream")
        return connection.getresponse().read().decode()
    def urllib(): return b"".join(urllib.request.urlopen(TARGET + "/stream")).decode()
    def urllib3():
        response = pool.request("GET", TARGET + "/stream", preload_content=False)
        return b"".join(response.stream()).decode()
    def requests(): return b"".join(session.get(TARGET + "/stream", stream=True).iter_content(2)).decode()
    def httpx():
        with client.stream("GET", TARGET + "/stream") as response:
            return b"".join(response.iter_bytes()).decode()
    def httpx_async():
        async def use(client):
            async with client.stream("GET", TARGET + "/stream") as response:
                return b"".join([piece async for piece in response.aiter_bytes()]).decode()
        return in_httpx(use)
    def aiohttp(): return asyncio.run(in_aiohttp("GET", "/stream"))[1]

class Pooled:
    def http_client(): return through(connection, "/fine")
    def urllib3(): return pool.request("GET", TARGET + "/fine").status
    def urllib3_pool(): return pool.connection_from_url(TARGET).urlopen("GET", "/fine").status
    def requests(): return session.get(TARGET + "/fine").status_code
    def httpx(): return client.get(TARGET + "/fine").status_code

class Retried:
    def urllib3():
        retry = globals()["urllib3"].Retry(3, status_forcelist=[503], backoff_factor=0)
        return pool.request("GET", TARGET + "/flaky/2", retries=retry).status
    def requests():
        with globals()["requests"].Session() as session:
            retry = globals()["urllib3"].Retry(3, status_forcelist=[503], backoff_factor=0)
            session.mount("http://", globals()["requests"].adapters.HTTPAdapter(max_retries=retry))
            return session.get(TARGET + "/flaky/2").status_code
    def aiohttp(): return asyncio.run(aiohttp_twice("/flaky/2"))

async def aiohttp_twice(path):
    async def again(request, handler):
        while True:
            response = await handler(request)
            if response.status != 503:
                return response
            response.release()
    async with aiohttp.ClientSession(middlewares=[again]) as session, session.get(TARGET + path) as response:
        return response.status

class LoggedIn:
    def requests(): return session.get(TARGET + "/login", auth=HTTPDigestAuth("me", "secret")).status_code
    def httpx(): return client.get(TARGET + "/login", auth=httpx.DigestAuth("me", "secret")).status_code
    def httpx_async():
        return in_httpx(lambda client: client.get(TARGET + "/login", auth=httpx.DigestAuth("me", "secret"))).status_code

class Remembering:
    def requests(): return [session.get(TARGET + path).status_code for path in ("/cookie", "/fine")]
    def httpx(): return [client.get(TARGET + path).status_code for path in ("/cookie", "/fine")]
    def aiohttp():
        async def main():
            async with aiohttp.ClientSession(TARGET, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                async with session.get("/cookie") as first, session.get("/fine") as second:
                    return [first.status, second.status]
        return asyncio.run(main())

@app.post("/<kind>/<name>")
def call(kind, name):
    return json.dumps(vars(globals()[kind])[name]())

app.run(port=int(os.environ["PORT"]))
"""
SESSION = {"x-highlight-request": "s1/r1"}
ALL = ["http_client", "urllib", "urllib3", "requests", "httpx", "httpx_async", "aiohttp"]


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out certificate"
        " -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        command.split(),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context


@pytest.fixture
def targets():
    """Start servers to call, which are stopped after the test."""
    started = []

    def start(tls=None):
        started.append(Target(tls))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def target(targets):
    return targets()


@pytest.fixture
def start(run_service):
    def run(target, proxy=None, **env):
        addresses = {"TARGET": target.url, "PROXY": proxy.url if proxy else ""}
        return run_service("python app.py", files={"app.py": APP}, env={**addresses, **env})

    return run


def call(service, kind, name, incoming=SESSION):
    response = service.request("POST", f"/{kind}/{name}", incoming)
    assert response.status == 200, service.output
    return json.loads(response.text)


def client_spans(receiver, number):
    """The client spans, one in each request, when they have arrived."""
    receiver.wait(spans=2 * number)
    assert [span.kind for span in receiver.spans] == ["SERVER", "CLIENT"] * number, receiver.told()
    assert [span.status for span in receiver.spans] == ["UNSET"] * 2 * number
    assert receiver.errors == receiver.logs == []
    return receiver.spans[1::2]


def carried(span, session="s1/r1"):
    """What `Seen.ids` is for a request of that span."""
    return [session], [f"00-{span.trace_id}-{span.span_id}-01"]


@pytest.mark.parametrize("origins", ["internal", "elsewhere.example"])
def test_through_a_proxy_the_destination_decides(start, receiver, targets, origins):
    target, proxy = targets(), targets()
    service = start(target, proxy, HIGHLIGHT_TRACING_ORIGINS=origins)

    assert [call(service, "Proxied", name) for name in ALL] == [200] * len(ALL)

    spans = client_spans(receiver, len(ALL))
    assert target.seen == []  # the proxy answers by itself
    assert [seen.line for seen in proxy.seen] == [f"GET {target.url}/fine HTTP/1.1"] * len(ALL)
    assert [seen.ids for seen in proxy.seen] == [carried(span) if origins == "internal" else ([], []) for span in spans]
    assert [span.attributes["url.full"] for span in spans] == [f"{target.url}/fine"] * len(ALL)


def test_a_proxys_host_does_not_count(start, receiver, targets):
    target, proxy = targets(), targets()
    service = start(target, proxy, HIGHLIGHT_TRACING_ORIGINS=f"127.0.0.1:{proxy.port}")

    assert [call(service, "Proxied", name) for name in ALL] == [200] * len(ALL)

    assert [seen.ids for seen in proxy.seen] == [([], [])] * len(ALL)


def test_in_a_tunnel_the_ids_are_for_its_end(start, receiver, targets, tls):
    target, proxy = targets(tls), targets()
    service = start(target, proxy, HIGHLIGHT_TRACING_ORIGINS=f"127.0.0.1:{target.port}")
    names = [name for name in ALL if name != "urllib"]

    assert [call(service, "Tunnelled", name) for name in names] == [200] * len(names)

    spans = client_spans(receiver, len(names))
    assert [(seen.line.split(" ")[0], seen.ids) for seen in proxy.seen] == [("CONNECT", ([], []))] * len(names)
    assert [seen.ids for seen in target.seen] == [carried(span) for span in spans]
    assert [span.attributes["url.full"] for span in spans] == [f"{target.url}/fine"] * len(names)


def test_an_upload_of_unknown_length(start, receiver, target):
    service = start(target)

    assert [call(service, "Uploading", name) for name in ALL] == [200] * len(ALL)

    spans = client_spans(receiver, len(ALL))
    assert [seen.ids for seen in target.seen] == [carried(span) for span in spans]
    # aiohttp and the others may cut it otherwise, the text is the same
    assert [b"".join(seen.body.split(b"\r\n")[1::2]) for seen in target.seen] == [b"onetwo"] * len(ALL)
    assert [span.name for span in spans] == ["POST"] * len(ALL)


def test_a_download_piece_by_piece(start, receiver, target):
    service = start(target)

    assert [call(service, "Downloading", name) for name in ALL] == ["onetwothree"] * len(ALL)

    assert [seen.ids for seen in target.seen] == [carried(span) for span in client_spans(receiver, len(ALL))]


@pytest.mark.parametrize("name", ["http_client", "urllib3", "urllib3_pool", "requests", "httpx"])
def test_a_kept_connection_carries_each_requests_own_ids(start, receiver, target, name):
    service = start(target)

    for incoming in (SESSION, {"x-highlight-request": "s2/r2"}, {}):
        assert call(service, "Pooled", name, incoming) == 200

    spans = client_spans(receiver, 3)
    assert {seen.connection for seen in target.seen} == {1}
    assert [seen.ids for seen in target.seen] == [
        carried(spans[0]),
        carried(spans[1], "s2/r2"),
        ([], carried(spans[2])[1]),
    ]
    assert [span.session for span in spans] == ["s1", "s2", None]


def test_a_retried_call_that_succeeds_is_one_span_and_no_failure(start, receiver, target):
    service = start(target)
    names = ["urllib3", "requests", "aiohttp"]

    for name in names:
        target.clear()
        receiver.clear()
        assert call(service, "Retried", name) == 200

        (span,) = client_spans(receiver, 1)
        assert [seen.ids for seen in target.seen] == [carried(span)] * 3, name


def test_a_login_takes_two_requests_and_one_span(start, receiver, target):
    service = start(target)
    names = ["requests", "httpx", "httpx_async"]

    assert [call(service, "LoggedIn", name) for name in names] == [200] * 3

    spans = client_spans(receiver, 3)
    assert [seen.ids for seen in target.seen] == [carried(span) for span in spans for _ in range(2)]
    assert [bool(seen.all("authorization")) for seen in target.seen] == [False, True] * 3


def test_cookies_are_kept(start, receiver, target):
    service = start(target)
    names = ["requests", "httpx", "aiohttp"]

    assert [call(service, "Remembering", name) for name in names] == [[200, 200]] * 3

    receiver.wait(spans=9)
    assert [seen.all("cookie") for seen in target.seen] == [[], ["taste=sweet"]] * 3
    assert [seen.ids[0] for seen in target.seen] == [["s1/r1"]] * 6
    urls = [span.attributes["url.full"] for span in receiver.spans if span.kind == "CLIENT"]
    assert urls == [f"{target.url}/cookie", f"{target.url}/fine"] * 3


def test_patched_functions_are_what_they_were(receiver, run_python):
    result = run_python(
        """
import asyncio, inspect, pickle, re
import aiohttp, httpx, requests, urllib.request, urllib3
import asyncio.base_events, concurrent.futures, http.client, threading
functions = [
    requests.Session.send, urllib3.PoolManager.urlopen, urllib3.HTTPConnectionPool.urlopen,
    urllib.request.OpenerDirector.open, http.client.HTTPConnection.endheaders, http.client.HTTPConnection.getresponse,
    httpx.Client.send, httpx.AsyncClient.send, aiohttp.ClientSession._request, aiohttp.ClientRequest.send,
    concurrent.futures.ThreadPoolExecutor.submit, threading.Thread.start,
    asyncio.base_events.BaseEventLoop.call_exception_handler,
]
for function in functions:
    signature = re.sub(" at 0x[0-9a-f]+", "", str(inspect.signature(function)))
    print(function.__qualname__, signature, inspect.iscoroutinefunction(function),
          asyncio.iscoroutinefunction(function), pickle.loads(pickle.dumps(function)) is function, function.__doc__)
pickle.loads(pickle.dumps(requests.Session())).close()
print(threading.excepthook is threading.__excepthook__)
"""
    )
    bare = run_python(result.args[-1], under_agent=False)

    assert result.returncode == bare.returncode == 0, result.stderr
    assert result.stdout == bare.stdout
    assert result.stdout.count("\n") >= 14
    assert receiver.exports == []


def test_a_response_that_is_dropped_is_closed_at_once_as_bare(receiver, run_python):
    result = run_python(
        """
import gc, socket, threading, weakref
import urllib3
import highlight_autoinstrument as highlight

server = socket.create_server(("127.0.0.1", 0))

def serve():
    for status in [b"HTTP/0.5 200 OK", b"HTTP/1.1 200 OK"] * 2:  # the first is no version, and is tried again
        connection = server.accept()[0]
        connection.recv(65536)
        connection.sendall(status + b"\\r\\n\\r\\n")
        connection.close()

def call():
    with urllib3.HTTPConnectionPool(*server.getsockname()) as pool:
        return weakref.ref(pool.urlopen("GET", "/", preload_content=False, retries=urllib3.Retry(read=1)))

threading.Thread(target=serve).start()
gc.disable()
print(call()())
with highlight.trace("work"):
    print(call()())
server.close()
"""
    )

    assert (result.returncode, result.stdout) == (0, "None\nNone\n"), result.stderr
    receiver.wait(spans=2)
    assert sorted(span.name for span in receiver.spans) == ["GET", "work"]
