"""What highlight-io's documentation says to add by hand: H, with the integration of the framework that there is."""

import os
from importlib.util import find_spec

import highlight_io

integrations = []
if find_spec("flask"):
    from highlight_io.integrations.flask import FlaskIntegration

    integrations.append(FlaskIntegration())
if find_spec("django"):
    from highlight_io.integrations.django import DjangoIntegration

    integrations.append(DjangoIntegration())

highlight_io.H(
    "1",
    integrations=integrations,
    instrument_logging=True,
    otlp_endpoint=os.environ["GRPC_SINK"],
    service_name="shop",
)

if find_spec("fastapi"):
    import fastapi
    from highlight_io.integrations.fastapi import FastAPIMiddleware

    made = fastapi.FastAPI.__init__

    def with_middleware(app, *args, **kwargs):
        made(app, *args, **kwargs)
        app.add_middleware(FastAPIMiddleware)

    fastapi.FastAPI.__init__ = with_middleware
