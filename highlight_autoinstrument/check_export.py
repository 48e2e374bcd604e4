"""A round trip to the receiver for each signal: an empty export by the real transport, and what to do if it fails."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit

from . import config, transport
from .config import UnusableError

if TYPE_CHECKING:
    from .config import Config

SIGNALS = ("traces", "logs", "metrics")
MOST_SECONDS = 10.0
EMPTY = b""  # a request without a resource: the three have the same shape


class RoundTrip(TypedDict):
    """What became of one export."""

    signal: str
    url: str
    ok: bool
    answer: str
    milliseconds: int
    fix: str | None


def round_trips(settings: Config) -> list[RoundTrip]:
    """Send an empty export of each signal, all at the same time."""
    limit = min(settings.timeout, MOST_SECONDS)
    found: dict[str, RoundTrip] = {}

    def run(signal: str) -> None:
        found[signal] = _round_trip(settings, signal, limit)

    threads = [threading.Thread(target=run, args=(signal,), daemon=True) for signal in SIGNALS]
    for thread in threads:
        thread.start()
    deadline = monotonic() + limit + 1  # looking up a name has a time limit of its own
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
    return [found.get(signal) or _outcome(settings, signal, f"TimeoutError: {limit:g} s", limit) for signal in SIGNALS]


def _round_trip(settings: Config, signal: str, limit: float) -> RoundTrip:
    if signal == "metrics" and settings.metrics_exporter == "none":
        return _outcome(settings, signal, "not sent, by OTEL_METRICS_EXPORTER", 0, ok=True)
    began = monotonic()
    ok = False
    try:
        carrier = transport.connect(settings, signal)
        answer = carrier.send(carrier.packed(EMPTY), limit)
        carrier.close()
        ok, words = answer.accepted and not answer.rejected, answer.words
    except (UnusableError, ImportError) as error:
        words = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is asked for; its text may hold a secret
        words = type(error).__name__
    return _outcome(settings, signal, words, monotonic() - began, ok=ok)


def _outcome(settings: Config, signal: str, words: str, seconds: float, *, ok: bool = False) -> RoundTrip:
    return {
        "signal": signal,
        "url": config.bare_url(settings.url(signal)),
        "ok": ok,
        "answer": " ".join(words.split())[:300],
        "milliseconds": round(seconds * 1000),
        "fix": None if ok else _fix(settings, signal, words),
    }


# How the answer begins, and what to do; {variable} is the one that the URL came from.
_FIXES = (
    ("ConnectionRefusedError", "nothing listens there: start the receiver, or correct {variable}"),
    ("gaierror", "the host's name is not known on this machine: correct {variable}, or the machine's DNS"),
    (
        "SSLCertVerificationError",
        "its certificate is not trusted here: name its authority's PEM file in OTEL_EXPORTER_OTLP_CERTIFICATE",
    ),
    ("SSL", "TLS failed: if the receiver has none, say http:// in {variable}"),
    ("TimeoutError", "nothing has answered in time: is a firewall between, or a wrong host or port in {variable}?"),
    ("OSError: Tunnel connection failed", "the proxy refuses: correct HTTPS_PROXY, or name the host in NO_PROXY"),
    ("OSError", "there is no way to it from here: check the network, a proxy (HTTPS_PROXY), and {variable}"),
    ("HTTP 3", "the receiver has moved: put the new place into {variable}"),
    ("HTTP 401", "the receiver wants a token: OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20..."),
    ("HTTP 403", "the receiver does not accept the token in OTEL_EXPORTER_OTLP_HEADERS, or wants one there"),
    ("HTTP 404", "no OTLP receiver has that path: {variable} is to be its address, /v1/{signal} is appended"),
    ("HTTP 405", "no OTLP receiver has that path: {variable} is to be its address, /v1/{signal} is appended"),
    ("HTTP 407", "the proxy wants a user and a password: http://user:password@host:port in HTTP_PROXY"),
    ("HTTP 429", "the receiver is busy: wait, or ask whoever runs it"),
    ("HTTP 5", "the receiver, or a proxy before it, is in trouble: look into its log"),
    ("HTTP", "what listens there does not take OTLP: correct {variable}"),
    ("gRPC UNAVAILABLE", "nothing that speaks gRPC is there: start the receiver, or correct {variable} (port 4317)"),
    ("gRPC DEADLINE_EXCEEDED", "nothing has answered in time: a firewall, or a wrong host or port in {variable}?"),
    ("gRPC UNAUTHENTICATED", "the receiver wants a token: OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20..."),
    ("gRPC PERMISSION_DENIED", "the receiver does not accept the token in OTEL_EXPORTER_OTLP_HEADERS"),
    ("gRPC UNIMPLEMENTED", "no OTLP receiver is there, or it does not take {signal}: correct {variable}"),
    ("gRPC INTERNAL: Invalid metadata", "a name or a value in OTEL_EXPORTER_OTLP_HEADERS cannot be sent: correct it"),
    ("gRPC", "the receiver is in trouble: look into its log"),
    ("No module named 'grpc'", "pip install grpcio, or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
    ("No module named", "install the agent anew: pip install --force-reinstall highlight-autoinstrument"),
)
_HANGS_UP = ("ConnectionResetError", "RemoteDisconnected", "BadStatusLine", "IncompleteRead", "BrokenPipeError")


def _fix(settings: Config, signal: str, words: str) -> str:
    variable = settings.url_source(signal).replace("default", "HIGHLIGHT_OTLP_ENDPOINT")
    if words.startswith(_HANGS_UP):
        if urlsplit(settings.url(signal)).port == 4317:
            return f"4317 is the port for gRPC: say 4318 in {variable}, or OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
        return f"what listens there hangs up: if it wants TLS say https:// in {variable}, or correct the port"
    for beginning, fix in _FIXES:
        if words.startswith(beginning):
            return fix.format(variable=variable, signal=signal)
    return f"correct what the answer names, or {variable}"
