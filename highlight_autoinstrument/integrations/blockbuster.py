"""blockbuster: what the agent loads and sends in an event loop's thread is not taken for the application's."""

from __future__ import annotations

from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

    from ..patching import Call

MODULES = ("blockbuster.blockbuster",)

# All that runs below these is ours: the application's own calls go out of `wrapper`, which is not among them.
PLACES = {
    "patching.py": {"enter", "after", "raised", "guarded_call"},
    "loading.py": {"load"},
    "pipeline.py": {"_start"},
    "guard.py": {"say"},
}


def patch(blockbuster: ModuleType) -> None:
    wrap(blockbuster.BlockBusterFunction, "__init__", allow)


def allow(call: Call) -> Generator[None, None, None]:
    yield
    for file, functions in PLACES.items():
        place = (f"/highlight_autoinstrument/{file}", functions)
        if hasattr(call.instance, "can_block_in"):
            call.instance.can_block_in(*place)
        else:  # 1.5.0
            call.instance.can_block_functions.append(place)
