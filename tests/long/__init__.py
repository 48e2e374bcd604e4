"""Commands that take minutes to hours: no part of the usual tests, which have a small variant of each."""

REQUIREMENTS = [
    "aiohttp",
    "celery",
    "fastapi",
    "flask",
    "gevent",
    "gunicorn",
    "opentelemetry-proto",
    "redis",
    "uvicorn[standard]",
]
