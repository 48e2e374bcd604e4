"""EventBridge: an event has no attributes; it carries the ids in its detail, where the user has asked for that."""

from __future__ import annotations

from . import config, messaging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A member of the detail: what consumers do not know of they leave alone, unless they validate strictly. That is why it
# is the user's to switch on.
MEMBER = "_highlight"
MOST_BYTES = 262_144  # of a call's entries
_LONGEST = 1024

asked_for = config.get().eventbridge_detail


def with_ids(entries: Any) -> list[Any] | None:
    """Copies of a call's entries whose details have the ids; None where there is nothing to change."""
    if not asked_for or not isinstance(entries, list):
        return None
    changed = [_with_ids(entry) for entry in entries]
    size, added = _size(entries), _size(changed) - _size(entries)
    return changed if added > 0 and not size <= MOST_BYTES < size + added else None


def _with_ids(entry: Any) -> Any:
    from json import dumps, loads

    detail = entry.get("Detail") if isinstance(entry, dict) else None
    if not isinstance(detail, str):
        return entry
    try:
        given = loads(detail)
    except (ValueError, RecursionError):  # the service will say so
        return entry
    added = messaging.headers(lambda _: None)
    if not isinstance(given, dict) or MEMBER in given or not added:
        return entry
    # The text stays what the application has made of it, with a member put before the others.
    rest = detail.lstrip()[1:]
    return {**entry, "Detail": f'{{"{MEMBER}":{dumps(dict(added))}{"," if given else ""}{rest}'}


def _size(entries: list[Any]) -> int:
    texts = [
        value for entry in entries if isinstance(entry, dict) for value in entry.values() if isinstance(value, str)
    ]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def carried(event: Any) -> dict[str, str]:
    """What an event carries, as its targets receive it."""
    if not isinstance(event, dict) or "detail-type" not in event:
        return {}
    detail = event.get("detail")
    found = detail.get(MEMBER) if isinstance(detail, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str) and len(value) <= _LONGEST}


def carried_in(body: Any) -> dict[str, str]:
    """The same of an event that comes as a message's body."""
    if not isinstance(body, str) or f'"{MEMBER}"' not in body:
        return {}
    from json import loads

    try:
        return carried(loads(body))
    except (ValueError, RecursionError):  # a message of the application's own
        return {}
