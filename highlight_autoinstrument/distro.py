"""HighlightDistro: under `opentelemetry-instrument` spans and logs have the session, and exceptions our form."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry import propagate
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # comes with the command
from opentelemetry.propagators.composite import CompositePropagator

from . import bootstrap, config
from .propagator import HighlightPropagator


class HighlightDistro(BaseDistro):  # type: ignore[misc]  # it has no types
    """OpenTelemetry's own distribution, where that is installed, with our processors; OpenTelemetry exports."""

    def _configure(self, **options: Any) -> None:
        settings = config.get()
        if settings.enabled:
            bootstrap.accompany()
            for name, value in variables(settings).items():
                os.environ.setdefault(name, value)
            if not os.environ.get("OTEL_PROPAGATORS"):  # read when OpenTelemetry was imported: too early to set it here
                propagate.set_global_textmap(
                    CompositePropagator([propagate.get_global_textmap(), HighlightPropagator()])
                )
        try:
            from opentelemetry.distro import OpenTelemetryDistro  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return
        OpenTelemetryDistro()._configure(**options)  # noqa: SLF001 - as `opentelemetry-instrument` calls it


def variables(settings: config.Config) -> dict[str, str]:
    """OpenTelemetry's variables for what has been set by ours."""
    found = {}
    if settings.sources["endpoint"] == "HIGHLIGHT_OTLP_ENDPOINT" and settings.endpoint:
        found["OTEL_EXPORTER_OTLP_ENDPOINT"] = settings.endpoint
        found["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    if settings.service_name:
        found["OTEL_SERVICE_NAME"] = settings.service_name
    if settings.project_id:
        found["OTEL_EXPORTER_OTLP_HEADERS"] = f"x-highlight-project={settings.project_id}"
    return found
