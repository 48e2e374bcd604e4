"""Azure Functions' worker for Python up to 3.12: each invocation is a unit of work, and its exception is reported."""

from __future__ import annotations

from .. import azure_functions
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("azure_functions_worker.dispatcher", "azure_functions_worker.http_v2")


def patch(module: ModuleType) -> None:
    if module.__name__ == "azure_functions_worker.http_v2":
        wrap(module.HttpCoordinator, "get_http_request_async", azure_functions.join)
        return
    # The extensions that are public see no call that fails. It finds these by the names of the host's messages.
    wrap(module.Dispatcher, "_handle__function_load_request", load)
    wrap(module.Dispatcher, "_handle__invocation_request", invoke)
    wrap(module.Dispatcher, "_serialize_exception", fail)
    wrap(module.Dispatcher, "configure_opentelemetry", azure_functions.keep)


def load(call: Call) -> Generator[None, Any, None]:
    yield from azure_functions.load(call.args[1].function_load_request)


def invoke(call: Call) -> Generator[None, Any, None]:
    yield from azure_functions.invoke(call.args[1].invocation_request, lambda message: message.invocation_response)


def fail(call: Call) -> Generator[None, Any, None]:
    yield from azure_functions.fail(call.args[-1])
