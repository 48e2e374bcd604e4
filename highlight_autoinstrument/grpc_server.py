"""A gRPC call that a server takes: one unit of work from its metadata to its last response."""

from __future__ import annotations

import inspect

from . import messaging
from .grpc_client import CANCELLED, OK, STATUS_CODE, library, name_of, number_of
from .later import errors, incoming, spans
from .patching import guarded, hooked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from typing import Any

    from .incoming import Work
    from .patching import Call

UNKNOWN, UNIMPLEMENTED, INTERNAL = 2, 12, 13
# The other codes say that the client asked for what cannot be had: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
# INTERNAL, UNAVAILABLE, DATA_LOSS.
FAILURES = frozenset((2, 4, 12, 13, 14, 15))

# By these attributes gRPC tells how a method is to be called.
_WAYS = ("experimental_non_blocking", "experimental_thread_pool")


def interceptor() -> Any:
    """An interceptor for a server with a thread pool."""

    def intercept_service(self: Any, continuation: Any, handler_call_details: Any) -> Any:
        return continuation(handler_call_details)

    hook = hooked(intercept_service, serve, "gRPC server")
    return _instance(library().ServerInterceptor, hook, INTERNAL)


def interceptor_aio() -> Any:
    """An interceptor for an aio server."""

    async def intercept_service(self: Any, continuation: Any, handler_call_details: Any) -> Any:
        return await continuation(handler_call_details)

    hook = hooked(intercept_service, serve, "gRPC aio server")
    return _instance(library().aio.ServerInterceptor, hook, UNKNOWN)


def _instance(base: type, hook: Any, message_failure: int) -> Any:
    return type("HighlightInterceptor", (base,), {"intercept_service": hook, "message_failure": message_failure})()


def serve(call: Call) -> Generator[None, Any, Any]:
    """Hook for finding the handler of a call: the unit of work begins here, and lasts as long as the handler does."""
    details = call["handler_call_details"]
    interceptor: Any = call.instance
    work = begin(details.method, details.invocation_metadata or ())
    serving = Serving(work, interceptor.message_failure)
    token = work.attach()
    try:
        handler = yield
    except BaseException as error:
        leave(serving, error)
        end(serving)
        raise
    finally:
        work.detach(token)
    if handler is None:
        serving.code = UNIMPLEMENTED
        work.unit.span.update_name("unknown method")  # the client may have made it up
        end(serving)
        return None
    return observed(handler, serving)


def begin(method: str, metadata: Any) -> Work:
    """Begin the unit of work of a call."""
    from opentelemetry.trace import SpanKind

    received = messaging.getter(metadata)
    return incoming.begin(method.lstrip("/"), SpanKind.SERVER, received, spans.rpc("grpc", method))


class Serving:
    """A call that is being served."""

    __slots__ = ("code", "message_failure", "servicer_context", "work")

    def __init__(self, work: Work, message_failure: int) -> None:
        self.work = work
        self.message_failure = message_failure  # what gRPC answers where a message cannot be serialized
        self.code: int | None = None  # None: the servicer context knows it
        self.servicer_context: Any = None

    def __del__(self) -> None:
        # The method was never called, or not to its end: the client went away, or the server had too much to do.
        self.drop()

    def drop(self) -> None:
        """End what did not come to its own end."""
        dropped(self)


@guarded
def dropped(serving: Serving) -> None:
    """End a call that did not come to its own end."""
    if not serving.work.unit.span.end_ns:
        if serving.code is None:
            serving.code = CANCELLED
        end(serving)


def observed(handler: Any, serving: Serving) -> Any:
    """A handler like the application's, whose method runs in the unit of work and ends it."""
    kind = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
    method = getattr(handler, kind)
    is_coroutine = inspect.iscoroutinefunction(method)
    is_generator = inspect.isasyncgenfunction(method)
    deserializer, serializer = handler.request_deserializer, handler.response_serializer
    if is_generator:
        observer = generating(serving, method)
    elif is_coroutine:
        observer = awaiting(serving, method, handler.response_streaming)
    else:
        observer = calling(serving, method, handler.response_streaming)
        for way in _WAYS:
            if hasattr(method, way):
                setattr(observer, way, getattr(method, way))
    # What a coroutine reads and writes itself fails inside it, and may be caught there.
    if deserializer is not None and not (handler.request_streaming and (is_coroutine or is_generator)):
        deserializer = transforming(serving, deserializer)
    if not handler.response_streaming:
        serializer = finishing(serving, serializer)
    elif serializer is not None and not is_coroutine:
        serializer = transforming(serving, serializer)
    return getattr(library(), f"{kind}_rpc_method_handler")(observer, deserializer, serializer)


def _arity(streaming: object) -> str:
    return "stream" if streaming else "unary"


def calling(serving: Serving, method: Callable[..., Any], streaming: bool) -> Callable[..., Any]:
    """A method of the sync kind, which returns its response or an iterator of them."""
    work = serving.work

    def observer(*args: Any) -> Any:
        serving.servicer_context = args[1]
        token = work.attach()
        try:
            result = method(*args)
        except BaseException as error:
            leave(serving, error)
            end(serving)
            raise
        finally:
            work.detach(token)
        if not streaming:
            returned(serving)
            return result
        if len(args) > 2:  # gRPC's non-blocking kind gives its responses to a callback, later
            args[1].add_callback(lambda: end(serving))
            return result
        return Responses(result, serving)

    return observer


def awaiting(serving: Serving, method: Callable[..., Any], streaming: bool) -> Callable[..., Any]:
    """A coroutine, which returns its response or has written all of them."""
    work = serving.work

    async def observer(request: Any, context: Any) -> Any:
        serving.servicer_context = context
        token = work.attach()
        try:
            result = await method(request, context)
        except BaseException as error:
            leave(serving, error)
            end(serving)
            raise
        finally:
            work.detach(token)
        if streaming:
            end(serving)
        else:
            returned(serving)
        return result

    return observer


def generating(serving: Serving, method: Callable[..., Any]) -> Callable[..., Any]:
    """An asynchronous generator of responses."""
    work = serving.work

    async def observer(request: Any, context: Any) -> AsyncIterator[Any]:
        serving.servicer_context = context
        responses = method(request, context)
        try:
            while True:
                token = work.attach()
                try:
                    response = await responses.__anext__()
                except StopAsyncIteration:
                    return
                finally:
                    work.detach(token)
                yield response
        except BaseException as error:
            leave(serving, error)
            raise
        finally:
            token = work.attach()  # closed by the loop, after gRPC has dropped it, this is another task
            try:
                await responses.aclose()
            finally:
                work.detach(token)
                end(serving)

    return observer


class Responses:
    """The responses of a method, each made in the unit of work."""

    __slots__ = ("_responses", "_serving")

    def __init__(self, responses: Any, serving: Serving) -> None:
        self._responses = responses
        self._serving = serving

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        serving = self._serving
        token = serving.work.attach()
        try:
            return next(self._responses)
        except StopIteration:
            end(serving)
            raise
        except BaseException as error:
            leave(serving, error)
            end(serving)
            raise
        finally:
            serving.work.detach(token)

    def __del__(self) -> None:
        # Dropped when the client has gone: what the application does at the end of its generator belongs to the call.
        work = self._serving.work
        token = work.attach()
        self._responses = None
        work.detach(token)
        self._serving.drop()


def transforming(serving: Serving, transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A serializer or deserializer whose failure is the call's."""

    def transformer(message: Any) -> Any:
        try:
            return transform(message)
        except BaseException as error:
            leave(serving, error, serving.message_failure)
            raise

    return transformer


def finishing(serving: Serving, serializer: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """The serializer of the one response, with which the call is done."""
    serialize = None if serializer is None else transforming(serving, serializer)

    def transformer(message: Any) -> Any:
        try:
            return message if serialize is None else serialize(message)
        finally:
            end(serving)

    return transformer


@guarded
def returned(serving: Serving) -> None:
    """Note that a method has returned its one response, which is not serialized where the method failed."""
    if code_of(serving) != OK:
        end(serving)


@guarded
def leave(serving: Serving, error: BaseException, otherwise: int = UNKNOWN) -> None:
    """Report an exception that left the application's code; not `abort()`, nor that the client has gone."""
    if serving.code is not None:
        return
    if aborted(serving, error):
        serving.code = code_of(serving)
    elif not errors.is_error(error) or client_gone(error):
        serving.code = CANCELLED
    else:
        serving.code = code_of(serving) or otherwise
        serving.work.fail(error)


def aborted(serving: Serving, error: BaseException) -> bool:
    """Whether this is how `context.abort()` leaves a method."""
    if isinstance(error, library().aio.AbortError):
        return True
    if type(error) is not Exception or error.args or code_of(serving) == OK:
        return False
    state = getattr(serving.servicer_context, "_state", None)
    return bool(getattr(state, "aborted", True))


def client_gone(error: BaseException) -> bool:
    """Whether gRPC raised this since there is nobody to answer, or no server any more."""
    grpc = library()
    if isinstance(error, grpc.aio.BaseError):
        return not isinstance(error, grpc.aio.UsageError)
    return type(error) is grpc.RpcError and not error.args


def code_of(serving: Serving) -> int:
    """The status that the call has as yet."""
    context = serving.servicer_context
    code = getattr(context, "code", None)  # a sync method on an aio server has a context that does not tell it
    number = OK if code is None else number_of(code())
    if number == OK and hasattr(context, "is_active") and not context.is_active():
        return CANCELLED
    return number


@guarded
def end(serving: Serving) -> None:
    """End the call's span."""
    span = serving.work.unit.span
    if not span.end_ns:
        number = code_of(serving) if serving.code is None else serving.code
        span.set_attribute(STATUS_CODE, number)
        if number in FAILURES:
            span.fail(name_of(number))
        span.end()
