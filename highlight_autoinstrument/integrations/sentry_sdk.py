"""Sentry: what sends its reports is no part of the request that starts it, so that it has no spans and no ids."""

from __future__ import annotations

from ..outside import outside
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("sentry_sdk.worker",)


def patch(worker: ModuleType) -> None:
    # The thread, or the task, that the first report starts wherever it is made, and that sends all others as well.
    wrap(worker.BackgroundWorker, "start", outside)
    if hasattr(worker, "AsyncWorker"):
        wrap(worker.AsyncWorker, "start", outside)
