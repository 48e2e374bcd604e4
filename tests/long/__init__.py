"""Commands that take minutes to hours: no part of the usual tests, which have a small variant of each."""

REQUIREMENTS = [
    "aiohttp",
    "celery",
    "fastapi",
    "flask",
    "gevent",
    "gunicorn",
    "httpx",
    "opentelemetry-proto",
    "packaging",  # gunicorn's worker for gevent
    "redis",
    "urllib3",
    "uvicorn[standard]",
]
