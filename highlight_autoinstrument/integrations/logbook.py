"""logbook: each record that one of its handlers wants is sent, before the handlers see it."""

from __future__ import annotations

from ..later import logs
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("logbook.base",)

LEVELS = {9: 5, 10: 10, 11: 20, 12: 25, 13: 30, 14: 40, 15: 50}  # as logging has them


def patch(base: ModuleType) -> None:
    # A handler of ours would have to be pushed onto each thread's stack. This is called once for a record that some
    # handler wants, and has returned when the handlers run.
    wrap(base.RecordDispatcher, "process_record", forward)


def forward(call: Call) -> Generator[None, Any, None]:
    yield
    record = call["record"]
    level = LEVELS.get(record.level, 20)
    if level < logs.minimum_level or logs.passer("logbook") is not None or is_replayed(record):
        return
    logs.emit(
        level,
        message(record),
        logger=logs.text(record.channel or ""),
        error=logs.error_in(record.exc_info),
        code=logs.code(record.func_name, record.filename, record.lineno),
        extra=dict(record.extra),
    )


def is_replayed(record: Any) -> bool:
    """Whether the record was made, and so sent, elsewhere, and has come through a queue."""
    return "_information_pulled" in vars(record)


def message(record: Any) -> str:
    """The record's text; for arguments that do not fit its format, which the handlers will complain of, the format."""
    try:
        return logs.text(record.message)
    except Exception:  # noqa: BLE001 - the application's
        return logs.text(record.msg)
