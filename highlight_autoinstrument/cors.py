"""The headers that the browser client adds to cross-origin calls, taken through the application's own CORS answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# They turn calls into preflights that ask for headers which the application has never heard of. It answers 400, or
# leaves them out, and the browser blocks the call itself. So the application is asked without them, answers as it
# always did, and they are added if by that answer it allowed the origin.
#
# What stays blocked, since the application refuses it: a preflight that it answers by an error (405 where it sets CORS
# headers by hand and knows no OPTIONS), and a method that it does not allow, although a plain POST without the client's
# headers has no preflight.

_OURS = frozenset(("x-highlight-request", "traceparent", "tracestate", "baggage"))


def hide(requested: str) -> tuple[str | None, tuple[str, ...]]:
    """Take our names out of `Access-Control-Request-Headers`, before the application sees a preflight.

    Return what the application is to see, and our names as the browser spelled them. None: nothing is left, and the
    header has to go, since in an empty one Starlette sees a name that it does not allow. An application that copies
    the header into its answer without asking whether it is there is the one that notices.
    """
    others: list[str] = []
    ours: dict[str, str] = {}
    for part in requested.split(","):
        name = part.strip()
        if name.lower() in _OURS:
            ours.setdefault(name.lower(), name)
        else:
            others.append(part)
    if not ours:
        return requested, ()
    rest = ",".join(others).strip()
    return (rest if rest.strip(", \t") else None), tuple(ours.values())


def allow(
    response_headers: Sequence[tuple[str, str]], asked: tuple[str, ...], origin: str | None, status: int
) -> list[tuple[str, str]] | None:
    """Return the answer's headers with the names that `hide` took out allowed, or None to leave the answer as it is.

    `origin` is the request's `Origin`, `status` the answer's. Only a 2xx by which the application allowed this origin
    is changed, and of it only `Access-Control-Allow-Headers`.

    Caches: for `Access-Control-Max-Age` seconds a browser keeps the names that a preflight allowed. One kept from
    before has not ours, so the browser asks again; refusals it does not keep. Only a shared cache that was told to keep
    OPTIONS, and not by `Access-Control-Request-Headers`, has to be emptied once.
    """
    edit = _edit(response_headers, asked, origin, status)
    if edit is None:
        return None
    position, value = edit
    headers = list(response_headers)
    if position is None:
        headers.append(("Access-Control-Allow-Headers", value))
    else:
        headers[position] = (headers[position][0], value)
    return headers


def hide_bytes(request_headers: Sequence[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], tuple[str, ...]]:
    """`hide` in an ASGI scope's headers: a new list for the application, and our names."""
    kept: list[tuple[bytes, bytes]] = []
    ours: dict[str, str] = {}
    for name, value in request_headers:
        if name.lower() == b"access-control-request-headers":
            rest, found = hide(value.decode("latin-1"))
            if found:
                ours.update((spelled.lower(), spelled) for spelled in found if spelled.lower() not in ours)
                if rest is not None:
                    kept.append((name, rest.encode("latin-1")))
                continue
        kept.append((name, value))
    return kept, tuple(ours.values())


def allow_bytes(
    response_headers: Sequence[tuple[bytes, bytes]], asked: tuple[str, ...], origin: str | None, status: int
) -> list[tuple[bytes, bytes]] | None:
    """`allow` for the headers of `http.response.start`."""
    text = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in response_headers)
    edit = _edit(text, asked, origin, status)
    if edit is None:
        return None
    position, value = edit
    headers = list(response_headers)
    if position is None:
        headers.append((b"access-control-allow-headers", value.encode("latin-1")))
    else:
        headers[position] = (headers[position][0], value.encode("latin-1"))
    return headers


def _edit(
    headers: Iterable[tuple[str, str]], asked: tuple[str, ...], origin: str | None, status: int
) -> tuple[int | None, str] | None:
    """The new value, and the line that gets it (None: a line of its own); None if nothing is to change."""
    if not (asked and origin and 200 <= status < 300):
        return None
    position: int | None = None
    origins, listed = [], []
    last, credentials = "", False
    for index, (name, value) in enumerate(headers):
        lower = name.lower()
        if lower == "access-control-allow-origin":
            origins.append(value.strip())
        elif lower == "access-control-allow-credentials":
            credentials = value.strip() == "true"
        elif lower == "access-control-allow-headers":
            position, last = index, value
            listed += [item.strip().lower() for item in value.split(",")]
    # Compared as the browser compares it: exactly, and two lines are a refusal.
    if origins not in ([origin], ["*"]):
        return None
    if "*" in listed and not credentials:  # with credentials the star is a header of that name
        return None
    missing = [name for name in asked if name.lower() not in listed]
    if not missing:
        return None
    return position, ", ".join([last, *missing] if last.strip() else missing)
