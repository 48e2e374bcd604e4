"""The settings: each one's environment variables, form and default, read once into a frozen `Config`."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn


class UnusableError(Exception):
    """The settings do not allow for sending anything; the text says to the operator which, and what to do."""


class Setting:
    """One setting: where it is read from (the first variable that is set wins), how, and what it means."""

    __slots__ = ("default", "expected", "field", "meaning", "parse", "variables")

    def __init__(
        self,
        field: str,
        variables: str,
        parse: Callable[[str], Any],
        default: Any,
        expected: str,
        meaning: str,
    ) -> None:
        self.field = field
        self.variables = tuple(variables.split())
        self.parse = parse
        self.default = default
        self.expected = expected
        self.meaning = meaning


LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "FATAL": 50, "CRITICAL": 50}
SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)


def _text(value: str) -> str:
    return value


def _boolean(value: str) -> bool:
    if value.lower() in ("true", "1", "yes", "on"):
        return True
    if value.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError


def _level(value: str) -> int:
    return LEVELS[value.upper()] if not value.isdigit() else int(value)


def _names(value: str) -> frozenset[str]:
    return frozenset(name.strip().lower().replace("-", "_") for name in value.split(",") if name.strip())


def _count(value: str) -> int:
    number = int(value)
    if number <= 0:
        raise ValueError
    return number


def _milliseconds(value: str) -> float:
    number = float(value)
    if not 0 <= number < 1e10:
        raise ValueError
    return number / 1000


def _ratio(value: str) -> float:
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def url(value: str) -> str:
    """An http:// or https:// URL, without slashes at its end; ValueError for what is none."""
    scheme, separator, rest = value.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise ValueError
    # By hand: what would split a URL takes longer to load than all that starts with Python.
    authority = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, ""
    is_address = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if is_address else host
    if not name or any(sign.isspace() or sign in ("[]" if is_address else "[]:") for sign in name):
        raise ValueError
    if port and not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError
    return value.rstrip("/")


def bare_url(value: str) -> str:
    """What may be shown of a URL, well-formed or not: no user, no password, no query."""
    scheme, separator, rest = value.partition("?")[0].rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _origins(value: str) -> str:
    if value not in ("*", ""):  # what is no default is checked here, so that a typing error is said at start
        from .origins import TracingOrigins

        TracingOrigins.parse(value)
    return value


class _PartlyError(ValueError):
    """A list of which some entries can be used: those, and what is wrong with each of the others."""

    def __init__(self, value: object, problems: list[str]) -> None:
        self.value = value
        self.problems = problems


def _patterns(value: str) -> tuple[str, ...]:
    """Names and `/regex/`, in a list as of tracing origins."""
    from .origins import entries

    found = list(entries(value))
    problems = list(filter(None, map(_problem_of_pattern, found)))
    if problems:
        raise _PartlyError(tuple(entry for entry in found if not _problem_of_pattern(entry)), problems)
    return tuple(found)


def _problem_of_pattern(entry: str) -> str:
    from .origins import compiled

    try:
        if entry.startswith("/"):
            compiled(entry)
    except ValueError as error:
        return str(error)
    return ""


def _header_names(value: str) -> tuple[str, ...]:
    good, bad = [], []
    for name in filter(None, (part.strip().lower() for part in value.split(","))):
        if name.isascii() and name.replace("-", "").replace("_", "").isalnum():
            good.append(name)
        else:
            bad.append(f"{name!r} is not the name of a header")
    if bad:
        raise _PartlyError(tuple(dict.fromkeys(good)), bad)
    return tuple(dict.fromkeys(good))


def _pairs(value: str) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded, as OpenTelemetry's variables have it."""
    pairs = {}
    for item in value.split(","):
        if item.strip():
            key, separator, text = item.partition("=")
            if not separator or not key.strip():
                raise ValueError
            if "%" in text:
                from urllib.parse import unquote

                text = unquote(text)
            pairs[key.strip()] = text.strip()
    return pairs


def printable(setting: Setting, value: object) -> object:
    """A setting's value, or the text that could not be one, without what may be secret in it."""
    if setting.parse is url and isinstance(value, str):
        return bare_url(value)
    if setting.parse is _pairs:
        return dict.fromkeys(value, "***") if isinstance(value, dict) else "***"
    return sorted(value) if isinstance(value, frozenset) else value


def _choice(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError
        return value.lower()

    return parse


# The README's table is compared with this one. Ours come before OpenTelemetry's: the first variable that is set wins.
SETTINGS = (
    Setting(
        "project_id",
        "HIGHLIGHT_PROJECT_ID",
        _text,
        None,
        "an integer or a hashid",
        "the Highlight project that receives the data; without it nothing is exported",
    ),
    Setting(
        "endpoint",
        "HIGHLIGHT_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_ENDPOINT",
        url,
        None,  # depends on the protocol: see Config.base_url
        "an http:// or https:// URL",
        "where to send: `/v1/traces`, `/v1/logs` and `/v1/metrics` are appended (default `https://otel.highlight.io:4318`)",
    ),
    Setting(
        "service_name",
        "HIGHLIGHT_SERVICE_NAME OTEL_SERVICE_NAME",
        _text,
        None,
        "a text",
        "the service's name; default: the program's",
    ),
    Setting(
        "service_version",
        "HIGHLIGHT_SERVICE_VERSION",
        _text,
        None,
        "a text",
        "its version; a git commit makes Highlight link the source lines",
    ),
    Setting(
        "environment",
        "HIGHLIGHT_ENVIRONMENT",
        _text,
        None,
        "a text",
        "`production`, `staging`, ...: sent as `deployment.environment`",
    ),
    Setting(
        "enabled", "HIGHLIGHT_ENABLED", _boolean, True, "true or false", "`false`: nothing is patched, nothing is sent"
    ),
    Setting("debug", "HIGHLIGHT_DEBUG", _boolean, False, "true or false", "tells on stderr what the agent does"),
    Setting(
        "log_level",
        "HIGHLIGHT_LOG_LEVEL",
        _level,
        20,
        "TRACE, DEBUG, INFO, WARN, ERROR, FATAL or a number",
        "the lowest level of log records that are exported (default `INFO`)",
    ),
    Setting(
        "disabled_integrations",
        "HIGHLIGHT_DISABLED_INTEGRATIONS OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        _names,
        frozenset(),
        "names with commas between",
        "integrations that are not to be patched, by the names in the table below",
    ),
    Setting(
        "tracing_origins",
        "HIGHLIGHT_TRACING_ORIGINS",
        _origins,
        "*",
        "`*`, `internal` or a list of hosts, `host:port`, `*.example.com` and `/regex/`",
        "the hosts to which the ids are forwarded (default `*`, every host)",
    ),
    Setting(
        "cors",
        "HIGHLIGHT_CORS",
        _boolean,
        True,
        "on or off",
        "`off`: the browser client's headers are not added to the application's CORS answers",
    ),
    Setting(
        "eventbridge_detail",
        "HIGHLIGHT_EVENTBRIDGE_DETAIL",
        _boolean,
        False,
        "on or off",
        "`on`: events put on EventBridge, which have no attributes, carry the ids in their detail, as `_highlight`;"
        " leave it off where a consumer refuses members that it does not know",
    ),
    Setting(
        "redact",
        "HIGHLIGHT_REDACT",
        _patterns,
        (),
        "names and `/regex/` with commas between",
        "what is not to be sent, besides passwords, tokens and the like: names (`ssn`, `card_*`), whose values are "
        "replaced as attributes and in texts, and `/regex/`: the value of a key in which it is found is replaced, and "
        "in a text what it matches",
    ),
    Setting(
        "record_headers",
        "HIGHLIGHT_RECORD_HEADERS",
        _header_names,
        (),
        "names of headers with commas between",
        "headers of requests and of their answers to record on server spans (default none); `Authorization`, cookies "
        "and the like are replaced all the same",
    ),
    Setting(
        "resource_attributes",
        "OTEL_RESOURCE_ATTRIBUTES",
        _pairs,
        {},
        "key=value pairs with commas between",
        "further attributes of the service; `service.name`, `service.version`, `deployment.environment` and "
        "`highlight.project_id` are taken from here where the variables above are not set",
    ),
    Setting(
        "sdk_disabled",
        "OTEL_SDK_DISABLED",
        _boolean,
        False,
        "true or false",
        "`true`: as `HIGHLIGHT_ENABLED=false`, unless that is set itself",
    ),
    Setting(
        "protocol",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        _choice("http/protobuf", "grpc"),
        "http/protobuf",
        "http/protobuf or grpc",
        "`http/protobuf` (default), or `grpc` where `grpcio` is installed",
    ),
    Setting(
        "traces_endpoint",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        url,
        None,
        "an http:// or https:// URL",
        "the whole URL for traces, where it differs; `HIGHLIGHT_OTLP_ENDPOINT` wins",
    ),
    Setting(
        "logs_endpoint",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        url,
        None,
        "an http:// or https:// URL",
        "the whole URL for logs, likewise",
    ),
    Setting(
        "metrics_endpoint",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        url,
        None,
        "an http:// or https:// URL",
        "the whole URL for metrics, likewise",
    ),
    Setting(
        "headers",
        "OTEL_EXPORTER_OTLP_HEADERS",
        _pairs,
        {},
        "key=value pairs with commas between",
        "headers for the receiver, such as an access token",
    ),
    Setting(
        "timeout",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        _milliseconds,
        10.0,
        "milliseconds",
        "how long one export may take, in milliseconds (default 10000)",
    ),
    Setting(
        "compression",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        _choice("gzip", "none"),
        "gzip",
        "gzip or none",
        "`gzip` (default) or `none`",
    ),
    Setting(
        "certificate",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        _text,
        None,
        "a file",
        "the receiver's certificate authority, a PEM file",
    ),
    Setting(
        "client_certificate",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        _text,
        None,
        "a file",
        "our certificate for mTLS, a PEM file",
    ),
    Setting("client_key", "OTEL_EXPORTER_OTLP_CLIENT_KEY", _text, None, "a file", "its key, a PEM file"),
    Setting(
        "schedule_delay",
        "OTEL_BSP_SCHEDULE_DELAY",
        _milliseconds,
        1.0,
        "milliseconds",
        "how long records are gathered before they are sent, in milliseconds (default 1000)",
    ),
    Setting(
        "batch_size",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        _count,
        512,
        "a number above 0",
        "the most records in one export (default 512)",
    ),
    Setting(
        "queue_size",
        "OTEL_BSP_MAX_QUEUE_SIZE",
        _count,
        10_000,
        "a number above 0",
        "the most records that wait; beyond it the oldest go, counted and said (default 10000)",
    ),
    Setting(
        "spool_dir",
        "HIGHLIGHT_SPOOL_DIR",
        _text,
        None,  # depends on the user: see _complete
        "a folder, or off",
        "where errors are kept until the receiver has them: what a killed process leaves is sent by the service's next "
        "one (default `~/.local/state/highlight-autoinstrument`); `off`: nowhere",
    ),
    Setting(
        "traces_exporter",
        "OTEL_TRACES_EXPORTER",
        _choice("otlp", "none"),
        "otlp",
        "otlp or none",
        "`none`: no spans are sent; errors and logs are",
    ),
    Setting(
        "logs_exporter",
        "OTEL_LOGS_EXPORTER",
        _choice("otlp", "none"),
        "otlp",
        "otlp or none",
        "`none`: no log records are sent; errors are",
    ),
    Setting(
        "metrics_exporter",
        "OTEL_METRICS_EXPORTER",
        _choice("otlp", "none"),
        "otlp",
        "otlp or none",
        "`none`: no metrics are sent",
    ),
    Setting(
        "sampler",
        "OTEL_TRACES_SAMPLER",
        _choice(*SAMPLERS),
        "parentbased_always_on",
        "one of " + ", ".join(SAMPLERS),
        "which traces are sent (default `parentbased_always_on`); errors and logs are always",
    ),
    Setting("sampler_arg", "OTEL_TRACES_SAMPLER_ARG", _ratio, 1.0, "a number from 0 to 1", "the ratio for the above"),
    Setting(
        "raise_errors",
        "HIGHLIGHT_RAISE_ERRORS",
        _boolean,
        False,
        "true or false",
        "for tests of the agent itself: its own failures raise instead of being reported",
    ),
)

HTTP_ENDPOINT = "https://otel.highlight.io:4318"
GRPC_ENDPOINT = "https://otel.highlight.io:4317"


class Config:
    """The settings, frozen: one attribute for each row of `SETTINGS`.

    `sources` says for each where it came from (a variable's name, or `default`); `problems` holds one line for each
    value that could not be used.
    """

    project_id: str | None
    endpoint: str | None
    service_name: str | None
    service_version: str | None
    environment: str | None
    enabled: bool
    debug: bool
    log_level: int
    disabled_integrations: frozenset[str]
    tracing_origins: str
    cors: bool
    eventbridge_detail: bool
    redact: tuple[str, ...]
    record_headers: tuple[str, ...]
    resource_attributes: dict[str, str]
    sdk_disabled: bool
    protocol: str
    traces_endpoint: str | None
    logs_endpoint: str | None
    metrics_endpoint: str | None
    headers: dict[str, str]
    timeout: float
    compression: str
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    schedule_delay: float
    batch_size: int
    queue_size: int
    spool_dir: str | None
    traces_exporter: str
    logs_exporter: str
    metrics_exporter: str
    sampler: str
    sampler_arg: float
    raise_errors: bool

    sources: dict[str, str]
    problems: tuple[str, ...]

    def __init__(self, environ: Mapping[str, str]) -> None:
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        problems: list[str] = []
        for setting in SETTINGS:
            values[setting.field], sources[setting.field] = _read(setting, environ, problems)
        _complete(values, sources)
        values["spool_dir"] = _spool_dir(values["spool_dir"], environ)
        problem = project_id_problem(values["project_id"])
        if values["enabled"] and problem:
            problems.append(problem)
        self.__dict__.update(values, sources=sources, problems=tuple(problems))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"Config is frozen: {name}"
        raise AttributeError(msg)

    def url(self, signal: str) -> str:
        """Where `traces`, `logs` or `metrics` go: for HTTP the whole URL, for gRPC the target's URL without a path."""
        field = self._field_of_url(signal)
        if field != "endpoint":
            own: str = getattr(self, field)
            return own
        if self.protocol == "grpc":
            return self.endpoint or GRPC_ENDPOINT
        return f"{self.endpoint or HTTP_ENDPOINT}/v1/{signal}"

    def url_source(self, signal: str) -> str:
        """What the URL of `traces`, `logs` or `metrics` came from: a variable's name, or `default`."""
        return self.sources[self._field_of_url(signal)]

    def _field_of_url(self, signal: str) -> str:
        own = f"{signal}_endpoint"
        wins = getattr(self, own) is not None and self.sources["endpoint"] != "HIGHLIGHT_OTLP_ENDPOINT"
        return own if wins else "endpoint"


def _read(setting: Setting, environ: Mapping[str, str], problems: list[str]) -> tuple[Any, str]:
    for variable in setting.variables:
        value = environ.get(variable)
        # OpenTelemetry: an empty variable is an unset one. An empty list of origins means "to nobody".
        if value is None or (not value.strip() and setting.field != "tracing_origins"):
            continue
        try:
            return setting.parse(value.strip()), variable
        except _PartlyError as partly:
            problems += [
                f"{variable}: {problem:.200}; it is ignored, the others are used" for problem in partly.problems
            ]
            return partly.value, variable
        except (ValueError, KeyError) as error:
            shown = str(printable(setting, value))
            shown = shown if len(shown) <= 100 else shown[:100] + "..."
            reason = f" ({error})" if isinstance(error, ValueError) and setting.field == "tracing_origins" else ""
            used = "the default is used" if setting.default not in (None, {}) else "it is ignored"
            problems.append(f"{variable}={shown!r} is not {setting.expected}{reason}; {used}")
    return setting.default, "default"


def _complete(values: dict[str, Any], sources: dict[str, str]) -> None:
    """Take from OpenTelemetry's combined variables what has not been set by a variable of its own."""
    if values["sdk_disabled"] and sources["enabled"] == "default":
        values["enabled"], sources["enabled"] = False, "OTEL_SDK_DISABLED"
    attributes = values["resource_attributes"]
    for field, *names in (
        ("project_id", "highlight.project_id"),
        ("service_name", "service.name"),
        ("service_version", "service.version"),
        ("environment", "deployment.environment.name", "deployment.environment"),
    ):
        for name in names:
            if values[field] is None and attributes.get(name):
                values[field], sources[field] = attributes[name], "OTEL_RESOURCE_ATTRIBUTES"
    if values["project_id"] is None:
        for name, value in values["headers"].items():
            if name.lower() == "x-highlight-project" and value:
                values["project_id"], sources["project_id"] = value, "OTEL_EXPORTER_OTLP_HEADERS"


def _spool_dir(value: str | None, environ: Mapping[str, str]) -> str | None:
    """The folder for all services of this user, as an absolute path; None for none."""
    if value is not None:
        return None if value.lower() == "off" else os.path.abspath(os.path.expanduser(value))
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # so the specification has it
        state = os.path.expanduser("~/.local/state")
    return os.path.join(state, "highlight-autoinstrument") if os.path.isabs(state) else None


def project_id_problem(project_id: str | None) -> str | None:
    """Say in one line what is wrong with a project id: the backend drops malformed ones silently, with status 200."""
    if project_id is None:
        return (
            "HIGHLIGHT_PROJECT_ID is not set: nothing will be exported; "
            "set it to the id in your Highlight project's settings (or pass --project-id)"
        )
    hashid = len(project_id) >= 8 and project_id.isascii() and project_id.isalnum() and project_id.islower()
    integer = len(project_id) < 20 and project_id.isascii() and project_id.isdigit() and int(project_id) > 0
    if integer or hashid:
        return None
    return (
        f"HIGHLIGHT_PROJECT_ID={project_id[:100]!r} is neither an integer nor a hashid such as '1jdkoe52': "
        "the backend will drop everything silently; copy the id from your Highlight project's settings"
    )


_config: Config | None = None


def get() -> Config:
    """The settings of this process, read from the environment the first time and never again."""
    global _config  # noqa: PLW0603 - read once
    if _config is None:
        _config = Config(os.environ)
    return _config
