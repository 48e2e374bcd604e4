"""Threads, locks, sockets and files of the operating system, also where others stand in the modules that have them.

gevent and eventlet put their own there. A greenlet would send only while the application lets it, in a thread whose
loop may never run again; and at exit, where a signal's handler may be running in the very loop, waiting for it is
impossible. An application's tests put theirs there for a while, in which our thread is at work.
"""

from __future__ import annotations

import _socket
import _thread
import os
import socket
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

# What `os` has when this is loaded.
system: Any = SimpleNamespace(**vars(os))


def allocate_lock() -> Any:
    """A new lock."""
    return _original(_thread, "allocate_lock")()


def allocate_rlock() -> Any:
    """A new lock that its thread may take again, as in a garbage collection while it holds it."""
    return _original(_thread, "RLock")()


def get_ident() -> int:
    """What tells the present thread from others; of greenlets, the thread that they are in."""
    ident: int = _original(_thread, "get_ident")()
    return ident


def start_thread(run: Callable[[], object], name: str) -> int:
    """Start a thread that does not keep the program from ending; return what `get_ident` says in it."""
    start_new_thread = _original(_thread, "start_new_thread")
    if start_new_thread is _thread.start_new_thread:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread.ident or 0
    # `threading` waits in its own way for a thread to begin. That one would be a greenlet's.
    ident: int = start_new_thread(run, ())
    return ident


def create_connection(
    address: tuple[str, int], timeout: float, source_address: tuple[str, int] | None = None
) -> socket.socket:
    """Connect a socket, as `socket.create_connection` does."""
    make = _original(socket, "socket")
    if make is socket.socket:
        return socket.create_connection(address, timeout, source_address)
    problem: OSError | None = None
    # Theirs would look the name up in a pool of threads, which they load when it is needed: at exit, that is too late.
    for family, kind, protocol, _, place in _socket.getaddrinfo(*address, 0, socket.SOCK_STREAM):
        connection: socket.socket = make(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(place)
        except OSError as error:
            problem = error
            connection.close()
        else:
            return connection
    raise problem or OSError(f"{address[0]} has no address")


def _original(module: ModuleType, name: str) -> Any:
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched(module.__name__):
        return gevent.get_original(module.__name__, name)
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched(module.__name__.lstrip("_")):
        return getattr(eventlet.original(module.__name__), name)
    return getattr(module, name)
