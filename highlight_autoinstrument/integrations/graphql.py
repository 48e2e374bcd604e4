"""graphql-core, and what builds on it: an exception of a resolver is reported, although the answer is a 200."""

from __future__ import annotations

from .. import active
from ..later import errors
from ..patching import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType
    from typing import Any

    from ..patching import Call

MODULES = ("graphql.error.located_error", "graphql.execution.execute", "graphql.execution.executor")

_LONGEST_NAME = 256


def patch(module: ModuleType) -> None:
    if module.__name__ == "graphql.error.located_error":
        wrap(module, "located_error", report)
    else:
        wrap(getattr(module, "Executor", None) or module.ExecutionContext, "build", describe)


def report(call: Call) -> Generator[None, Any, None]:
    """Report what a resolver has raised; a GraphQLError, which it raises for its client to read, is no error."""
    error = yield
    unit = active.current()
    if unit is None:
        return
    from graphql.error import GraphQLError

    while isinstance(error, GraphQLError):
        errors.claim(error, unit)  # logged by the libraries above, it is not another error
        error = error.original_error
    if error is not None:
        errors.record(error)


def describe(call: Call) -> Generator[None, Any, None]:
    """Tell the operation on the request's span, which keeps its name: an operation's is whatever the client says."""
    executor = yield
    unit = active.current()
    operation = getattr(executor, "operation", None)
    if unit is not None and operation is not None:  # None: a list of errors
        unit.span.set_attribute("graphql.operation.type", operation.operation.value)
        if operation.name is not None:
            unit.span.set_attribute("graphql.operation.name", operation.name.value[:_LONGEST_NAME])
