"""uWSGI: each request to an application that it finds in a module is served as a unit of work, whatever that is."""

from __future__ import annotations

from .. import guard, imports, wsgi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

MODULES = ("uwsgi",)


def patch(uwsgi: ModuleType) -> None:
    # It takes the application out of the module in C, once that has been imported. A file (`wsgi-file`) is run without
    # an import, and an application that a function makes (`module:make()`) is in no module.
    options = getattr(uwsgi, "opt", {})
    if not getattr(uwsgi, "has_threads", True):  # by default before 2.0.27
        guard.say(
            "uWSGI lets no thread run beside requests: what is recorded is sent late, or at its end; --enable-threads"
        )
    for name, attribute in applications(options):
        imports.watch(name, exchange(attribute))
    for file in texts(options, "wsgi-file"):
        guard.debug(f"uwsgi: {file} is run without an import: its requests are seen if a framework serves them")


def applications(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The modules that the options name, and the name of the application in each."""
    given = [value for option in ("module", "wsgi") for value in texts(options, option)]
    given += [value.partition("=")[2] for value in texts(options, "mount")]
    usual = [*texts(options, "callable"), "application"][0]
    for value in given:
        name, _, attribute = value.partition(":")
        yield name, attribute or usual


def texts(options: dict[str, Any], name: str) -> list[str]:
    """An option's values: it may be there several times."""
    values = options.get(name, [])
    values = values if isinstance(values, (list, tuple)) else [values]
    return [value.decode(errors="replace") for value in values if isinstance(value, bytes)]


def exchange(attribute: str) -> Callable[[ModuleType], None]:
    def loaded(module: ModuleType) -> None:
        app = getattr(module, attribute, None)
        if callable(app) and not hasattr(type(app).__call__, "__highlight__"):  # a framework's, which does it itself
            setattr(module, attribute, wsgi.in_place_of(app))

    return loaded
