"""What rrweb records of a page, written by hand: snapshots, and what happens after them."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

Node = dict[str, Any]


class Page:
    """A page that is recorded; its elements get their numbers as they are made."""

    def __init__(self) -> None:
        self._ids = count(2)
        self.body = self.element("body")
        self.head = self.element("head")

    def element(self, tag: str, *children: Node, **attributes: Any) -> Node:
        """An element; `_` of an attribute's name is a `-`, and at its end nothing."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return {"type": 2, "id": next(self._ids), "tagName": tag, "attributes": named, "childNodes": list(children)}

    def text(self, content: str, *, style: bool = False) -> Node:
        """A text."""
        return {"type": 3, "id": next(self._ids), "textContent": content, "isStyle": style}

    def snapshot(self, at: int, url: str = "http://localhost:3000/") -> list[dict[str, Any]]:
        """The two events with which a recording begins."""
        html = {"type": 2, "id": next(self._ids), "tagName": "html", "attributes": {}, "childNodes": []}
        html["childNodes"] = [self.head, self.body]
        document = {"type": 0, "id": 1, "childNodes": [html]}
        return [
            event(at, 4, href=url, width=800, height=500),
            event(at + 1, 2, node=document, initialOffset={"left": 0, "top": 0}),
        ]

    def adds(self, at: int, node: Node, parent: Node | None = None) -> dict[str, Any]:
        """An event: something is added at the end of an element."""
        parent_id = (parent or self.body)["id"]
        return mutation(at, adds=[{"parentId": parent_id, "nextId": None, "node": node}])


def event(at: int, kind: int, **data: Any) -> dict[str, Any]:
    """One event."""
    return {"timestamp": at, "type": kind, "data": data}


def mutation(at: int, **changes: list[Any]) -> dict[str, Any]:
    """An event: the page changes."""
    return event(
        at, 3, source=0, **{name: changes.get(name, []) for name in ("adds", "removes", "texts", "attributes")}
    )


def click(at: int, node: Node, text: str) -> list[dict[str, Any]]:
    """A click, as rrweb and as Highlight's client record it."""
    named = {"clickTarget": "BUTTON", "clickTextContent": text, "clickSelector": "button"}
    return [
        event(at, 3, source=2, type=2, id=node["id"], x=20, y=20),
        event(at, 5, tag="Click", payload=named),
    ]


def payload(**parts: list[Any]) -> dict[str, Any]:
    """What the browser's client sends each two seconds; `events`, `messages`, `resources`, `errors`."""
    return {
        "events": {"events": parts.get("events", [])},
        "messages": json.dumps({"messages": parts.get("messages", [])}),
        "resources": json.dumps({"resources": parts.get("resources", [])}),
        "web_socket_events": json.dumps({"webSocketEvents": []}),
        "errors": parts.get("errors", []),
    }


def resource(at: int, method: str, url: str, status: int, request_id: str, **more: Any) -> dict[str, Any]:
    """A request that the page made with fetch, which took 100 ms; `asked` and `answered` are its two bodies."""
    request = {"id": request_id, "url": url, "verb": method, "headers": {"accept": "text/plain"}}
    response = {"status": status, "headers": {"x-shop": "yes"}}
    return {
        "initiatorType": "fetch",
        "name": url,
        "startTimeAbs": at,
        "responseEndAbs": at + 100,
        "requestResponsePairs": {
            "request": {**request, "body": more.get("asked", "")},
            "response": {**response, "body": more.get("answered", "")},
        },
    }
