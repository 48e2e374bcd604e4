"""start(): read the settings, and have each library patched when the application imports it."""

from __future__ import annotations

import os
import sys

from . import config, ecosystem, guard, imports, lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_prepared = False
_started = False


def prepare(*, before_program: bool = False) -> None:
    """Read the settings and hook the ends of the process, and patch nothing: all that the API needs."""
    global _prepared  # noqa: PLW0603 - once in a process
    if _prepared:
        return
    _prepared = True
    settings = config.get()
    guard.raises = settings.raise_errors
    if settings.debug:
        guard.set_debug(None)
    _tell(settings)
    if settings.enabled:
        lifecycle.start(before_program=before_program)


def start() -> None:
    """Instrument this process; a second call does nothing.

    Nothing is imported here but this package's smallest modules: most processes of a machine are no services.
    """
    global _started  # noqa: PLW0603 - once in a process
    if _started:
        return
    _started = True
    prepare(before_program=True)
    settings = config.get()
    if not settings.enabled:
        return
    covered = integrations()
    for name in covered:
        if name in settings.disabled_integrations:
            guard.debug(f"{name}: not patched, it is in {settings.sources['disabled_integrations']}")
        else:
            imports.watch_package(name, _watch_modules)
    if "opentelemetry" not in settings.disabled_integrations:
        ecosystem.start(covered, settings.disabled_integrations)
    imports.start()


def accompany() -> None:
    """Stamp and repair what OpenTelemetry's own auto-instrumentation records, patch nothing else, and send nothing."""
    settings = config.get()
    guard.raises = settings.raise_errors
    if _started or not settings.enabled:
        return
    _import("otel").sends = False  # type: ignore[attr-defined]
    _watch_modules("opentelemetry")
    imports.start()


def _tell(settings: config.Config) -> None:
    problems = "\n".join(settings.problems)
    if problems and os.environ.get(_SAID) != problems:  # a server's children need not say it again
        os.environ[_SAID] = problems
        for problem in settings.problems:
            guard.say(problem)
    if settings.debug:
        for setting in config.SETTINGS:
            value = config.printable(setting, getattr(settings, setting.field))
            guard.say(f"setting {setting.field} = {value!r} (from {settings.sources[setting.field]})")
        if not settings.enabled:
            guard.say(f"not enabled ({settings.sources['enabled']}): nothing is patched")


# What a parent process has said of its settings; the variable is ours alone.
_SAID = "_HIGHLIGHT_PROBLEMS_SAID"


def integrations() -> list[str]:
    """The names of the integrations: one file each, named as the package whose import wakes it."""
    folder = os.path.join(os.path.dirname(__file__), "integrations")
    try:
        files = os.listdir(folder)
    except OSError:  # inside a zip file
        import pkgutil

        package = _import("integrations")
        return [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [file[:-3] for file in files if file.endswith(".py") and not file.startswith("_")]


def _import(name: str) -> ModuleType:
    full = f"{__package__}.{name}"
    __import__(full)
    return sys.modules[full]


def _watch_modules(name: str) -> None:
    integration = _import(f"integrations.{name}")
    for module in integration.MODULES:
        imports.watch(module, integration.patch)
