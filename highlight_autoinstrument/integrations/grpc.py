"""gRPC, sync and aio: a call carries the headers and is a client span, and for its server a server span."""

from __future__ import annotations

from .. import active, grpc_client, grpc_server
from ..patching import replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("grpc", "grpc._channel", "grpc.aio._channel", "grpc.aio._server")

# What calls a method at once, and what returns while the call goes on. Not interceptors: `grpc.intercept_channel`
# gives the application other types than it asked for, and sees nothing of the application's own interceptors.
UNARY = ("_UnaryUnaryMultiCallable", "_StreamUnaryMultiCallable")
STREAM = ("_UnaryStreamMultiCallable", "_SingleThreadedUnaryStreamMultiCallable", "_StreamStreamMultiCallable")
AIO = ("UnaryUnaryMultiCallable", "UnaryStreamMultiCallable", "StreamUnaryMultiCallable", "StreamStreamMultiCallable")


def patch(module: ModuleType) -> None:
    if module.__name__ == "grpc":
        wrap(module, "server", intercept)
    elif module.__name__ == "grpc.aio._server":
        wrap(module.Server, "__init__", intercept_aio)
    elif module.__name__ == "grpc.aio._channel":
        remember(module.Channel)
        for name in AIO:
            wrap(getattr(module, name), "__call__", grpc_client.call_aio)
    else:
        patch_channel(module)


def remember(channel: type) -> None:
    wrap(channel, "__init__", grpc_client.remember_target)
    for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        wrap(channel, kind, grpc_client.remember_method)


def patch_channel(channel: ModuleType) -> None:
    remember(channel.Channel)
    for name in UNARY:
        multi_callable = getattr(channel, name)
        wrap(multi_callable, "__call__", grpc_client.call_blocking)
        wrap(multi_callable, "with_call", grpc_client.call_blocking)
        wrap(multi_callable, "future", grpc_client.call_going_on)
    for name in STREAM:
        if hasattr(channel, name):
            wrap(getattr(channel, name), "__call__", grpc_client.call_going_on)
    # The channel's threads outlive the unit of work that happened to need them first.
    for name in ("_run_channel_spin_thread", "_spawn_poll_connectivity", "_spawn_delivery"):
        replace(channel, name, outside)


def intercept(call: Call) -> Generator[None, Any, None]:
    # First, so that the application's interceptors run inside the unit of work.
    call["interceptors"] = (grpc_server.interceptor(), *(call.get("interceptors") or ()))
    yield


def intercept_aio(call: Call) -> Generator[None, Any, None]:
    call["interceptors"] = (grpc_server.interceptor_aio(), *(call.get("interceptors") or ()))
    yield


def outside(function: Callable[..., Any]) -> Callable[..., Any]:
    from contextvars import Context

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if active.current() is None:
            return function(*args, **kwargs)
        return Context().run(function, *args, **kwargs)

    return wrapper
