"""The settings: where each is read from, what becomes of a bad value, and that they are frozen."""

from __future__ import annotations

import pytest

from highlight_autoinstrument.config import SETTINGS, Config, project_id_problem


def config(**environ: str) -> Config:
    return Config({"HIGHLIGHT_PROJECT_ID": "1", **environ})


def test_every_setting_has_its_attribute_and_the_other_way_round():
    declared = set(Config.__annotations__) - {"sources", "problems"}

    assert {setting.field for setting in SETTINGS} == declared


def test_the_defaults():
    settings = config()

    assert settings.problems == ()
    assert (settings.enabled, settings.debug, settings.log_level, settings.tracing_origins, settings.cors) == (
        True,
        False,
        20,
        "*",
        True,
    )
    assert settings.url("traces") == "https://otel.highlight.io:4318/v1/traces"
    assert settings.url("logs") == "https://otel.highlight.io:4318/v1/logs"
    assert settings.sources["log_level"] == "default"


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        config().debug = True


@pytest.mark.parametrize(
    ("environ", "field", "value", "source"),
    [
        ({"OTEL_SERVICE_NAME": "a"}, "service_name", "a", "OTEL_SERVICE_NAME"),
        (
            {"OTEL_SERVICE_NAME": "a", "HIGHLIGHT_SERVICE_NAME": "b"},
            "service_name",
            "b",
            "HIGHLIGHT_SERVICE_NAME",
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=c,x=1"}, "service_name", "c", "OTEL_RESOURCE_ATTRIBUTES"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.version=1%2C2"}, "service_version", "1,2", "OTEL_RESOURCE_ATTRIBUTES"),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod"},
            "environment",
            "prod",
            "OTEL_RESOURCE_ATTRIBUTES",
        ),
        ({"OTEL_SDK_DISABLED": "true"}, "enabled", False, "OTEL_SDK_DISABLED"),
        ({"OTEL_SDK_DISABLED": "true", "HIGHLIGHT_ENABLED": "1"}, "enabled", True, "HIGHLIGHT_ENABLED"),
        ({"HIGHLIGHT_ENABLED": "FALSE"}, "enabled", False, "HIGHLIGHT_ENABLED"),
        ({"HIGHLIGHT_LOG_LEVEL": "warning"}, "log_level", 30, "HIGHLIGHT_LOG_LEVEL"),
        ({"HIGHLIGHT_LOG_LEVEL": "15"}, "log_level", 15, "HIGHLIGHT_LOG_LEVEL"),
        (
            {"HIGHLIGHT_DISABLED_INTEGRATIONS": " flask , urllib3,"},
            "disabled_integrations",
            frozenset({"flask", "urllib3"}),
            "HIGHLIGHT_DISABLED_INTEGRATIONS",
        ),
        ({"HIGHLIGHT_TRACING_ORIGINS": ""}, "tracing_origins", "", "HIGHLIGHT_TRACING_ORIGINS"),
        ({"HIGHLIGHT_CORS": "off"}, "cors", False, "HIGHLIGHT_CORS"),
        ({"HIGHLIGHT_EVENTBRIDGE_DETAIL": "on"}, "eventbridge_detail", True, "HIGHLIGHT_EVENTBRIDGE_DETAIL"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "2500"}, "timeout", 2.5, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        (
            {"OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c, d=e"},
            "headers",
            {"a": "b c", "d": "e"},
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        ({"HIGHLIGHT_SERVICE_NAME": ""}, "service_name", None, "default"),
    ],
)
def test_where_a_setting_comes_from(environ, field, value, source):
    settings = config(**environ)

    assert getattr(settings, field) == value
    assert settings.sources[field] == source
    assert settings.problems == ()


def test_the_project_may_come_by_an_exporters_header():
    settings = Config({"OTEL_EXPORTER_OTLP_HEADERS": "X-Highlight-Project=1jdkoe52"})

    assert (settings.project_id, settings.problems) == ("1jdkoe52", ())


@pytest.mark.parametrize(
    ("environ", "traces", "logs"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1/"}, "http://a:1/v1/traces", "http://a:1/v1/logs"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1/x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/t"},
            "http://b:2/t",
            "http://a:1/x/v1/logs",
        ),
        (
            {"HIGHLIGHT_OTLP_ENDPOINT": "http://c:3", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://b:2/l"},
            "http://c:3/v1/traces",
            "http://c:3/v1/logs",
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "https://otel.highlight.io:4317",
            "https://otel.highlight.io:4317",
        ),
    ],
)
def test_the_urls(environ, traces, logs):
    settings = config(**environ)

    assert (settings.url("traces"), settings.url("logs")) == (traces, logs)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HIGHLIGHT_ENABLED", "maybe"),
        ("HIGHLIGHT_LOG_LEVEL", "loud"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "otel.example.com:4318"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "http://"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "http://otel:port"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "http://otel:70000"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "http://[::1"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "http://::1"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "http://otel example"),
        ("HIGHLIGHT_TRACING_ORIGINS", "/(/"),
        ("HIGHLIGHT_CORS", "2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-5"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
    ],
)
def test_a_bad_value_is_said_in_one_line_and_the_default_is_used(variable, value):
    settings = config(**{variable: value})
    default = config()

    (line,) = settings.problems
    assert "\n" not in line
    assert variable in line
    assert repr(value) in line
    assert [getattr(settings, setting.field) for setting in SETTINGS] == [
        getattr(default, setting.field) for setting in SETTINGS
    ]


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer tellnobody", "'***'"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "htp://user:tellnobody@otel:4318", "'htp://otel:4318'"),
        ("HIGHLIGHT_OTLP_ENDPOINT", "user:tellnobody@otel:4318?key=tellnobody", "'otel:4318'"),
    ],
)
def test_what_is_secret_in_a_bad_value_is_left_out(variable, value, shown):
    (line,) = config(**{variable: value}).problems
    assert line.startswith(f"{variable}={shown} is not ")
    assert "tellnobody" not in line


@pytest.mark.parametrize(
    "url", ["http://otel", "https://u:p@otel:4318/x", "http://[::1]:4318", "http://[::1]/", "http://otel:?a=b:c"]
)
def test_urls_that_can_be_used(url):
    assert config(HIGHLIGHT_OTLP_ENDPOINT=url).endpoint == url.rstrip("/")


@pytest.mark.parametrize("project_id", ["1", "123456", "1jdkoe52", "abcdefgh12"])
def test_project_ids_that_the_backend_knows(project_id):
    assert project_id_problem(project_id) is None


@pytest.mark.parametrize(
    "project_id", ["my-project", "abc", "1JDKOE52", "-1", "0", "1 2", "\u0661", "x" * 7, "9" * 5000, "'; drop"]
)
def test_malformed_project_ids(project_id):
    assert "neither an integer nor a hashid" in project_id_problem(project_id)
    assert len(project_id_problem(project_id)) < 400


def test_a_missing_project_id_says_what_to_do():
    assert "HIGHLIGHT_PROJECT_ID is not set" in Config({}).problems[0]
    assert Config({"HIGHLIGHT_ENABLED": "false"}).problems == ()
