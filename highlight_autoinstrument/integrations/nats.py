"""nats-py: a message carries the ids in its headers, and whoever works on it works under them."""

from __future__ import annotations

from .. import active, messaging
from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("nats.aio.client", "nats.aio.msg", "nats.aio.subscription", "nats.js.client")

# Subjects of NATS's own: acknowledgements, JetStream's interface, key-value buckets.
SYSTEM = "$"
# Callbacks of its own, which only hand an answer or an entry on.
ITS_OWN = ("Client._request_sub_callback", "JetStreamContext._handle_async_reply", "KeyValue.", "ObjectStore.")

FETCHED = "_highlight_fetched"  # in a subscription's __dict__: its messages are asked for by `fetch`


def patch(module: ModuleType) -> None:
    if module.__name__ == "nats.aio.client":
        wrap(module.Client, "connect", outside)
        wrap(module.Client, "publish", publish)
        wrap(module.Client, "request", send)
        wrap(module.Client, "subscribe", subscribe)
        wrap(module.Client, "subscribe", outside)  # its task works for whoever sends, and not for whoever subscribes
    elif module.__name__ == "nats.aio.msg":
        messaging.describe(module.Msg, described)
    elif module.__name__ == "nats.aio.subscription":
        wrap(module.Subscription, "next_msg", receive)
        wrap(module.Subscription, "unsubscribe", close)
        # What `messages` gives: there is no other door to the moment at which the next one is asked for.
        wrap(module._SubscriptionMessageIterator, "__anext__", receive)  # noqa: SLF001
    else:
        wrap(module.JetStreamContext, "publish", send)
        wrap(module.JetStreamContext, "subscribe_bind", outside)
        wrap(module.JetStreamContext.PullSubscription, "fetch", fetch)


def described(message: Any) -> tuple[str, str, Any]:
    return "nats", message.subject, message.headers


def send(call: Call) -> Generator[None, Any, None]:
    if active.current() is None or str(call["subject"]).startswith(SYSTEM):
        return
    with messaging.send("nats", call["subject"]):
        yield


def publish(call: Call) -> Generator[None, Any, None]:
    if active.current() is None or str(call["subject"]).startswith(SYSTEM):
        return
    with messaging.send("nats", call["subject"]):
        given = call.get("headers") or {}
        added = dict(messaging.headers(messaging.getter(given))) if isinstance(given, dict) else {}
        if added and fits(call.instance, given, added, call.get("payload", b"")):
            call["headers"] = {**given, **added}
        yield


def fits(client: Any, given: dict[Any, Any], added: dict[str, str], payload: Any) -> bool:
    """Whether the server takes the headers: it hangs up on a message that is with them longer than it allows."""
    if not isinstance(payload, (bytes, bytearray, memoryview)):
        return False
    info = client._server_info  # noqa: SLF001 - nothing else tells whether it knows headers
    size = len(payload) + 100 + sum(len(str(name)) + len(str(value)) * 4 for name, value in (given | added).items())
    return bool(info.get("headers")) and size <= client.max_payload


def subscribe(call: Call) -> Generator[None, Any, None]:
    callback = call.get("cb")
    if callable(callback) and not is_its_own(callback) and not str(call["subject"]).startswith(SYSTEM):
        call["cb"] = messaging.working(callback, lambda call: described(call.args[-1]), "NATS callback")
    yield


def is_its_own(callback: Any) -> bool:
    module, name = (str(getattr(callback, attribute, "")) for attribute in ("__module__", "__qualname__"))
    return module.startswith("nats.") and name.startswith(ITS_OWN)


def receive(call: Call) -> Generator[None, Any, None]:
    subscription = behind(call.instance)
    if FETCHED in vars(subscription):
        return
    messaging.asked(subscription)
    message = yield
    messaging.received(subscription, "nats", [(message.subject, message.headers)])


def fetch(call: Call) -> Generator[None, Any, None]:
    subscription = behind(call.instance)
    vars(subscription)[FETCHED] = True
    messaging.asked(subscription)
    messages = yield
    messaging.received(subscription, "nats", [(message.subject, message.headers) for message in messages])


def close(call: Call) -> Generator[None, Any, None]:
    if not call.get("limit"):  # else only after so many more
        messaging.closed(behind(call.instance))
    yield


def behind(instance: Any) -> Any:
    """The subscription itself: those of JetStream, and what is iterated, stand before one."""
    return getattr(instance, "_sub", instance)
