"""mod_wsgi: each request that Apache hands to Python is served as a unit of work, whatever the application is."""

from __future__ import annotations

from .. import wsgi
from ..patching import guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

MODULES = ("mod_wsgi",)


def patch(mod_wsgi: ModuleType) -> None:
    # The package of that name has these only inside Apache.
    if hasattr(mod_wsgi, "subscribe_events") and serve not in mod_wsgi.event_callbacks:
        mod_wsgi.subscribe_events(serve)


@guarded
def serve(name: str, application_object: Any = None, **_: Any) -> dict[str, Any] | None:
    """Hear of an event: at a request's start the answer says what is called in the application's place."""
    return {"application_object": wsgi.application(application_object)} if name == "request_started" else None
