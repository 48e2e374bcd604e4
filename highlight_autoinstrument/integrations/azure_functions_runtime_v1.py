"""Azure Functions since Python 3.13, in the model that has function.json (v1): each invocation is a unit of work."""

from __future__ import annotations

from .. import azure_functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

MODULES = ("azure_functions_runtime_v1",)


def patch(package: ModuleType) -> None:
    azure_functions.patch_runtime(package)
