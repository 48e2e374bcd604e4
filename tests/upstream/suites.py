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
        excused={
            "t/unit/app/test_app.py::t.unit.app.test_app.test_App::test_duplicate_task_name_warns_once_per_name": "it "
            "counts warnings, and those of files that tests before it left open come when the garbage collector runs"
        },
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
    "urllib3": Suite(
        "urllib3==2.8.0",
        "urllib3[brotli,h2,socks,zstd] anyio[trio] httpx hypercorn pytest pytest-socket pytest-timeout quart quart-trio "
        "trio cryptography idna pyopenssl trustme",
        # The probe's threads wait for each other for ever, bare as well.
        command="pytest test -m 'not requires_network' -k 'not test_http2_probe_blocked_per_thread'",
        remove="src",
    ),
    "gunicorn": Suite(
        "gunicorn==27.0.1",
        "gunicorn[gevent,http2,tornado] pytest pytest-asyncio pytest-cov coverage uvloop httpx[http2] inotify",
        remove="gunicorn",
    ),
    "aiohttp": Suite(
        "aiohttp==3.14.5",
        "aiohttp[speedups] blockbuster freezegun gunicorn isal proxy.py pytest pytest-cov pytest-mock pytest-timeout "
        "pytest-xdist pytest-codspeed python-on-whales trustme uvloop zlib-ng re-assert",
        # Fast: without a garbage collection after each test, which takes far longer than the tests.
        command="pytest tests --aiohttp-fast --override-ini=addopts= -m 'not dev_mode and not autobahn and not internal'",
        remove="aiohttp",
    ),
    "kombu": Suite(
        "kombu==5.7.0",
        "kombu[redis,yaml,msgpack,sqlalchemy,consul,zookeeper,sqs] brotli zstandard pytest pytest-freezer pytest-rerunfailures "
        "hypothesis pymongo pyro4 boto3 urllib3 setuptools<81",
        command="pytest t/unit --ignore=t/unit/transport/test_azurestoragequeues.py --ignore=t/unit/transport/test_gcpubsub.py",
        remove="kombu",
        excused={
            "t/unit/transport/virtual/test_base.py::t.unit.transport.virtual.test_base.test_QoS::"
            f"test_restore_unacked_once_dumps_message_body[{compression}]": "it compares all headers of a message; one that "
            "a test before it has got from a SimpleQueue that it never closes is worked on until the garbage collector "
            "takes the queue, and what is sent meanwhile has its trace"
            for compression in ("None", "gzip")
        },
    ),
    "rq": Suite(
        "rq==3.0.0",
        "psutil pytest pytest-cov croniter",
        redis=True,
        remove="rq",
        # They give a process 0.75 s to end; if that is too short, they wait for ever in the end, bare as well.
        left_out=[f"tests/test_worker_pool.py::TestWorkerPool::test_{name}_workers" for name in ("check", "reap")],
    ),
    "hypercorn": Suite(
        "hypercorn==0.18.0",
        "hypercorn[h3,trio,uvloop] httpx hypothesis mock pytest pytest-asyncio pytest-cov pytest-trio trio",
        remove="src",
    ),
    "sanic": Suite(
        "sanic==25.12.1",
        "sanic-testing pytest pytest-asyncio pytest-xdist pytest-benchmark beautifulsoup4 chardet<4 docutils pygments uvicorn "
        "cryptography slotscheck aioquic mypy websockets<16",
        remove="sanic",
    ),
    "fastapi": Suite(
        "fastapi==0.165.0",
        "fastapi[all] anyio[trio] dirty-equals flask inline-snapshot logfire opentelemetry-instrumentation-fastapi "
        "pwdlib[argon2] pyjwt pytest<9.2 pytest-codspeed pytest-cov pytest-timeout pytest-xdist sentry-sdk sqlmodel "
        "strawberry-graphql a2wsgi python-slugify ruff mypy ty coverage",
        remove="fastapi",
        environ={"PYTHONPATH": "./docs_src"},
        excused={
            f"tests/test_telemetry/{file}.py::tests.test_telemetry.{file}::{test}": "a log record of an application without "
            "tracing has the trace of OpenTelemetry's context, which is a context variable: a unit of work has one"
            for file, test in (
                ("test_exceptions", "test_independent_log_configuration[logs_only]"),
                ("test_websockets", "test_unexpected_exception[cleanup-logs_only]"),
                ("test_websockets", "test_unexpected_exception[dependency-logs_only]"),
                ("test_websockets", "test_unexpected_exception[endpoint-logs_only]"),
            )
        }
        | {
            "tests/test_telemetry/test_data.py::tests.test_telemetry.test_data::"
            f"test_excluded_request_does_not_use_outer_telemetry[{kind}-False]": "it looks at the parent of a span of "
            "the application's: in a request inside another one that is our span for the inner request"
            for kind in ("asyncio", "trio")
        },
    ),
    "redis": Suite(
        "redis==8.1.0",
        "redis[hiredis] cachetools pybreaker numpy xxhash ujson uvloop aiohttp pytest pytest-asyncio pytest-cov "
        "pytest-timeout redis-entraid opentelemetry-sdk cryptography mock",
        command="pytest tests -m 'not onlycluster and not ssl and not redismod and not cp_integration and not "
        "multidb_integration and not replica and not experimental' --ignore=tests/test_scenario --ignore=tests/test_ssl.py",
        redis=True,
        remove="redis",
    ),
}

# What found the most for the seconds it takes.
QUICK = ["flask", "starlette", "django", "bottle"]
