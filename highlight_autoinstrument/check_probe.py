"""What `highlight-run --check` has another Python say of itself; given to it as a text (`python -c`), not imported.

It is written for Pythons that the agent does not support as well, and prints a line that begins with its argument, and
JSON behind it: one of what it is, and one of the exports that it has tried, if it has. It imports no library and ends
without what is done at exit, so that nothing is sent.
"""

import sys

# By `-c` the present folder, which had not been there when sitecustomize ran; and it may have a json.py.
if sys.path[:1] == [""]:
    del sys.path[0]

import importlib.util
import json
import os


def facts() -> "dict[str, object]":
    """What this Python is, and what has become of the agent in it."""
    bootstrap = sys.modules.get("highlight_autoinstrument.bootstrap")
    flags = sys.flags
    return {
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "version": list(sys.version_info[:3]),
        "prefix": sys.prefix,
        "flags": {
            "E": bool(flags.ignore_environment) and not flags.isolated,
            "I": bool(flags.isolated),
            "S": bool(flags.no_site),
        },
        "path": [str(entry) for entry in sys.path],
        "environ": {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("HIGHLIGHT_", "OTEL_", "PYTHONPATH", "XDG_STATE_HOME"))
        },
        "sitecustomize": [file for file in map(sitecustomize, map(str, sys.path)) if file],
        "agent": agent(),
        "loaded": bool(getattr(bootstrap, "_started", False)),
    }


def sitecustomize(folder: str) -> "str | None":
    """The file of that name in a folder of the path."""
    for name in ("sitecustomize.py", os.path.join("sitecustomize", "__init__.py")):
        if os.path.isfile(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return None


def agent() -> "dict[str, object] | None":
    """Where this Python has the agent's package, and its version, if that was imported."""
    spec = importlib.util.find_spec("highlight_autoinstrument")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = sys.modules.get("highlight_autoinstrument")
    return {
        "folder": os.path.dirname(next(iter(spec.submodule_search_locations))),
        "version": getattr(package, "__version__", None),
    }


def exports() -> object:
    """What became of empty exports, if the agent is here and has a version that can tell."""
    config = sys.modules.get("highlight_autoinstrument.config")
    if config is None or not config.get().enabled:
        return None
    try:
        from highlight_autoinstrument import check_export
    except ImportError:
        return None
    return check_export.round_trips(config.get())


def main(mark: str) -> None:
    """Print the facts, and then what takes longer."""
    found = facts()
    sys.stdout.write("\n" + mark + json.dumps(found) + "\n")
    sys.stdout.flush()
    if found["loaded"]:
        sys.stdout.write("\n" + mark + json.dumps(exports()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException as failure:  # noqa: BLE001 - left to Python, it would be an error that the agent reports
        sys.stderr.write(type(failure).__name__ + ": " + str(failure) + "\n")
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
