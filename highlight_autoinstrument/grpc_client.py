"""A gRPC call to another service: the headers in its metadata, and a client span until the call is done."""

from __future__ import annotations

import os
import sys
import weakref

from . import active
from .later import outgoing, spans
from .patching import guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from .patching import Call
    from .recording import Span

STATUS_CODE = "rpc.grpc.status_code"
OK, CANCELLED = 0, 1

_TARGET, _METHOD = "_highlight_target", "_highlight_method"  # attributes of channels and of their methods
_LOCAL = ("unix", "unix-abstract", "vsock")  # what a target may begin with that stays on this machine
_IN_KEYS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")  # what a key of metadata may consist of
_NAMED = ("dns", "ipv4", "ipv6", "xds", "passthrough")


def call_blocking(call: Call) -> Generator[None, Any, None]:
    """Hook for a call that returns when it is done."""
    if active.outside(call.instance, lambda: called_host(call)):
        return
    span = begin(call)
    try:
        yield
    except BaseException as error:
        fail(span, error)
        raise
    end(span, OK)


def call_going_on(call: Call) -> Generator[None, Any, None]:
    """Hook for a call that returns a future or a stream."""
    if active.outside(call.instance, lambda: called_host(call)):
        return
    span = begin(call)
    try:
        rendezvous = yield
    except BaseException as error:
        fail(span, error)
        raise
    if span is not None:
        # Not add_done_callback, which would keep the stream alive: dropping one cancels it.
        done = Done(span, rendezvous)
        if not rendezvous.add_callback(done):
            done()
        weakref.finalize(rendezvous, abandon, span, os.getpid())


def call_aio(call: Call) -> Generator[None, Any, None]:
    """Hook for a call on an aio channel, of whichever kind."""
    if active.outside(call.instance, lambda: called_host(call)):
        return
    span = begin(call, aio=True)
    try:
        pending = yield
    except BaseException as error:
        fail(span, error)
        raise
    if span is not None:
        # As above: what is public keeps the call alive. Where the application has interceptors, there is no other.
        inner = getattr(pending, "_cython_call", pending)
        inner.add_done_callback(DoneAio(span, pending))
        weakref.finalize(pending, abandon, span, os.getpid())


def remember_target(call: Call) -> Generator[None, Any, None]:
    """Hook for a channel's constructor. A closed channel that is asked for its target takes the interpreter down."""
    vars(call.instance)[_TARGET] = _text(call["target"])
    yield


def remember_method(call: Call) -> Generator[None, Any, None]:
    """Hook for a channel's `unary_unary` and the others, whose results are what is called."""
    method = yield
    vars(method)[_TARGET] = vars(call.instance).get(_TARGET, "")
    vars(method)[_METHOD] = _text(call["method"])


class Done:
    """What a stream or a future calls when it is done."""

    __slots__ = ("func", "rendezvous", "span")

    def __init__(self, span: Span, rendezvous: Any) -> None:
        self.span = span
        self.rendezvous = weakref.ref(rendezvous)
        self.func = end  # gRPC names it where a callback fails

    def __call__(self) -> None:
        """End the span."""
        finished(self)


@guarded
def finished(done: Done) -> None:
    """End the span of a stream or a future that is done."""
    rendezvous = done.rendezvous()
    end(done.span, CANCELLED if rendezvous is None else rendezvous.code())


class DoneAio:
    """What an aio call calls when it is done, in whatever task."""

    __slots__ = ("pending", "span")

    def __init__(self, span: Span, pending: Any) -> None:
        self.span = span
        self.pending = weakref.ref(pending)

    def __call__(self, *_: Any) -> None:
        """End the span."""
        pending = self.pending()
        if pending is None:
            end(self.span, CANCELLED)
        else:
            settle(self.span, pending)


@guarded
def abandon(span: Span, pid: int) -> None:
    """End the span of a stream that was dropped, or is open when the program ends; a forked child has only a copy."""
    if pid == os.getpid():
        end(span, CANCELLED)


@guarded
def settle(span: Span, call: Any) -> None:
    """End the span of an aio call that is done, whose code can be had without waiting."""
    asking = call.code()
    try:
        asking.send(None)
    except StopIteration as answer:
        end(span, answer.value)
    except BaseException as error:  # noqa: BLE001 - what an interceptor of the application's raised
        fail(span, error)
    else:
        asking.close()
        end(span, None)


def called_host(call: Call) -> str:
    """The host that a method's channel leads to."""
    return destination(vars(call.instance).get(_TARGET, ""))[0]


def begin(call: Call, *, aio: bool = False) -> Span | None:
    """Begin a call's span, and put the headers into its metadata; the caller's own stay as they are."""
    called = vars(call.instance)
    host, port = destination(called.get(_TARGET, ""))
    span = None
    if spans.calling():
        from opentelemetry.trace import SpanKind

        method = called.get(_METHOD, "")
        span = spans.child(method.lstrip("/"), SpanKind.CLIENT, spans.rpc("grpc", method, host))
        if span is not None and port is not None:
            span.set_attribute("server.port", port)
    metadata = call.get("metadata")
    pairs = tuple(metadata) if hasattr(metadata, "__iter__") else ()
    if not (metadata is None or hasattr(metadata, "__iter__")) or not all(map(_is_pair, pairs)):
        return span  # gRPC will refuse it
    has: dict[str, str] = {}
    for key, value in pairs:
        has.setdefault(_text(key).lower(), _text(value))
    added = outgoing.headers("grpc", host, port, has.get, span=span)
    if added or hasattr(metadata, "__next__"):
        call["metadata"] = like(metadata, (*pairs, *added), aio=aio)
    return span


def like(metadata: Any, pairs: tuple[Any, ...], *, aio: bool) -> Any:
    """The pairs in the form that the application gave, which its interceptors expect and gRPC's messages show."""
    if aio and (metadata is None or isinstance(metadata, library().aio.Metadata)):
        return library().aio.Metadata(*pairs)
    return list(pairs) if isinstance(metadata, list) else pairs


@guarded
def end(span: Span | None, code: Any) -> None:
    """End a call's span; `code` is gRPC's status, None where it cannot be known."""
    if span is None or span.end_ns:
        return
    number = number_of(code)
    span.set_attribute(STATUS_CODE, number)
    if number not in (OK, CANCELLED):
        span.fail(name_of(number))
    span.end()


@guarded
def fail(span: Span | None, error: BaseException) -> None:
    """End the span of a call that raised."""
    code = getattr(error, "code", None)
    if isinstance(error, library().RpcError) and callable(code):
        end(span, code())
    else:
        spans.finish(span, error)


def library() -> Any:
    """The package that the application imported."""
    return sys.modules["grpc"]


def number_of(code: Any) -> int:
    """The number of a status that gRPC or the application gave, which is OK where there is none."""
    if code is None:
        return OK
    if not isinstance(code, int):
        code = getattr(code, "value", (2,))[0]
    return int(code)


def name_of(number: int) -> str:
    """What gRPC calls the status."""
    return next((code.name for code in library().StatusCode if code.value[0] == number), str(number))


def destination(target: str) -> tuple[str, int | None]:
    """Host and port of a channel's target, such as `dns:///api.example.com:443`."""
    scheme, _, rest = target.partition(":")
    scheme = scheme.lower()
    if scheme in _LOCAL:
        return "localhost", None
    if scheme in _NAMED or rest.startswith("//"):
        # What stands between // and / is the name server's address.
        target = rest[2:].partition("/")[2] if rest.startswith("//") else rest
    target = target.lstrip("/").partition(",")[0]
    if target.startswith("["):
        host, _, port = target[1:].partition("]")
        port = port[1:]
    elif target.count(":") == 1:
        host, _, port = target.partition(":")
    else:
        host, port = target, ""
    return host, int(port) if port.isascii() and port.isdigit() else None


def _is_pair(item: object) -> bool:
    """Whether gRPC takes it; what it refuses, older versions show whole in their message."""
    return isinstance(item, (tuple, list)) and len(item) == 2 and _IN_KEYS.issuperset(_text(item[0]))


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
