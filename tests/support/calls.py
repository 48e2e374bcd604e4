"""Outgoing calls, by each client in the same ways: run inside a service's requests, and as a program of its own."""

from __future__ import annotations

import asyncio
import http.client
import importlib
import json
import sys
import traceback
import urllib.error
import urllib.request
from functools import partial
from urllib.parse import urlsplit


def library(name):
    """One of the clients; in a row of the matrix, which is about one of them, others may not be there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


aiohttp, curl_cffi, httplib2, httpx, httpx2, requests, urllib3 = map(
    library, ("aiohttp", "curl_cffi", "httplib2", "httpx", "httpx2", "requests", "urllib3")
)
TIMEOUT_SECONDS = 0.5


def http_client(url, headers, body=None):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET" if body is None else "POST", target, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), None
    finally:
        connection.close()


def urllib_(url, headers, body=None):
    request = urllib.request.Request(url, body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        response = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.status, response.read(), sorted([*request.headers, *request.unredirected_hdrs])


def urllib3_(url, headers, body=None):
    with urllib3.PoolManager(retries=urllib3.Retry(5, connect=0, read=0, other=0), timeout=TIMEOUT_SECONDS) as pool:
        response = pool.request("GET" if body is None else "POST", url, headers=headers, body=body)
        return response.status, response.data, sorted(headers)


def requests_(url, headers, body=None):
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(
            "GET" if body is None else "POST", url, headers=headers, data=body, timeout=TIMEOUT_SECONDS
        )
        return (
            response.status_code,
            response.content,
            [list(hop.request.headers.items()) for hop in [*response.history, response]],
        )


def httplib2_(url, headers, body=None):
    client = httplib2.Http(timeout=TIMEOUT_SECONDS, proxy_info=None)
    try:
        response, content = client.request(url, "GET" if body is None else "POST", body, headers)
        return response.status, content, sorted(headers)
    finally:
        client.close()


def httpx_sync(url, headers, body=None, httpx=httpx):
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        request = client.build_request("GET" if body is None else "POST", url, headers=headers, content=body)
        response = client.send(request)
        return _httpx(request, response)


async def httpx_async(url, headers, body=None, httpx=httpx):
    async with httpx.AsyncClient(follow_redirects=True, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        request = client.build_request("GET" if body is None else "POST", url, headers=headers, content=body)
        response = await client.send(request)
        return _httpx(request, response)


def _httpx(request, response):
    hops = [*response.history, response]
    assert hops[0].request is request
    return response.status_code, response.content, [hop.request.headers.multi_items() for hop in hops]


async def aiohttp_(url, headers, body=None):
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request("GET" if body is None else "POST", url, headers=headers, data=body) as response,
    ):
        hops = [*response.history, response]
        return (
            response.status,
            await response.read(),
            [list(hop.request_info.headers.items()) for hop in hops],
        )


def curl_cffi_sync(url, headers, body=None):
    with curl_cffi.Session(trust_env=False, timeout=TIMEOUT_SECONDS) as session:
        response = session.request("GET" if body is None else "POST", url, headers=headers, data=body)
        return response.status_code, response.content, response.request.headers.multi_items()


async def curl_cffi_async(url, headers, body=None):
    async with curl_cffi.AsyncSession(trust_env=False, timeout=TIMEOUT_SECONDS) as session:
        response = await session.request("GET" if body is None else "POST", url, headers=headers, data=body)
        return response.status_code, response.content, response.request.headers.multi_items()


ALL_CLIENTS = {
    "http.client": http_client,
    "urllib": urllib_,
    "urllib3": urllib3_,
    "requests": requests_,
    "httpx": httpx_sync,
    "httpx-async": httpx_async,
    "httpx2": partial(httpx_sync, httpx=httpx2),
    "httpx2-async": partial(httpx_async, httpx=httpx2),
    "httplib2": httplib2_,
    "curl_cffi": curl_cffi_sync,
    "curl_cffi-async": curl_cffi_async,
    "aiohttp": aiohttp_,
}
CLIENTS = {
    name: client
    for name, client in ALL_CLIENTS.items()
    if globals().get(name.removesuffix("-async")) is not None or name in ("http.client", "urllib")
}


def call(client, url, headers=None, body=None):
    """What one call gives to its caller, the exception and its traceback among it."""
    function = CLIENTS[client]
    headers = dict(headers or {})
    given = dict(headers)
    try:
        result = function(url, headers, body)
        if asyncio.iscoroutine(result):
            result = asyncio.run(result)
        status, content, told = result
        outcome = [status, content.decode(), told]
    except Exception as error:  # noqa: BLE001 - whatever the caller gets
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        chain = [error.__cause__, error.__context__]
        outcome = [repr(type(error)), frames, [repr(type(link)) for link in chain]]
    assert headers == given, "the caller's headers were changed"
    return json.loads(json.dumps(outcome))


if __name__ == "__main__":
    print(json.dumps([call(*arguments) for arguments in json.loads(sys.argv[1])]))
