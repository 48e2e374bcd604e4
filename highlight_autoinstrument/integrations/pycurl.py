"""pycurl: each `perform` is a client span, and has the ids if all that it may reach may have them."""

from __future__ import annotations

import sys

from .. import active, guard
from ..later import outgoing, spans
from ..patching import guarded, hide_frame, replace, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("pycurl",)

_MAY_HAVE_SUBCLASSES = 1 << 10  # Py_TPFLAGS_BASETYPE
_STATE = "_highlight_options"  # an attribute of a handle, which libcurl cannot be asked for what has been set

# Options that say what a call will be, by what they set: libcurl's last word counts.
_METHODS = {"HTTPGET": "GET", "NOBODY": "HEAD", "UPLOAD": "PUT", "PUT": "PUT"}
_METHODS |= dict.fromkeys(("POST", "HTTPPOST", "MIMEPOST", "POSTFIELDS", "COPYPOSTFIELDS"), "POST")
_NOTED = ("HTTPHEADER", "URL", "FOLLOWLOCATION", "CUSTOMREQUEST", "AWS_SIGV4")


def patch(pycurl: ModuleType) -> None:
    # A handle's type cannot be changed: a subclass takes its name, before anybody has a handle that is none of these.
    if not getattr(pycurl.__spec__, "_initializing", False) or not pycurl.Curl.__flags__ & _MAY_HAVE_SUBCLASSES:
        guard.debug("pycurl.Curl: not patched, it was in use already, or may have no subclasses")
        return
    plain = pycurl.Curl

    def new(kind: type, *args: Any, **kwargs: Any) -> Any:
        if kind is curl and (args or kwargs):  # only subclasses may be given some
            kind = plain
        try:
            return plain.__new__(kind, *args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    namespace = {"__slots__": (), "__module__": "pycurl", "__doc__": plain.__doc__, "__new__": new}
    curl = type("Curl", (plain,), namespace)
    names = {getattr(pycurl, name): name for name in (*_NOTED, *_METHODS) if hasattr(pycurl, name)}
    for method, note in (
        ("setopt", _note),
        ("setopt_string", _note),
        ("unsetopt", _note),
        ("reset", _forget),
        ("duphandle", _copy),
    ):
        replace(curl, method, _noting(guarded(note), names))
    for method in ("perform", "perform_rb", "perform_rs"):
        wrap(curl, method, perform)
    pycurl.Curl = curl  # type: ignore[attr-defined]


def _noting(note: Callable[..., None], names: dict[Any, str]) -> Callable[..., Callable[..., Any]]:
    def make(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                # Bound where older versions would name the type as well, as they refuse them.
                result = method.__get__(self)(*args, **kwargs) if kwargs else method(self, *args)
            except BaseException as error:
                hide_frame(error, __file__)
                raise
            option = args[0] if args else kwargs.get("option")
            if not args or option in names:
                value = args[1] if len(args) > 1 else kwargs.get("value")
                note(self, result, names.get(option), value)
            return result

        return wrapper

    return make


def _note(handle: Any, _: Any, name: str | None, value: Any) -> None:
    if name is None:
        return
    options = getattr(handle, _STATE, None)
    if options is None:
        options = {}
        setattr(handle, _STATE, options)
    if name not in _METHODS:
        options[name] = list(value) if name == "HTTPHEADER" and value is not None else value
    elif value:
        options["method"] = _METHODS[name]
    elif name == "NOBODY" or value is None:
        options["method"] = "GET"


def _forget(handle: Any, *_: Any) -> None:
    setattr(handle, _STATE, {})


def _copy(handle: Any, copy: Any, *_: Any) -> None:
    setattr(copy, _STATE, dict(getattr(handle, _STATE, None) or {}))


def perform(call: Call) -> Generator[None, Any, None]:
    handle, options = call.instance, getattr(call.instance, _STATE, None) or {}
    url = _text(options.get("URL"))
    if "://" not in url:
        url = f"http://{url}"  # as libcurl guesses
    if active.outside(None, lambda: spans.split_url(url)[1]) or not url.lower().startswith(("http://", "https://")):
        return
    pycurl = sys.modules["pycurl"]
    theirs = options.get("HTTPHEADER")
    try:
        _set_headers(pycurl, handle, theirs)
    except pycurl.error:  # closed, or at work: the call is about to say so itself
        return
    method = _text(options.get("CUSTOMREQUEST")) or options.get("method", "GET")
    with spans.http_client(method, url) as span:
        added = _headers(options, url, theirs or ())
        if added:
            _set_headers(pycurl, handle, [*(theirs or ()), *added])
        try:
            yield
        finally:
            if added:
                _set_headers(pycurl, handle, theirs)
            spans.set_status_code(span, handle.getinfo(pycurl.RESPONSE_CODE) or None)  # 0: there was none


def _set_headers(pycurl: Any, handle: Any, lines: list[Any] | None) -> None:
    plain = pycurl.Curl.__base__
    if lines is None:
        plain.unsetopt(handle, pycurl.HTTPHEADER)
    else:
        plain.setopt(handle, pycurl.HTTPHEADER, lines)


def _headers(options: dict[str, Any], url: str, lines: Any) -> list[Any]:
    """The lines to add: text among the application's text, bytes among its bytes."""
    if options.get("AWS_SIGV4"):  # libcurl signs all that it sends
        return []
    if options.get("FOLLOWLOCATION") and not outgoing.everywhere():
        guard.debug("call by pycurl: no ids, libcurl would take them along wherever it is redirected")
        return []
    present: dict[str, str] = {}
    for line in lines:
        name, _, value = _text(line).replace(";", ":", 1).partition(":")  # "name;" has no value
        present.setdefault(name.strip().lower(), value.strip())
    scheme, host, port, _ = spans.split_url(url)
    added = outgoing.headers(scheme, host, port, present.get, url)
    return [f"{name}: {value}" for name, value in added]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""
