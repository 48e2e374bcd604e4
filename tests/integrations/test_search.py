"""The clients of Elasticsearch and OpenSearch: whatever they send by, a call is one span and has the ids."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CALLS = """
import asyncio, json, sys, warnings
warnings.simplefilter("ignore")
import elasticsearch, opensearchpy

def blocking(client, index):
    try:
        return client.get(index=index, id="1")["_id"]
    finally:
        client.close()

async def asynchronous(make, index):
    client = make()
    try:
        return (await client.get(index=index, id="1"))["_id"]
    finally:
        await client.close()

CLIENTS = {
    "elasticsearch": lambda url, index: blocking(elasticsearch.Elasticsearch(url), index),
    "elasticsearch requests": lambda url, index: blocking(
        elasticsearch.Elasticsearch(url, node_class="requests"), index
    ),
    "elasticsearch aiohttp": lambda url, index: asyncio.run(
        asynchronous(lambda: elasticsearch.AsyncElasticsearch(url), index)
    ),
    "elasticsearch httpx": lambda url, index: asyncio.run(
        asynchronous(lambda: elasticsearch.AsyncElasticsearch(url, node_class="httpxasync"), index)
    ),
    "opensearch": lambda url, index: blocking(opensearchpy.OpenSearch(url), index),
    "opensearch requests": lambda url, index: blocking(
        opensearchpy.OpenSearch(url, connection_class=opensearchpy.RequestsHttpConnection), index
    ),
    "opensearch aiohttp": lambda url, index: asyncio.run(
        asynchronous(lambda: opensearchpy.AsyncOpenSearch(url), index)
    ),
}

def call(client, url, index="things"):
    try:
        return CLIENTS[client](url, index)
    except Exception as error:
        return type(error).__name__

if __name__ == "__main__":
    print(json.dumps([call(*arguments) for arguments in json.loads(sys.argv[1])]))
"""
APP = """
import json, logging, os
import calls
from flask import Flask, request

app = Flask(__name__)
for name in ("werkzeug", "elastic_transport.transport", "opensearch", "opensearchpy.trace"):
    logging.getLogger(name).disabled = True

@app.post("/call")
def call():
    return json.dumps(calls.call(**json.loads(request.data)))

app.run(port=int(os.environ["PORT"]))
"""
CLIENTS = [
    "elasticsearch",
    "elasticsearch requests",
    "elasticsearch aiohttp",
    "elasticsearch httpx",
    "opensearch",
    "opensearch requests",
    "opensearch aiohttp",
]


@pytest.fixture
def search():
    """A server that has one document, and knows no other way to answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            server.seen.append((self.path, sorted((name.lower(), value) for name, value in self.headers.items())))
            missing = self.path.startswith("/missing")
            body = json.dumps({"_id": "1", "found": not missing}).encode()
            self.send_response(404 if missing else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def call(service, client, url, incoming, index="things"):
    body = json.dumps({"client": client, "url": url, "index": index}).encode()
    response = service.request("POST", "/call", incoming, body)
    assert response.status == 200, service.output
    return json.loads(response.text)


def test_a_call_is_one_span_and_has_the_ids(run_service, run_python, receiver, search):
    # Elasticsearch's client makes spans of its own by OpenTelemetry's API; here it is about what it sends by.
    env = {"OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED": "false"}
    service = run_service("python app.py", files={"app.py": APP, "calls.py": CALLS}, env=env)
    for client in CLIENTS:
        assert call(service, client, search.url, {"x-highlight-request": "s1/r1"}) == "1", client
        assert call(service, client, search.url, {}, "missing") == "NotFoundError", client

    receiver.wait(spans=4 * len(CLIENTS))
    spans = receiver.spans
    assert [(span.name, span.kind, span.session, span.status) for span in spans] == [
        ("POST /call", "SERVER", "s1", "UNSET"),
        ("GET", "CLIENT", "s1", "UNSET"),
        ("POST /call", "SERVER", None, "UNSET"),
        ("GET", "CLIENT", None, "ERROR"),
    ] * len(CLIENTS)
    assert [span.parent_id for span in spans[1::2]] == [span.span_id for span in spans[::2]]
    assert receiver.errors == receiver.logs == []
    for number, (path, headers) in enumerate(search.seen):
        span = spans[2 * number + 1]
        assert span.attributes["url.full"] == search.url + path
        assert span.attributes["http.status_code"] == (200 if path == "/things/_doc/1" else 404)
        ids = [(name, value) for name, value in headers if name in ("traceparent", "x-highlight-request")]
        sent = [("traceparent", f"00-{span.trace_id}-{span.span_id}-01")]
        assert ids == (sent if number % 2 else [*sent, ("x-highlight-request", "s1/r1")])

    search.seen.clear()
    receiver.clear()
    wanted = json.dumps([[client, search.url] for client in CLIENTS])
    runs = []
    for under_agent in (False, True):
        done = run_python(["calls.py", wanted], under_agent=under_agent, files={"calls.py": CALLS})
        runs.append((done.returncode, done.stdout, done.stderr))
    half = len(CLIENTS)
    assert runs[0] == runs[1]
    assert search.seen[:half] == search.seen[half:]
    assert receiver.exports == []
