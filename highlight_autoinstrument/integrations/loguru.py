"""loguru: each record that it hands to its handlers is sent, without a handler of ours among them."""

from __future__ import annotations

from .. import guard
from ..later import logs
from ..patching import guarded, on_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

MODULES = ("loguru._logger",)

# Where in its code loguru looks whether there are handlers at all, before it makes a record.
_too_early: set[int] = set()


def patch(module: ModuleType) -> None:
    log = module.Logger._log  # noqa: SLF001 - every method ends there
    if "log_record" not in log.__code__.co_varnames:
        guard.debug("loguru: not patched, this version makes its records in another way")
        return
    _too_early.clear()
    # A handler of ours would take a number that the application counts on, and lower the level from which on messages
    # are formatted. It reads the handlers when the record is made, patched and wanted.
    on_read(module.Core, "handlers", log, look)


def look(handlers: Any, frame: FrameType) -> Any:
    if frame.f_lasti not in _too_early:
        record = frame.f_locals.get("log_record")
        if record is None:
            _too_early.add(frame.f_lasti)
        else:
            forward(record)
    return handlers


@guarded
def forward(record: dict[str, Any]) -> None:
    """Send a record of loguru's; patchers may have put anything into it."""
    level = logs.level_of(getattr(record.get("level"), "no", None))
    if level < logs.minimum_level or logs.passer("loguru") is not None:
        return
    extra = record.get("extra")
    logs.emit(
        level,
        logs.text(record.get("message")),
        logger=logs.text(record.get("name") or ""),
        error=logs.error_in(record.get("exception")),  # a named tuple
        code=logs.code(record.get("function"), getattr(record.get("file"), "path", ""), record.get("line")),
        extra=extra if isinstance(extra, dict) else None,
    )
