"""What arrived at a receiver, decoded: spans, log records and the errors among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


@dataclass
class Event:
    name: str
    attributes: dict[str, Any]
    time_ns: int


@dataclass
class Span:
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    events: list[Event]
    status: str
    status_message: str
    links: list[dict[str, Any]]
    trace_state: str
    resource: dict[str, Any] = field(repr=False)
    scope: str = field(repr=False)

    @property
    def session(self) -> str | None:
        return self.attributes.get("highlight.session_id")

    @property
    def highlight_trace(self) -> str | None:
        return self.attributes.get("highlight.trace_id")

    @property
    def service(self) -> str:
        return self.resource["service.name"]


@dataclass
class Log:
    body: Any
    severity_text: str
    severity_number: int
    attributes: dict[str, Any]
    trace_id: str
    span_id: str
    time_ns: int
    observed_ns: int
    resource: dict[str, Any] = field(repr=False)
    scope: str = field(repr=False)

    @property
    def session(self) -> str | None:
        return self.attributes.get("highlight.session_id")

    @property
    def highlight_trace(self) -> str | None:
        return self.attributes.get("highlight.trace_id")

    @property
    def logger(self) -> str:
        return self.attributes.get("logger.name", "")

    @property
    def service(self) -> str:
        return self.resource["service.name"]


@dataclass
class Error:
    """An exception as Highlight counts them: an event of a span, or a log record with `exception.*`."""

    type: str
    message: str
    stacktrace: str
    session: str | None
    highlight_trace: str | None
    attributes: dict[str, Any]
    record: Span | Log

    @property
    def source(self) -> str:
        return "span" if isinstance(self.record, Span) else "log"


def value(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    if kind is None:
        return None
    content = getattr(any_value, kind)
    if kind == "array_value":
        return [value(item) for item in content.values]
    if kind == "kvlist_value":
        return attributes(content.values)
    return content


@dataclass
class Metric:
    """A metric as it came in: its protobuf message of that kind."""

    name: str
    kind: str
    data: Any
    resource: Any

    @property
    def points(self) -> list[tuple[dict[str, Any], Any]]:
        """Each data point's attributes, and its value or a histogram's count and sum."""
        return [
            (attributes(point.attributes), (point.count, point.sum) if self.kind == "histogram" else point.as_double)
            for point in self.data.data_points
        ]


def attributes(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        assert pair.key not in found, f"the attribute {pair.key} twice"
        found[pair.key] = value(pair.value)
    return found


def decode_traces(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return [
        Span(
            name=span.name,
            kind=KINDS[span.kind],
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            attributes=attributes(span.attributes),
            events=[Event(event.name, attributes(event.attributes), event.time_unix_nano) for event in span.events],
            status=STATUSES[span.status.code],
            status_message=span.status.message,
            links=[
                {
                    "trace_id": link.trace_id.hex(),
                    "span_id": link.span_id.hex(),
                    "attributes": attributes(link.attributes),
                }
                for link in span.links
            ],
            trace_state=span.trace_state,
            resource=resource,
            scope=scoped.scope.name,
        )
        for group in request.resource_spans
        for resource in [attributes(group.resource.attributes)]
        for scoped in group.scope_spans
        for span in scoped.spans
    ]


def decode_logs(body: bytes) -> list[Log]:
    request = ExportLogsServiceRequest()
    request.ParseFromString(body)
    return [
        Log(
            body=value(log.body),
            severity_text=log.severity_text,
            severity_number=log.severity_number,
            attributes=attributes(log.attributes),
            trace_id=log.trace_id.hex(),
            span_id=log.span_id.hex(),
            time_ns=log.time_unix_nano,
            observed_ns=log.observed_time_unix_nano,
            resource=resource,
            scope=scoped.scope.name,
        )
        for group in request.resource_logs
        for resource in [attributes(group.resource.attributes)]
        for scoped in group.scope_logs
        for log in scoped.log_records
    ]


def decode_metrics(body: bytes) -> list[Metric]:
    request = ExportMetricsServiceRequest()
    request.ParseFromString(body)
    return [
        Metric(metric.name, metric.WhichOneof("data"), getattr(metric, metric.WhichOneof("data")), group.resource)
        for group in request.resource_metrics
        for scoped in group.scope_metrics
        for metric in scoped.metrics
    ]


def errors_of(spans: list[Span], logs: list[Log]) -> list[Error]:
    found = [
        (event.time_ns, event.attributes, span) for span in spans for event in span.events if event.name == "exception"
    ]
    found += [
        (log.time_ns, log.attributes, log)
        for log in logs
        if any(key.startswith("exception.") for key in log.attributes)
    ]
    return [
        Error(
            type=values.get("exception.type", ""),
            message=values.get("exception.message", ""),
            stacktrace=values.get("exception.stacktrace", ""),
            session=record.session,
            highlight_trace=record.highlight_trace,
            attributes=values,
            record=record,
        )
        for _, values, record in sorted(found, key=lambda item: item[0])
    ]
