"""Which functions of the agent are no parts that could fail, and why."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

# What the application, or the interpreter, calls itself: nothing of ours is outside of it that could guard it. What it
# calls is a part, and fails in its place.
DOORS = {
    "asgi.Request.send": "the application calls it to answer",
    "wsgi.Request.start_response": "the application calls it to answer",
    "wsgi.Body.__iter__": "the server calls it",
    "wsgi.Body.__next__": "the server calls it",
    "wsgi.Body.__del__": "the interpreter calls it, and has nobody to raise to",
    "wsgi.Body.close": "the server calls it",
    "wsgi.SizedBody.__iter__": "the server calls it",
    "wsgi.SizedBody.__len__": "the server calls it",
    "asgi._call": "is the application's call itself",
    "wsgi._call": "is the application's call itself",
    "context.Carried.__call__": "is the application's call itself",
    "loading.before_fork": "the interpreter calls it at a fork, and has nobody to raise to",
    "loading.after_fork_in_parent": "the interpreter calls it at a fork, and has nobody to raise to",
    "unread._read_current": "the interpreter calls it at a fork, and has nobody to raise to",
    "lifecycle._after_fork": "the interpreter calls it at a fork, and has nobody to raise to",
    "context.Carried.__init__": "is two assignments",
    "api.message_context.__init__": "is two assignments",
    "api.trace.__init__": "is assignments",
    "api.trace.__call__": "makes the decorated function, where the application is defined",
    "api.trace._again": "is a copy of itself",
    "api.trace.__enter__": "the application calls it: a call of what is guarded",
    "api.trace.__exit__": "the application calls it: a call of what is guarded",
    "api.record_metric": "the application calls it: a call of what is guarded",
    "api.record_count": "the application calls it: a call of what is guarded",
    "api.record_incr": "the application calls it: a call of what is guarded",
    "api.record_histogram": "the application calls it: a call of what is guarded",
    "api.record_up_down_counter": "the application calls it: a call of what is guarded",
    "grpc_client.Done.__call__": "gRPC calls it: a call of what is guarded",
    "grpc_client.DoneAio.__call__": "gRPC calls it: two calls of what is guarded",
    "grpc_server.Responses.__init__": "is two assignments",
    "grpc_server.Responses.__iter__": "gRPC calls it",
    "grpc_server.Responses.__next__": "gRPC calls it",
    "grpc_server.Responses.__del__": "the interpreter calls it, and has nobody to raise to",
    "grpc_server.Serving.__del__": "the interpreter calls it, and has nobody to raise to",
    "grpc_server.Serving.drop": "a call of what is guarded",
    "patching.Switch.raised": "is the driver's own end of a call that failed",
    "patching.hide_frame": "is three fields of an exception, in the midst of raising it",
}

DOORS |= {
    f"integrations.structlog.Event.{name}": "structlog calls it: one of its processors"
    for name in ("begin", "keep", "end")
}
DOORS |= {
    f"patching.Watched.{name}": "is the attribute that the library reads and sets"
    for name in ("__get__", "__set__", "__delete__")
}
DOORS |= {
    f"recording.Span.{name}": "OpenTelemetry's interface: the application calls it, and it is an assignment"
    for name in ("set_attribute", "update_name")
}

# What returns garbage can be told from what returns the right thing, but here: by its contract the application, or its
# library, gets just this. (A hook's own value is such a one as well.)
HANDED_ON = {
    "grpc_client.like": "is the call's metadata",
    "grpc_server.calling": "is what gRPC calls in place of the method",
    "grpc_server.awaiting": "is what gRPC calls in place of the method",
    "grpc_server.generating": "is what gRPC calls in place of the method",
    "grpc_server.finishing": "is what gRPC calls in place of the serializer",
    "grpc_server.transforming": "is what gRPC calls in place of the serializer",
    "grpc_server.observed": "is what gRPC calls in place of the handler",
    "integrations.concurrent.handed_over": "is the job",
    "integrations.concurrent.taking_over": "is the job",
    "integrations.loguru.look": "is loguru's own handlers",
    "integrations.structlog.with_ours": "is structlog's own processors",
    "integrations.starlette.sender": "is what the application calls to answer",
    "processes.job": "is the job",
    "processes.carried": "is the job",
    "patching._lookup": "is the library's own function",
    "patching.hooked": "is what the library calls",
    "patching.Call.get": "is the application's argument",
    "patching.Call.__getitem__": "is the application's argument",
    "wsgi.application": "is what the server calls",
    "wsgi.called": "is what the server calls",
    "asgi.application": "is what the server calls",
    "outgoing.headers": "is what goes out",
    "serving.Request.allowed": "is what goes out",
    "propagation.parse_tracestate": "is read anew by OpenTelemetry, which logs what it cannot read",
    "incoming.Work.attach": "is a token that OpenTelemetry alone can read",
}

# What sets one variable and returns: it has done so, or it has failed; it cannot fail after it.
AT_ONCE = {"incoming.Work.attach"}


@cache
def _guards(file: str) -> frozenset[int]:
    """The first lines of the functions of a file that hold a guard: what they call is a part, and they are none."""
    source = Path(file).read_text()
    lines = source.splitlines()
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            handlers = [inner for inner in ast.walk(node) if isinstance(inner, ast.ExceptHandler)]
            if any("- the guard" in lines[handler.lineno - 1] for handler in handlers):
                found.add(min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]]))
    return frozenset(found)


def is_part(name: str, file: str, line: int) -> bool:
    return name not in DOORS and line not in _guards(file)


def kinds(name: str, kind: str, wanted: tuple[str, ...]) -> list[str]:
    """Of the wanted kinds of faults those that a part can have."""
    if name.endswith(".__init__"):  # it returns nothing as it is
        wanted = tuple(each for each in wanted if each != "none")
    if name in AT_ONCE:
        wanted = tuple(each for each in wanted if each != "late")
    if kind == "async generator" or (name in HANDED_ON and kind != "generator"):
        wanted = tuple(each for each in wanted if each not in ("none", "number", "text", "object"))
    if kind == "generator":
        return [each for each in wanted if each not in ("number", "text", "object")]
    return [each for each in wanted if each != "after"]
