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
    if not settings.disabled_integrations.issubset(covered):
        _tell_unknown(settings, covered)
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
    for problem in settings.problems:
        _say(problem)
    if settings.debug:
        for setting in config.SETTINGS:
            value = config.printable(setting, getattr(settings, setting.field))
            guard.say(f"setting {setting.field} = {value!r} (from {settings.sources[setting.field]})")
        if not settings.enabled:
            guard.say(f"not enabled ({settings.sources['enabled']}): nothing is patched")


def _tell_unknown(settings: config.Config, covered: list[str]) -> None:
    """Say which of the integrations that are not to be patched do not exist: most likely a typing error."""
    variable = settings.sources["disabled_integrations"]
    if not variable.startswith("HIGHLIGHT_"):  # names of OpenTelemetry's, whose packages need not be installed
        return
    known = ecosystem.names().union(covered)
    for name in sorted(settings.disabled_integrations - known):
        import difflib  # only for those who need it

        nearest = ecosystem.ALIASES.get(name) or next(iter(difflib.get_close_matches(name, known, 1)), None)
        hint = f"did you mean {nearest!r}?" if nearest else "the README has a table of the names"
        _say(f"{variable}: there is no integration {name[:100]!r}, so none is left out for it; {hint}")


def _say(problem: str) -> None:
    """Say what is wrong with the settings: once, a server's children need not say it again."""
    problem = " ".join(problem.splitlines())
    said = os.environ.get(_SAID, "").splitlines()
    if problem not in said:
        os.environ[_SAID] = "\n".join([*said, problem])
        guard.say(problem)


# What this process or a parent of it has said of the settings; the variable is ours alone.
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
