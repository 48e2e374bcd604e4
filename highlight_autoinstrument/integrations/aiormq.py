"""aiormq: a message that is published, also by aio-pika, carries the ids in its headers."""

from __future__ import annotations

import copy
import sys

from .. import active, messaging
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("aiormq.channel", "aiormq.connection")


def patch(module: ModuleType) -> None:
    if module.__name__ == "aiormq.connection":
        wrap(module.Connection, "connect", outside)
    else:
        wrap(module.Channel, "__init__", outside)
        wrap(module.Channel, "basic_publish", send)


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None:
        return
    exchange, routing_key = call.get("exchange", ""), call.get("routing_key", "")
    key = {"messaging.rabbitmq.destination.routing_key": routing_key}
    with messaging.send("rabbitmq", exchange or routing_key, **key):
        given = call.get("properties")
        headers = (given.headers if given is not None else None) or {}
        added = messaging.headers(messaging.getter(headers)) if isinstance(headers, dict) else []
        if added:
            # Copies: aio-pika's message lends its own headers.
            if given is not None:
                properties = copy.copy(given)
            else:
                properties = sys.modules["aiormq.channel"].spec.Basic.Properties(delivery_mode=1)  # its own default
            properties.headers = {**headers, **dict(added)}
            call["properties"] = properties
        yield
