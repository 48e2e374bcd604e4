"""AWS: a call of a service is a client span, and a message carries the ids in its attributes."""

from __future__ import annotations

import struct
from collections import OrderedDict

from . import active, aws_events, messaging
from .later import spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from .patching import Call
    from .recording import Span
    from .spans import Nothing, Piece

# What a message's attributes carry, what matters most first: there may be no room for all.
NAMES = ("x-highlight-request", "traceparent", "tracestate")
MOST_ATTRIBUTES = 10
# Bytes of a message, or of a batch, its attributes counted. Until 2025 it was the smaller one, and for SNS it still is.
SIZES = (262_144, 1_048_576)

# Calls that send: OpenTelemetry's name for the system, where it goes, and where the messages of a batch are.
SENDS = {
    "sqs.SendMessage": ("aws_sqs", "QueueUrl", None),
    "sqs.SendMessageBatch": ("aws_sqs", "QueueUrl", "Entries"),
    "sns.Publish": ("aws.sns", "TopicArn", None),
    "sns.PublishBatch": ("aws.sns", "TopicArn", "PublishBatchRequestEntries"),
}

# Global state: of the messages that were received last, by receipt handle: the queue, and what they carry.
_received: OrderedDict[str, tuple[str, dict[str, str]]] = OrderedDict()
_MOST_RECEIVED = 1000


# Calls


def call(call: Call) -> Generator[None, Any, None]:
    """Hook for a client's `_make_api_call`, of botocore's and of aiobotocore's.

    botocore's events are public, but none of them surrounds a call together with how it fails.
    """
    service = call.instance.meta.service_model.service_name
    operation = f"{service}.{call['operation_name']}"
    hidden: list[str] = []
    if operation == "sqs.ReceiveMessage":
        messaging.asked(call.instance)
        hidden = _ask(call)
    elif active.current() is None:
        return
    with _span(call, operation) as span:
        if span is not None and operation in SENDS:
            _send(call, SENDS[operation][2])
        elif span is not None and operation == "events.PutEvents":
            events = aws_events.with_ids(call["api_params"].get("Entries"))
            if events is not None:
                call["api_params"] = {**call["api_params"], "Entries": events}
        try:
            response = yield
        except BaseException as error:
            _note(span, getattr(error, "response", None))
            raise
        _note(span, response)
    if operation == "sqs.ReceiveMessage":
        _receive(call, response.get("Messages") or (), hidden)


def _span(call: Call, operation: str) -> Piece | Nothing:
    if active.current() is None:
        return spans.NOTHING
    name, params = call["operation_name"], call["api_params"]
    model = call.instance.meta.service_model
    attributes = {**spans.rpc("aws-api", f"{model.service_id}/{name}"), "cloud.region": call.instance.meta.region_name}
    if operation in SENDS:
        system, key, batch = SENDS[operation]
        destination = _last(params.get(key) or (params.get("TargetArn") if system == "aws.sns" else None))
        if destination and "/" not in destination:  # a telephone or an app's endpoint: nobody there continues it
            if batch:
                entries = params.get(batch)
                attributes["messaging.batch.message_count"] = len(entries) if isinstance(entries, list) else 0
            return messaging.send(system, destination, **attributes)
    if not spans.calling():
        return spans.NOTHING
    return spans.piece(f"{model.service_id}.{name}", spans.CLIENT, attributes)


def _last(address: Any) -> str:
    """The name in a queue's URL or in an ARN."""
    if not isinstance(address, str):
        return ""
    return address.rpartition(":")[2] if address.startswith("arn:") else address.rpartition("/")[2]


def _note(span: Span | None, response: Any) -> None:
    """Note an answer on the call's span, one that the library has made an exception of as well."""
    if span is None or not isinstance(response, dict):
        return
    code = (response.get("Error") or {}).get("Code")
    if code:
        span.fail(str(code))
    metadata = response.get("ResponseMetadata") or {}
    spans.set_status_code(span, metadata.get("HTTPStatusCode"))
    if metadata.get("RequestId"):
        span.set_attribute("aws.request_id", metadata["RequestId"])


# Messages that go out


def _send(call: Call, batch: str | None) -> None:
    """Put the ids into the attributes of copies of what is sent, where that fits."""
    params = call["api_params"]
    if batch is None:
        changed = _with_ids([params])
        if changed is not None:
            call["api_params"] = changed[0]
    elif isinstance(params.get(batch), list):
        changed = _with_ids(params[batch])
        if changed is not None:
            call["api_params"] = {**params, batch: changed}


def _with_ids(entries: list[Any]) -> list[Any] | None:
    changed = []
    before = after = 0
    for entry in entries:
        given = entry.get("MessageAttributes") if isinstance(entry, dict) else ""
        if not isinstance(given, dict) and given is not None:
            return None  # the library will say so
        given = given or {}
        present = {name.lower(): value for name, value in given.items() if isinstance(name, str)}
        added = messaging.headers(present.get)[: max(0, MOST_ATTRIBUTES - len(given))]
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in added}
        size = _size(entry) + sum(_attribute_size(*attribute) for attribute in given.items())
        before += size
        after += size + sum(_attribute_size(*attribute) for attribute in attributes.items())
        changed.append({**entry, "MessageAttributes": {**given, **attributes}} if attributes else entry)
    fits = not any(before <= limit < after for limit in SIZES)
    return changed if fits and after > before else None


def _size(entry: dict[str, Any]) -> int:
    return sum(_length(entry.get(name)) for name in ("MessageBody", "Message", "Subject"))


def _attribute_size(name: str, value: Any) -> int:
    return _length(name) + sum(map(_length, value.values()) if isinstance(value, dict) else ())


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    return len(value) if isinstance(value, (bytes, bytearray)) else 0


# Messages that come in


def _ask(call: Call) -> list[str]:
    """Ask for our attributes as well; gives those that the application did not ask for."""
    params = call["api_params"]
    names = params.get("MessageAttributeNames") or ()
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return []
    missing = [name for name in NAMES if not any(_covers(pattern, name) for pattern in names)]
    if missing:
        call["api_params"] = {**params, "MessageAttributeNames": [*names, *missing]}
    return missing


def _covers(pattern: str, name: str) -> bool:
    return pattern in ("All", name) or (pattern.endswith(".*") and name.startswith(pattern[:-2]))


def _receive(call: Call, messages: Sequence[Any], hidden: list[str]) -> None:
    queue = _last(call["api_params"].get("QueueUrl"))
    batch = []
    for message in messages:
        batch.append((queue, carried(message)))
        _received[message.get("ReceiptHandle", "")] = batch[-1]
        _hide(message, hidden)
    while len(_received) > _MOST_RECEIVED:
        _received.popitem(last=False)
    messaging.received(call.instance, "aws_sqs", batch)


def _hide(message: dict[str, Any], hidden: list[str]) -> None:
    """Give the application the message that it would have got without us."""
    attributes = message.get("MessageAttributes")
    ours = [name for name in hidden if attributes and name in attributes]
    if not ours:
        return
    for name in ours:
        del attributes[name]  # type: ignore[union-attr]  # there is one, or there were none of ours
    if attributes:
        message["MD5OfMessageAttributes"] = _digest(attributes)
    else:
        del message["MessageAttributes"]
        message.pop("MD5OfMessageAttributes", None)


def _digest(attributes: dict[str, Any]) -> str:
    """The checksum that SQS would have sent with these attributes."""
    import hashlib

    whole = hashlib.md5(usedforsecurity=False)
    for name, value in sorted(attributes.items()):
        kind = value["DataType"]
        binary = "BinaryValue" in value
        content = value["BinaryValue"] if binary else value["StringValue"].encode()
        for part in (name.encode(), kind.encode()):
            whole.update(struct.pack("!I", len(part)) + part)
        whole.update((b"\2" if binary else b"\1") + struct.pack("!I", len(content)) + content)
    return whole.hexdigest()


def carried(message: dict[str, Any]) -> dict[str, str]:
    """What a message carries, as the API or as Lambda gives it, or in the envelope that SNS puts around one."""
    notice = message.get("Sns")
    if isinstance(notice, dict):
        return _texts(notice.get("MessageAttributes"))
    found = _texts(message.get("MessageAttributes") or message.get("messageAttributes"))
    body = message.get("Body") or message.get("body")
    return found or _texts(_enveloped(body)) or aws_events.carried_in(body)


def _texts(attributes: Any) -> dict[str, str]:
    found = {}
    if isinstance(attributes, dict):
        for name in NAMES:
            value = attributes.get(name)
            if isinstance(value, dict) and value.get("Type") != "Binary":  # SNS has no other name for that one's base64
                texts = (value.get(key) for key in ("StringValue", "stringValue", "Value"))
                text = next((text for text in texts if isinstance(text, str)), None)
                if text is not None:
                    found[name] = text
    return found


def _enveloped(body: Any) -> Any:
    if not isinstance(body, str) or '"Notification"' not in body or not any(f'"{name}"' in body for name in NAMES):
        return None
    import json

    try:
        notice = json.loads(body)
    except (ValueError, RecursionError):  # a message of the application's own
        return None
    if isinstance(notice, dict) and notice.get("Type") == "Notification":
        return notice.get("MessageAttributes")
    return None


def described(message: dict[str, Any]) -> tuple[str, str, Any] | None:
    """The system, the destination and the headers of a message that is a dict; None for what is no message."""
    handle = message.get("ReceiptHandle")
    if isinstance(handle, str) and "Body" in message:
        queue, headers = _received.get(handle) or ("messages", carried(message))
        return "aws_sqs", queue, headers
    if message.get("eventSource") == "aws:sqs":
        return "aws_sqs", _last(message.get("eventSourceARN")), carried(message)
    notice = message.get("Sns")
    if message.get("EventSource") == "aws:sns" and isinstance(notice, dict):
        return "aws.sns", _last(notice.get("TopicArn")), carried(message)
    return None
