"""An invocation of an Azure function: the unit of work that it begins, by what triggers the function.

Nothing is sent at its end: the worker is not frozen between invocations, and sends in the background as any server.
"""

from __future__ import annotations

import json

from . import active, asgi, messaging
from .later import context, errors, incoming, spans
from .patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from .incoming import Work
    from .patching import Call
    from .recording import Span

# Triggers by messages: OpenTelemetry's name for the system, and the settings of the binding that say where from.
MESSAGES = {
    "servicebustrigger": ("servicebus", ("queueName", "topicName")),
    "eventhubtrigger": ("eventhubs", ("eventHubName", "path")),
    "eventgridtrigger": ("eventgrid", ()),
    "kafkatrigger": ("kafka", ("topic",)),
    "queuetrigger": ("azure_storage_queues", ("queueName",)),
    "rabbitmqtrigger": ("rabbitmq", ("queueName",)),
}
# What the host calls the headers of a message of Service Bus, Event Hubs and Kafka; of several, with "Array" after it.
HEADERS = ("ApplicationProperties", "UserProperties", "Properties", "Headers")
_LONGEST_JSON = 1_000_000

# Global state: the name of each function that the host has told of, by its id, and the binding that triggers it.
_functions: dict[str, tuple[str, dict[str, Any]]] = {}


def patch_runtime(package: ModuleType) -> None:
    """Patch one of the two packages that a worker hands the host's messages to: one for each programming model."""
    wrap(package, "function_load_request", _load)
    wrap(package, "invocation_request", _invoke)
    # Neither of these is public, and there is no other place where an exception is seen, and a context lost.
    wrap(package.handle_event, "serialize_exception", _fail)
    wrap(package.handle_event, "configure_opentelemetry", keep)
    if hasattr(package, "http_v2"):
        wrap(package.http_v2.HttpCoordinator, "get_http_request_async", join)


def _load(call: Call) -> Generator[None, Any, None]:
    yield from load(call["request"].request.function_load_request)


def _invoke(call: Call) -> Generator[None, Any, None]:
    yield from invoke(call["request"].request.invocation_request)


def _fail(call: Call) -> Generator[None, Any, None]:
    yield from fail(call.args[0])


# Hooks of the workers


def load(request: Any) -> Generator[None, Any, None]:
    """Hook for what handles the host's request to load a function."""
    metadata = request.metadata
    parsed = [_parsed(text) for text in getattr(metadata, "raw_bindings", ())]
    # What a function without a route of its own has; the worker of 2020 is told of none.
    bindings: list[dict[str, Any]] = [{"route": metadata.name, **each} for each in parsed if isinstance(each, dict)]
    bindings += [{"type": binding.type} for binding in metadata.bindings.values()]
    trigger = next((binding for binding in bindings if _kind(binding).endswith("trigger")), {})
    _functions[request.function_id] = (metadata.name, trigger)
    yield


def invoke(request: Any, answer: Callable[[Any], Any] | None = None) -> Generator[None, Any, None]:
    """Hook for what handles the host's request to invoke one: reading its inputs, calling it, and writing its outputs.

    `answer` reads the response from what that returns.
    """
    work = _begin(request)
    token = work.attach()
    try:
        response = yield
        _note_answer(work.unit.span, response if answer is None else answer(response))
    except BaseException as error:
        work.fail(error)
        raise
    finally:
        try:
            work.detach(token)
        finally:
            work.unit.span.end()


def fail(error: BaseException) -> Generator[None, Any, None]:
    """Hook for what describes an exception for the host, while it is handled: of an invocation, or of the start."""
    unit = active.current()
    if unit is not None and errors.is_error(error):
        unit.span.fail(errors.type_name(error))
        if unit.span.kind is spans.SERVER:
            spans.set_status_code(unit.span, 500)
    if _is_copy(error) if unit is None else _is_answer(error, unit.span):
        errors.claim(error, unit)
    errors.record(error)
    yield


def _is_copy(error: BaseException) -> bool:
    """Whether this is an exception of the start that the worker has logged, with its advice added to the message."""
    logged = error.__context__
    return logged is not None and type(logged) is type(error) and errors.mark_of(logged) is not None


def _is_answer(error: BaseException, span: Span) -> bool:
    """Whether this is what the adapter for WSGI makes of a 5xx, whose exception has been reported."""
    if all(name != "exception" for name, *_ in span.events):
        return False
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__") == "azure.functions._http_wsgi"


def join(call: Call) -> Generator[None, Any, None]:
    """Hook for what waits for the request that came by HTTP in place of the host's message: an invocation is its part.

    The request's unit of work is its server's; its application serves all functions, and knows no route of theirs.
    """
    request = yield
    own = active.current()
    served = asgi.served(getattr(request, "scope", None))
    if own is None or served is None:
        return
    own.span.silent = True
    span = served.work.unit.span
    span.update_name(own.span.name)
    for name, value in own.span.attributes.items():
        if name == "http.route" or name.startswith("faas."):
            span.set_attribute(name, value)
    served.work.attach()  # until the invocation's context is left


def keep(call: Call) -> Generator[None, Any, None]:
    """Hook for what makes the host's span the current one for an application's OpenTelemetry, in place of all else."""
    if active.current() is None:
        return
    before = context.snapshot()
    yield
    if active.current() is None:
        context.attach(before)  # until the invocation's context is left, as what the worker has attached


# The unit of work


def _begin(request: Any) -> Work:
    name, trigger = _functions.get(request.function_id, ("function", {}))
    faas = {"faas.name": name, "faas.invocation_id": request.invocation_id}
    http = next((bound.data.http for bound in request.input_data if bound.data.WhichOneof("data") == "http"), None)
    if http is not None:
        return _begin_request(http, trigger, {**faas, "faas.trigger": "http"}, request)
    kind = _kind(trigger)
    if kind not in MESSAGES:
        faas["faas.trigger"] = "timer" if kind == "timertrigger" else "other"
        return incoming.begin(name, spans.INTERNAL, _hosts_trace(request).get, faas)
    system, settings = MESSAGES[kind]
    destination = next((str(trigger[key]) for key in settings if trigger.get(key)), name)
    headers = [_with_trace(_pairs(found), request) for found in _headers(request.trigger_metadata)]
    batch = [(destination, found) for found in headers or [_hosts_trace(request)]]
    return messaging.begin(system, batch, **{**faas, "faas.trigger": "pubsub"})


def _begin_request(http: Any, trigger: dict[str, Any], faas: dict[str, Any], request: Any) -> Work:
    headers = {key.lower(): value for key, value in http.headers.items()}
    for key, value in getattr(http, "nullable_headers", {}).items():
        headers.setdefault(key.lower(), value.value)
    scheme, host, port, path = spans.split_url(http.url)
    host = headers.get("host") or spans.origin("", host, port).removeprefix("://")
    query = http.url.partition("?")[2].partition("#")[0]
    attributes = spans.http_server(http.method, scheme, host, path, query, None, headers.get("user-agent"))
    span_name = http.method
    if trigger.get("route"):
        attributes["http.route"] = route = _route(str(trigger["route"]), path)
        span_name = f"{http.method} {route}"
    get = _with_trace(headers, request).get
    return incoming.begin(span_name, spans.SERVER, get, {**attributes, **faas})


def _route(template: str, path: str) -> str:
    """The route below what host.json has before all of them, which is `api` unless it says otherwise."""
    parts, found = template.strip("/").split("/"), path.strip("/").split("/")
    before = found[: max(0, len(found) - len(parts))]
    if any(part.startswith("{*") or part.endswith("?}") for part in parts):  # of any length
        before = ["api"] if found[0] == "api" else []
    return "/" + "/".join([*before, *parts])


def _with_trace(headers: dict[str, str], request: Any) -> dict[str, str]:
    """What came in; the trace that the host has begun goes on only where that says nothing of its own."""
    ids, parent = incoming.read(headers.get)
    return headers if ids is not None or parent is not None else {**headers, **_hosts_trace(request)}


def _hosts_trace(request: Any) -> dict[str, str]:
    trace = request.trace_context
    return {"traceparent": trace.trace_parent, "tracestate": trace.trace_state}


def _headers(metadata: Any) -> list[Any]:
    """The headers of the message that triggers a function, or of each of a batch."""
    for name in HEADERS:
        if name in metadata:
            return [_parsed(_text(metadata[name]))]
        if f"{name}Array" in metadata:
            found = _parsed(_text(metadata[f"{name}Array"]))
            return found if isinstance(found, list) else []
    return []


def _pairs(found: Any) -> dict[str, str]:
    """Headers by their lower-case names; Kafka's are a list of keys and values."""
    if isinstance(found, list):
        found = [(pair.get("Key"), pair.get("Value")) for pair in found if isinstance(pair, dict)]
    get = messaging.getter(found)
    names = ("x-highlight-request", "traceparent", "tracestate", "baggage")
    return {name: value for name in names if (value := get(name)) is not None}


def _text(data: Any) -> Any:
    kind = data.WhichOneof("data")
    return getattr(data, kind) if kind in ("json", "string") else None


def _parsed(text: Any) -> Any:
    if not isinstance(text, str) or len(text) > _LONGEST_JSON:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _kind(binding: dict[str, Any]) -> str:
    return str(binding.get("type")).lower()


def _note_answer(span: Span, response: Any) -> None:
    """Note the status that a request is answered with."""
    if span.kind is not spans.SERVER or response.result.status != response.result.Success:
        return
    for data in (response.return_value, *(bound.data for bound in response.output_data)):
        if data.WhichOneof("data") == "http" and data.http.status_code.isdecimal():
            spans.set_status_code(span, int(data.http.status_code))
            return
    if response.HasField("return_value"):
        spans.set_status_code(span, 200)
