"""The suites: which tests, from where, and what they need. All their tests are run but those named here."""
# ruff: noqa: E501 - what is installed and run reads best on one line

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Suite:
    """Tests of another project."""

    package: str  # its pin; none: the interpreter's own tests
    requirements: str
    command: str = "pytest tests"  # after `python -m`, or a script
    folder: str = ""  # where to run it, in the source distribution
    remove: str = ""  # folders of the package itself, so that the installed one is what is tested
    redis: bool = False  # a server is started, at its own port
    warm: str = ""  # why both runs log a record before the tests, which starts the thread that sends it
    environ: dict[str, str] = field(default_factory=dict)
    seconds: int = 1800
    left_out: list[str] = field(default_factory=list)  # what needs a network, or ends differently from run to run
    excused: dict[str, str] = field(default_factory=dict)  # a test that may end differently, and why


SUITES = {
    "flask": Suite("flask==3.1.3", "asgiref greenlet python-dotenv pytest<9"),
    "requests": Suite(
        "requests==2.34.2",
        "requests[socks] pytest-httpbin==2.1.0 httpbin~=0.10.0 pytest-mock pytest<9 trustme",
        left_out=[
            "tests/test_requests.py::TestTimeout::test_connect_timeout",
            "tests/test_requests.py::TestTimeout::test_total_timeout_connect",
            "tests/test_requests.py::TestTimeout::test_encoded_methods",
            "tests/test_requests.py::TestTimeout::test_none_timeout",
            "tests/test_requests.py::test_urllib3_retries",
            "tests/test_testserver.py",
        ],
    ),
    "httpx": Suite(
        "httpx==0.28.1",
        "httpx[brotli,cli,http2,socks,zstd] chardet==5.2.0 trio trio-typing trustme uvicorn cryptography pytest<9",
        remove="httpx",
        left_out=[
            "tests/client/test_proxies.py::test_async_proxy_close",
            "tests/client/test_proxies.py::test_sync_proxy_close",
        ],
    ),
    "starlette": Suite(
        "starlette==1.10.0",
        "starlette[full] httpx2[zstd]>=2 blockbuster importlib-metadata pytest>=9.1.1 trio opentelemetry-sdk "
        "pytest-codspeed",
        remove="starlette",
    ),
    "structlog": Suite("structlog==26.1.0", "pytest<9 pytest-asyncio simplejson time-machine twisted rich greenlet"),
    "responses": Suite(
        "responses==0.26.3",
        "pytest<9 pytest-asyncio pytest-httpserver tomli tomli-w flake8",
        command="pytest responses/tests",
    ),
    "logging": Suite("", "", command="test test_logging test_warnings"),
    "stdlib": Suite(
        "",
        "",
        command="test test_threading_local test_context test_contextlib test_contextlib_async test_queue test_sched "
        "test_httplib test_http_cookiejar test_httpservers test_socketserver test_urllib test_urllib2 "
        "test_urllib2_localnet test_urllib_response test_urlparse test_wsgiref test_xmlrpc test_atexit test_exceptions "
        "test_exception_group test_traceback test_functools test_coroutines test_asyncgen test_runpy test_threadsignals",
    ),
    "django": Suite(
        "Django==5.2.19",
        "asgiref sqlparse tblib jinja2 pillow pyyaml python-memcached aiosmtpd docutils selenium",
        command="runtests.py --parallel=1 --settings=test_sqlite handlers middleware middleware_exceptions requests_tests "
        "responses wsgi asgi urlpatterns urlpatterns_reverse view_tests logging_tests test_client test_client_regress "
        "signals cache async httpwrappers template_tests sessions_tests csrf_tests servers",
        folder="tests",
    ),
    "tornado": Suite("tornado==6.6.1", "pycurl twisted", command="tornado.test"),
    "werkzeug": Suite(
        "werkzeug==3.1.9",
        "pytest<9 ephemeral-port-reserve cryptography watchdog pytest-timeout",
        left_out=["tests/test_serving.py::test_reloader_sys_path"],  # it waits for ever for a reload, bare as well
    ),
    "uvicorn": Suite(
        "uvicorn==0.54.0",
        "uvicorn[standard] a2wsgi wsproto pytest pytest-mock pytest-xdist[psutil] pytest-codspeed httpx httpx2 "
        "trustme cryptography zttp",
        command="pytest tests -n0",
        remove="uvicorn",
        excused={
            f"tests/test_server.py::tests.test_server::test_reset_contextvars_asyncio[{protocol}]": "it writes all context "
            "variables, whosever they are, as JSON; a unit of work is one"
            for protocol in ("httptools", "h11", "zttp")
        },
    ),
    "celery": Suite(
        "celery==5.7.0",
        "celery[yaml,msgpack,redis,gevent,eventlet] pytest pytest-celery pytest-rerunfailures pytest-subtests pytest-timeout "
        "pytest-click pytest-order freezegun boto3 moto cryptography pydantic",
        command="pytest t/unit/worker t/unit/tasks/test_trace.py t/unit/tasks/test_tasks.py t/unit/app/test_app.py "
        "t/unit/app/test_log.py t/unit/app/test_amqp.py",
        warm="after each test, it compares the threads with those before the first",
        remove="celery",
    ),
    "huey": Suite("huey==3.5.4", "peewee redis", command="unittest huey.tests", redis=True),
    "rest_framework": Suite(
        "djangorestframework==3.18.3",
        "django<6 pytest pytest-django coreapi inflection markdown uritemplate pyyaml django-guardian django-filter "
        "pygments httpx requests pytz importlib-metadata dj-database-url",
        remove="rest_framework",
    ),
    "falcon": Suite(
        "falcon==4.4.0",
        "pytest pyyaml requests aiofiles httpx uvicorn websockets cbor2 msgpack mujson ujson orjson msgspec jsonschema",
        remove="falcon",
    ),
    "pyramid": Suite("pyramid==2.1", "webtest zope.component pytest pytest-cov setuptools<81"),
    "bottle": Suite("bottle==0.13.4", "pytest mako jinja2", command="pytest test"),
    "cherrypy": Suite(
        "CherryPy==18.10.0",
        "objgraph pytest pytest-cov pytest-forked pytest-sugar pytest-services path requests-toolbelt setuptools<81 "
        "python-memcached",
        command="pytest cherrypy/test -p no:sugar --override-ini=addopts= --override-ini=filterwarnings=",
    ),
    "waitress": Suite("waitress==3.0.2", "pytest pytest-cov"),
    "asgiref": Suite("asgiref==3.13.0", "pytest pytest-asyncio", remove="asgiref"),
    "flask_cors": Suite("flask-cors==6.0.5", "pytest", remove="flask_cors"),
    "httpcore": Suite(
        "httpcore==1.0.9",
        "httpcore[asyncio,http2,socks,trio] pytest pytest-httpbin trio pytest-trio hpack hyperframe",
        remove="httpcore",
    ),
    "httplib2": Suite(
        "httplib2==0.32.1",
        "cryptography pysocks pytest pytest-forked pytest-timeout pytest-cov pytest-xdist",
        remove="httplib2",
    ),
    "taskiq": Suite(
        "taskiq==0.13.0",
        "taskiq[cbor,metrics,msgpack,opentelemetry,zmq,reload,uv,orjson] pytest pytest-xdist[psutil] freezegun polyfactory "
        "opentelemetry-test-utils pytest-cov tzdata",
        remove="taskiq",
    ),
    "socketio": Suite(
        "python-socketio==5.18.1",
        "python-socketio[client,asyncio_client] pytest pytest-asyncio pytest-cov msgpack simple-websocket uvicorn redis "
        "valkey kombu aio-pika",
        warm="a test counts the threads before and after it",
    ),
    "engineio": Suite(
        "python-engineio==4.15.1", "pytest pytest-cov pytest-asyncio aiohttp tornado requests websocket-client eventlet"
    ),
}

# What found the most for the seconds it takes.
QUICK = ["flask", "starlette", "django", "bottle"]
