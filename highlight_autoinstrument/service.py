"""The name of the service, where the user has given none."""

from __future__ import annotations

import os
import sys


def program_name() -> str:
    """What the user would call the program: `gunicorn`, `manage`, the module of `python -m`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        name: str = spec.name
        return name.removesuffix(".__main__")
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    name = script.removesuffix(".py").removesuffix(".exe")
    return name if name and not name.startswith("-") else "unknown_service:python"
