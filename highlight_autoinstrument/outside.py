"""Calls that are not what they seem: those that start a library's own threads, and those whose bytes are spoken for."""

from __future__ import annotations

from . import active
from .later import context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from .patching import Call


def outside(call: Call) -> Generator[None, object, None]:
    """Hook for such a call: it happens outside any unit of work, so that nothing of one stays behind."""
    if active.current() is None:
        return
    token = context.attach(context.empty())
    try:
        yield
    finally:
        context.detach(token)


def sealed(call: Call) -> Generator[None, object, None]:
    """Hook for sending what is signed, or has its span already: what is below sends nothing more, and has no span."""
    if active.current() is None:
        return
    token = context.attach(context.sealed())
    try:
        yield
    finally:
        context.detach(token)
