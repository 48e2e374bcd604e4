"""Carrying an encoded export to the receiver, over HTTP or gRPC, and telling what became of it."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - what a host's name is looked up with, loaded before a thread does
import gzip
import http.client
import os
import ssl
from base64 import b64encode
from time import monotonic, time
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from . import __version__, active, config, native, otlp
from .config import UnusableError

if TYPE_CHECKING:
    from .config import Config

RETRYABLE = (429, 502, 503, 504)  # OTLP's specification
_REFUSALS = (400, 413, 422)
_PORTS = {"http": 80, "https": 443}
_MOST_ANSWER_BYTES = 65_536


class Answer(NamedTuple):
    """What a receiver made of an export."""

    words: str
    accepted: bool = False
    retry: bool = False
    refused: bool = False  # for what it holds: it would be another time as well
    reached: bool = True
    rejected: str = ""
    retry_after_seconds: float | None = None


class Transport(Protocol):
    """One way to send; used by one thread at a time."""

    def packed(self, body: bytes) -> bytes:
        """An export request in the form in which it waits and is sent."""

    def send(self, body: bytes, timeout_seconds: float) -> Answer:
        """Send what `packed` returned. Never raises for what the network or the receiver does."""

    def close(self) -> None:
        """Close the connection; the next `send` opens another."""


class HttpTransport:
    """OTLP over HTTP with a connection that is kept open; proxies and TLS as the usual variables have them."""

    def __init__(self, settings: Config, signal: str) -> None:
        url = urlsplit(settings.url(signal))
        scheme = url.scheme.lower()
        self._secure = scheme == "https"
        self._host = url.hostname or "localhost"
        self._port = url.port or _PORTS[scheme]
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._gzip = settings.compression == "gzip"
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"highlight-autoinstrument/{__version__}",
            **({"Content-Encoding": "gzip"} if self._gzip else {}),
            **_project(settings),
            **({"Authorization": _basic(url.username, url.password)} if url.username else {}),
            **settings.headers,
        }
        self._proxy = _proxy(scheme, f"{self._host}:{self._port}")
        if self._proxy is not None and not self._secure:
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._target = f"http://{host}:{self._port}{self._target}"
            self._headers.update(self._proxy.headers)
        self._settings = settings
        self._tls: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection | None = None

    def packed(self, body: bytes) -> bytes:
        """Compress the body, once for all attempts."""
        return gzip.compress(body, 1) if self._gzip else body

    def send(self, body: bytes, timeout_seconds: float) -> Answer:
        """POST the body; over a connection that turns out to be closed, once more."""
        deadline = monotonic() + timeout_seconds
        while True:
            # A connection that was idle may have been closed by the other side: that is no failure of the receiver.
            reused = self._connection is not None
            try:
                return self._send(body, deadline)
            except UnusableError as error:
                return Answer(str(error))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not reused or isinstance(error, TimeoutError):
                    hopeless = isinstance(error, ssl.SSLCertVerificationError)
                    return Answer(f"{type(error).__name__}: {error}", retry=not hopeless, reached=False)
            except ValueError:  # http.client's, and it names the value, which may be a secret
                self.close()
                return Answer("a header in OTEL_EXPORTER_OTLP_HEADERS cannot be sent")

    def _send(self, body: bytes, deadline: float) -> Answer:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._new_connection()
            connection.timeout = max(0.05, deadline - monotonic())
            connection.connect()
        connection.sock.settimeout(max(0.05, deadline - monotonic()))
        connection.request("POST", self._target, body, self._headers)
        response = connection.getresponse()
        content = response.read(_MOST_ANSWER_BYTES)
        if response.will_close or (not response.isclosed() and response.read(1)):
            self.close()
        if 200 <= response.status < 300:
            rejected = otlp.answer(content)
            return Answer(f"HTTP {response.status} {rejected}".rstrip(), accepted=True, rejected=rejected)
        words = f"HTTP {response.status} {response.reason}".rstrip()
        if 300 <= response.status < 400:
            words += ", a redirect, which is not followed"
        return Answer(
            words,
            retry=response.status in RETRYABLE,
            refused=response.status in _REFUSALS,
            retry_after_seconds=_seconds(response.getheader("Retry-After")),
        )

    def _new_connection(self) -> http.client.HTTPConnection:
        proxy = self._proxy
        host, port = (proxy.host, proxy.port) if proxy is not None else (self._host, self._port)
        connection: http.client.HTTPConnection = _Plain(host, port)
        if self._secure:
            if self._tls is None:
                self._tls = _tls(self._settings)
            connection = _Secure(host, port, context=self._tls)
            if proxy is not None:
                connection.set_tunnel(self._host, self._port, proxy.headers)
        active.mark_own(connection)
        connection._create_connection = native.create_connection  # type: ignore[attr-defined]  # noqa: SLF001
        return connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _as_it_is(base: Any) -> Any:
    """A class with the methods that another has now, whatever is put in their place later.

    Tests of applications put stand-ins into http.client, and tapes that record what passes: what the agent sends is
    none of theirs.
    """
    methods = {
        name: value
        for owner in reversed(base.__mro__)
        for name, value in vars(owner).items()
        if isinstance(value, FunctionType)
    }
    return type(base.__name__, (base,), methods)


_Plain = _as_it_is(http.client.HTTPConnection)
_Secure = _as_it_is(http.client.HTTPSConnection)


def _tls(settings: Config) -> ssl.SSLContext:
    files = settings.certificate
    try:
        context = ssl.create_default_context(cafile=settings.certificate)
        if settings.client_certificate:
            files = f"{settings.client_certificate}, {settings.client_key}"
            context.load_cert_chain(settings.client_certificate, settings.client_key)
    except OSError as error:  # ssl's own errors are among them, and they do not name the file
        raise UnusableError(f"a certificate's file cannot be used: {files}: {error}") from None
    return context


def _project(settings: Config) -> dict[str, str]:
    return {"x-highlight-project": settings.project_id} if settings.project_id else {}


def _basic(username: str, password: str | None) -> str:
    credentials = f"{unquote(username)}:{unquote(password or '')}"
    return "Basic " + b64encode(credentials.encode()).decode()


class _Proxy(NamedTuple):
    host: str
    port: int
    headers: dict[str, str]


def _proxy(scheme: str, host: str) -> _Proxy | None:
    """The proxy that the usual environment variables name for a `host:port`, or None."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import (  # type: ignore[attr-defined]  # loads much: only for those who need it
        getproxies_environment,
        proxy_bypass_environment,
    )

    proxies = getproxies_environment()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or proxy_bypass_environment(host, proxies):
        return None
    address = address if "://" in address else f"http://{address}"
    try:
        url = urlsplit(config.url(address))
        port = url.port or 80
    except ValueError:
        raise UnusableError(_told(scheme if proxies.get(scheme) else "all", proxies)) from None
    headers = {"Proxy-Authorization": _basic(url.username, url.password)} if url.username else {}
    return _Proxy(url.hostname or "localhost", port, headers)


def _told(kind: str, proxies: dict[str, str]) -> str:
    """Say which variable is malformed, and not its value: a secret may be anywhere in that."""
    names = [name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name] == proxies[kind]]
    return (
        f"{names[0] if names else f'{kind}_proxy'} is not the URL of an HTTP proxy (http://host:port): nothing is sent"
        " from this process; correct it, or name the receiver's host in NO_PROXY"
    )


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    if retry_after.isdecimal():
        return float(retry_after)
    from email.utils import parsedate_to_datetime  # loaded by http.client

    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (ValueError, OverflowError):
        return None


class GrpcTransport:
    """OTLP over gRPC, the same bytes."""

    def __init__(self, settings: Config, signal: str) -> None:
        import grpc  # type: ignore[import-untyped]

        self._grpc: Any = grpc
        url = urlsplit(settings.url(signal))
        target = url.netloc.rpartition("@")[2]
        service = {
            "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
            "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
            "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
        }[signal]
        if url.scheme.lower() == "https":
            self._channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(*_files(settings)))
        else:
            self._channel = grpc.insecure_channel(target)
        self._export = self._channel.unary_unary(f"/{service}/Export")
        active.mark_own(self._export)
        headers = {**_project(settings), **settings.headers}
        self._metadata = [(name.lower(), value) for name, value in headers.items()]
        self._compression = grpc.Compression.Gzip if settings.compression == "gzip" else None

    def packed(self, body: bytes) -> bytes:
        """Leave the body as it is."""
        return body  # gRPC compresses what it sends

    def send(self, body: bytes, timeout_seconds: float) -> Answer:
        """Call the receiver."""
        codes = self._grpc.StatusCode
        try:
            content = self._export(
                body, timeout=timeout_seconds, metadata=self._metadata, compression=self._compression
            )
        except self._grpc.RpcError as error:
            code = error.code()
            retry = code in (
                codes.UNAVAILABLE,
                codes.CANCELLED,
                codes.DEADLINE_EXCEEDED,
                codes.ABORTED,
                codes.RESOURCE_EXHAUSTED,
                codes.OUT_OF_RANGE,
                codes.DATA_LOSS,
            )
            away = code in (codes.UNAVAILABLE, codes.DEADLINE_EXCEEDED)
            refused = code is codes.INVALID_ARGUMENT
            return Answer(f"gRPC {code.name}: {error.details()}", retry=retry, refused=refused, reached=not away)
        rejected = otlp.answer(content)
        return Answer(f"gRPC OK {rejected}".rstrip(), accepted=True, rejected=rejected)

    def close(self) -> None:
        """Leave the channel to gRPC, which ends its threads itself."""


def _files(settings: Config) -> list[bytes | None]:
    contents: list[bytes | None] = []
    for path in (settings.certificate, settings.client_key, settings.client_certificate):
        if path is None:
            contents.append(None)
        else:
            with open(path, "rb") as file:
                contents.append(file.read())
    return contents


def connect(settings: Config, signal: str) -> Transport:
    """The transport for `traces`, `logs` or `metrics` that the settings ask for."""
    return GrpcTransport(settings, signal) if settings.protocol == "grpc" else HttpTransport(settings, signal)
