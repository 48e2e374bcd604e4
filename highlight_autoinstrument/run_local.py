"""highlight-run --local: the command reports to highlight-local on this machine, and each error is a line on stderr.

What decides where the agent sends is set to this machine, whatever the environment says: the option is explicit. How
much is sent (samplers, exporters, levels) stays as it is set.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING

from . import child, cli, config, guard
from .run_local_errors import RESOURCE_ATTRIBUTE, Lines
from .run_local_server import DEFAULT_PROJECT_ID, UnavailableError, join

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_VARIABLES = {setting.field: setting.variables[0] for setting in config.SETTINGS}


def main(
    command: list[str], settings: Mapping[str, str], environ: MutableMapping[str, str], *, check: bool, as_json: bool
) -> int:
    """Run the command, or check it as it would be run; returns the exit status."""
    try:
        with closing(join(environ)) as server:
            launcher = os.urandom(8).hex()
            environ.update(settings)
            environ.update(additions(environ, server.url, launcher))
            if check:
                from . import check as checks

                return checks.main(command, settings, environ, as_json=as_json)
            cli.add_to_path(environ, cli.template_folder())
            guard.say(f"see {server.url}{f' ({server.note})' if server.note else ''}")
            lines = Lines(server, launcher)
            lines.start()
            ended = child.run(command, environ)
            lines.finish()
    except UnavailableError as error:
        return cli.fail(str(error), 1)
    except KeyboardInterrupt:  # before the command has begun
        return child.status(-signal.SIGINT)
    return child.status(ended)


def additions(environ: Mapping[str, str], url: str, launcher: str) -> dict[str, str]:
    """What is set for a command that is to send to `url`, and nowhere else."""
    settings = config.Config(environ)
    found = {"endpoint": url, "enabled": "true"}
    if settings.project_id is None:
        found["project_id"] = DEFAULT_PROJECT_ID
    if settings.protocol != "http/protobuf":
        found["protocol"] = "http/protobuf"
    given = environ.get(_VARIABLES["resource_attributes"], "").strip()
    found["resource_attributes"] = f"{given},{RESOURCE_ATTRIBUTE}={launcher}".lstrip(",")
    return {**{_VARIABLES[field]: value for field, value in found.items()}, **_without_proxy(environ, url)}


def _without_proxy(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """A proxy would look for this machine's address on its own."""
    address = url.partition("://")[2]
    exceptions = [name for name in environ if name.lower() == "no_proxy"] or ["NO_PROXY"]
    if not any(name.lower().endswith("_proxy") and name not in exceptions for name in environ):
        return {}
    given = {name: environ.get(name, "").strip() for name in exceptions}
    return {name: f"{value},{address}".lstrip(",") for name, value in given.items() if value != "*"}
