"""AWS Lambda's runtime: each invocation is a unit of work, whose records are sent before the process is frozen."""

from __future__ import annotations

import functools
import sys

from .. import active, aws, aws_lambda, messaging
from ..later import context, errors
from ..patching import hide_frame, hooked, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("awslambdaric.bootstrap", "awslambdaric.lambda_runtime_client")

DEADLINE = "_highlight_deadline"  # in the client's __dict__: when the invocation that it has fetched will be stopped


def patch(module: ModuleType) -> None:
    if module.__name__ == "awslambdaric.bootstrap":
        messaging.describe(dict, aws.described)
        wrap(module, "handle_event_request", invocation)
        wrap(module, "make_error", failure)
    else:
        client = getattr(module, "BaseLambdaRuntimeClient", module.LambdaRuntimeClient)
        for name in ("post_invocation_result", "post_invocation_error", "post_init_error"):
            wrap(client, name, answer)


def invocation(call: Call) -> Generator[None, Any, None]:
    """What happens between an event's arrival and its answer: the handler, and making JSON of what it returns."""
    vars(call["lambda_runtime_client"])[DEADLINE] = call.get("epoch_deadline_time_in_ms")
    call["request_handler"] = functools.partial(HANDLED, call["request_handler"])
    token = context.attach(context.empty())
    try:
        yield
    finally:
        unit = active.current()
        if unit is not None:
            unit.span.end()
        context.detach(token)  # and with it from what `handle` has attached


def _handled(handler: Callable[..., Any], event: Any, lambda_context: Any) -> Any:
    try:
        return handler(event, lambda_context)
    except BaseException as error:
        hide_frame(error, __file__)
        raise


def handle(call: Call) -> Generator[None, Any, None]:
    work = aws_lambda.begin(call["event"], call["lambda_context"])
    work.attach()
    result = yield
    aws_lambda.note_answer(work.unit.span, result)


HANDLED = hooked(_handled, handle, "Lambda handler")


def failure(call: Call) -> Generator[None, Any, None]:
    """The runtime describes the exception that it handles: the handler's, its answer's, or one of the start."""
    error = sys.exc_info()[1]
    unit = active.current()
    if error is not None:
        if unit is not None:
            unit.span.fail(errors.type_name(error))
            aws_lambda.note_failure(unit.span)
        errors.record(error)
    yield


def answer(call: Call) -> Generator[None, Any, None]:
    unit = active.current()
    if unit is not None:
        unit.span.end()
    aws_lambda.flush(vars(call.instance).get(DEADLINE))
    yield
