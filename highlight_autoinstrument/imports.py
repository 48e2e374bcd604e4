"""When a module is imported: call a function with it, once its own import has finished."""

from __future__ import annotations

import sys

from . import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# Global state: who wants to know of which module. A reload tells them again, since it makes the classes anew.
_watched: dict[str, list[Callable[[ModuleType], None]]] = {}
_about_to_import: dict[str, Callable[[str], None]] = {}
# Modules that a server written in C puts in place without an import, once Python has started; they are looked for at
# each import. And those that were found.
OF_SERVERS = ("mod_wsgi", "uwsgi")
_found: set[str] = set()


def watch(name: str, loaded: Callable[[ModuleType], None]) -> None:
    """Call `loaded(module)` after the module of that name has been imported; at once if it already has been."""
    module = sys.modules.get(name)
    _watched.setdefault(name, []).append(loaded)
    # Half-way through its import (by another thread, or above us on this stack) a module lacks what is to be patched.
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        _tell(loaded, module)


def watch_package(name: str, importing: Callable[[str], None]) -> None:
    """Call `importing(name)` just before a top-level package is imported; at once if it already has been."""
    if name in sys.modules:
        importing(name)
    else:
        _about_to_import[name] = importing


def start() -> None:
    """Put the finder first, so that it sees every import; it answers only for modules that are watched."""
    if not any(type(finder) is Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def _tell(loaded: Callable[[ModuleType], None], module: ModuleType) -> None:
    try:
        loaded(module)
    except Exception as error:  # noqa: BLE001 - an exception here would break the application's own import
        guard.failed(module.__name__, error)


def _tell_of_package(name: str) -> None:
    importing = _about_to_import.pop(name, None)
    if importing is not None:
        try:
            importing(name)
        except Exception as error:  # noqa: BLE001 - as in _tell
            guard.failed(name, error)


def _look_for_servers() -> None:
    for name in OF_SERVERS:
        if name in sys.modules and name not in _found:
            module = sys.modules[name]
            if getattr(getattr(module, "__spec__", None), "_initializing", False):  # a package of that name
                continue
            _found.add(name)
            told = _watched.get(name, ())  # before it was complete, if it is a package that the server adds to
            _tell_of_package(name)
            for loaded in tuple(told):
                _tell(loaded, module)


class Finder:
    """A meta path finder that lets the others find, and has watched modules announced once they are complete."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as the others do; None, which means "ask them", for what nobody watches."""
        _look_for_servers()
        _tell_of_package(name)
        if name not in _watched:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            # A finder without find_spec is of the kind that Python itself skips.
            find_spec = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec(name, path, target) if find_spec is not None else None
            if spec is not None:
                _announce(spec)
                return spec
        return None


def _announce(spec: ModuleSpec) -> None:
    """Have the spec's loader tell the watchers after it has executed the module.

    The loader stays the object it is (`module.__loader__` is public, and libraries look at it): only its
    `exec_module` is shadowed on the instance, until it has been called.
    """
    loader = spec.loader
    exec_module = getattr(loader, "exec_module", None)
    if loader is None or exec_module is None:
        return

    def exec_and_tell(module: ModuleType) -> None:
        exec_module(module)
        if module.__name__ == spec.name:  # some loaders serve several modules (zipimport)
            loader.__dict__.pop("exec_module", None)
            for loaded in _watched[spec.name]:
                _tell(loaded, module)

    try:
        loader.exec_module = exec_and_tell  # type: ignore[method-assign]
    except AttributeError as error:  # a loader with slots
        guard.failed(spec.name, error)


__all__ = ["Finder", "start", "watch", "watch_package"]
