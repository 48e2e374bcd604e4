"""grpclib: a call carries the headers and is a client span, and for its server a unit of work."""

from __future__ import annotations

import sys

from .. import active
from ..grpc_client import CANCELLED, OK, STATUS_CODE
from ..grpc_server import FAILURES, UNKNOWN
from ..later import errors, incoming, outgoing, spans
from ..outside import outside
from ..patching import guarded, hide_frame, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..incoming import Work
    from ..patching import Call
    from ..recording import Span

MODULES = ("grpclib.client", "grpclib.server")

SPAN = "_highlight_span"  # in a client's stream
DEADLINE_EXCEEDED = 4


def patch(module: ModuleType) -> None:
    if module.__name__ == "grpclib.client":
        # The event SendRequest would be public, but does not tell whose request it is.
        wrap(module.Stream, "__aenter__", begin)
        wrap(module.Stream, "send_request", send_request)
        wrap(module.Stream, "__aexit__", end)
        wrap(module.Channel, "__connect__", outside)
    else:
        wrap(module.Server, "__init__", listen)
        wrap(module.Stream, "send_trailing_metadata", answer)


def begin(call: Call) -> Generator[None, Any, None]:
    if spans.calling():
        from opentelemetry.trace import SpanKind

        stream = call.instance
        name: str = stream._method_name  # noqa: SLF001 - told nowhere else
        host, port = destination(stream)
        span = spans.child(name.lstrip("/"), SpanKind.CLIENT, spans.rpc("grpc", name, host))
        if span is not None and port is not None:
            span.set_attribute("server.port", port)
        vars(stream)[SPAN] = span
    yield


def send_request(call: Call) -> Generator[None, Any, None]:
    if active.outside(call.instance, lambda: destination(call.instance)[0]):
        return
    host, port = destination(call.instance)
    metadata = call.instance._metadata  # noqa: SLF001 - a copy of the caller's
    for name, value in outgoing.headers("grpc", host, port, metadata.get, span=vars(call.instance).get(SPAN)):
        metadata[name] = value
    yield


def end(call: Call) -> Generator[None, Any, None]:
    span = vars(call.instance).pop(SPAN, None)
    if span is None:
        return
    try:
        yield
    except BaseException as error:
        finish(span, error)
        raise
    finish(span, call.get("exc_val"))


def finish(span: Span, error: BaseException | None) -> None:
    if error is None or hasattr(error, "status"):
        note(span, OK if error is None else error.status)
        error = None
    spans.finish(span, error)


def note(span: Span, status: Any) -> None:
    """Note a call's status on its span; to a server those that say what the client has done wrong are no failures."""
    number = int(getattr(status, "value", status))
    span.set_attribute(STATUS_CODE, number)
    is_client = span.unit.span is not span
    if number in FAILURES or (is_client and number not in (OK, CANCELLED)):
        span.fail(getattr(status, "name", str(number)))


def destination(stream: Any) -> tuple[str, int | None]:
    channel = stream._channel  # noqa: SLF001
    return ("localhost", None) if channel._path is not None else (channel._host, channel._port)  # noqa: SLF001


def listen(call: Call) -> Generator[None, Any, None]:
    yield
    events = sys.modules["grpclib.events"]
    events.listen(call.instance, events.RecvRequest, received)


async def received(event: Any) -> None:
    receive(event)


@guarded
def receive(event: Any) -> None:
    event.method_func = serving(event.method_func, event.method_name, event.metadata)


def serving(method: Callable[[Any], Awaitable[None]], name: str, metadata: Any) -> Callable[[Any], Awaitable[None]]:
    async def serve(stream: Any) -> None:
        work = started(name, metadata)
        if work is None:
            return await method(stream)
        token = work.attach()
        try:
            await method(stream)
        except BaseException as error:
            failed(work, stream, error)
            hide_frame(error, __file__)
            raise
        finally:
            try:
                work.detach(token)
            finally:
                work.unit.span.end()

    return serve


@guarded
def started(name: str, metadata: Any) -> Work:
    from opentelemetry.trace import SpanKind

    work = incoming.begin(name.lstrip("/"), SpanKind.SERVER, metadata.get, spans.rpc("grpc", name))
    work.unit.span.set_attribute(STATUS_CODE, OK)
    return work


@guarded
def failed(work: Work, stream: Any, error: BaseException) -> None:
    status = getattr(error, "status", UNKNOWN)
    if not errors.is_error(error):  # the task is cancelled when the client goes, and when its time is over
        late = stream.deadline is not None and not stream.deadline.time_remaining()
        status = DEADLINE_EXCEEDED if late else CANCELLED
    note(work.unit.span, status)
    if getattr(status, "value", status) in FAILURES:
        work.fail(error)


def answer(call: Call) -> Generator[None, Any, None]:
    unit = active.current()
    if unit is not None and call.get("status") is not None:  # the method says it itself
        note(unit.span, call.get("status"))
    yield
