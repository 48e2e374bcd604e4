"""rq: what a job has recorded is sent before its work horse ends, which it does by os._exit."""

from __future__ import annotations

from .. import lifecycle
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("rq.worker",)


def patch(worker: ModuleType) -> None:
    wrap(getattr(worker, "BaseWorker", worker.Worker), "perform_job", sending)


def sending(call: Call) -> Generator[None, Any, Any]:
    try:
        yield
    finally:
        if call["self"].is_horse:
            lifecycle.close()
