"""Google's functions-framework: an event of Pub/Sub brings its ids into the request that delivers it."""

from __future__ import annotations

import functools

from .. import messaging
from ..later import incoming
from ..patching import hide_frame, hooked, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

# Flask and Starlette below make the request's span, and report its error.
MODULES = ("functions_framework", "functions_framework.aio")


def patch(module: ModuleType) -> None:
    for name in ("_cloud_event_view_func_wrapper", "_event_view_func_wrapper", "_cloudevent_func_wrapper"):
        wrap(module, name, hand_on)


def hand_on(call: Call) -> Generator[None, Any, None]:
    """A view is made of the application's function: there is no public place between an event and the function."""
    function = call["function"]
    call["function"] = functools.update_wrapper(functools.partial(HANDED, function), function)
    yield


def _handed(function: Callable[..., Any], event: Any, *context: Any) -> Any:
    try:
        return function(event, *context)
    except BaseException as error:
        hide_frame(error, __file__)
        raise


def adopt(call: Call) -> Generator[None, Any, None]:
    event = call["event"]
    data = getattr(event, "data", event)  # of a CloudEvent, or a background event's, which has the message's parts
    message = data.get("message", data) if isinstance(data, dict) else None
    if isinstance(message, dict):
        incoming.adopt(messaging.getter(message.get("attributes")))
    yield


HANDED = hooked(_handed, adopt, "Google Cloud function")
