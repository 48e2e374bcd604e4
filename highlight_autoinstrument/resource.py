"""The service that the records come from, as OpenTelemetry's resource attributes."""

from __future__ import annotations

import os
import platform
import socket
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from . import __version__, service

if TYPE_CHECKING:
    from .config import Config


def attributes(settings: Config) -> dict[str, Any]:
    """The resource of this process. Values that the user gave come last, and win."""
    found: dict[str, Any] = {
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": _version("opentelemetry-api"),
        "telemetry.distro.name": "highlight-autoinstrument",
        "telemetry.distro.version": __version__,
        "process.pid": os.getpid(),
        "process.executable.path": sys.executable,
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": platform.python_version(),
        "process.runtime.description": sys.version,
        "host.name": socket.gethostname(),
        "host.arch": platform.machine(),
        "os.type": sys.platform,
        "service.name": service.program_name(),
    }
    found.update(settings.resource_attributes)
    if settings.project_id is not None:
        found["highlight.project_id"] = settings.project_id
    if settings.service_name is not None:
        found["service.name"] = settings.service_name
    if settings.service_version is not None:
        found["service.version"] = settings.service_version
    if settings.environment is not None:
        # Highlight reads the old name, LaunchDarkly the new one.
        found["deployment.environment"] = found["deployment.environment.name"] = settings.environment
    return found


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
