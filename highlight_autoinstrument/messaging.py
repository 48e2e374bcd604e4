"""A message or a job: the headers that go out with it, and the unit of work of whoever works on it."""

from __future__ import annotations

import sys
import weakref
from contextvars import Context

from . import active, guard
from .later import context, errors, incoming, outgoing, spans
from .patching import guarded, hooked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import FrameType, TracebackType
    from typing import Any

    from .context import HighlightRequest, Unit
    from .incoming import Work
    from .patching import Call
    from .spans import Nothing, Piece

    Ids = tuple[int, int, int]

_LONGEST_VALUE = 65_536  # bytes of one header that are looked at

# How the names begin that brokers and clients make up for replies and for queues of one consumer: each is another.
_MADE_UP = ("amq.gen-", "amq.rabbitmq.reply-to", "amq_", "_INBOX.")


# What goes out


def send(system: str, destination: str, name: str | None = None, **attributes: object) -> Piece | Nothing:
    """A span for handing over a message, to be entered; `Nothing` outside a unit of work, and inside another `send`.

    `system` is OpenTelemetry's name for the broker or library, `destination` a topic, a queue or an exchange, `name`
    what the message is for where that says more, such as a task's name.
    """
    if active.current() is None or getattr(context.current_span(), "kind", None) is spans.PRODUCER:
        return spans.NOTHING
    described = {**spans.message(system, destination, "send"), **attributes}
    return spans.piece(f"send {name or _label(destination)}", spans.PRODUCER, described)


def _label(destination: str) -> str:
    """What a destination is called in a span's name, of which there must not be too many."""
    return "(anonymous)" if str(destination).startswith(_MADE_UP) else destination


def headers(has: Callable[[str], object] | None = None) -> list[tuple[str, str]]:
    """The headers that a message gets from the present unit of work; none outside one.

    `has` returns what the application has put there under that name (lower case), or None: such a one stays as it is.
    """
    found = outgoing.pairs()
    if has is None:
        return found
    if has("traceparent") is not None:  # the state belongs to that one
        found = [(name, value) for name, value in found if name != "tracestate"]
    return [(name, value) for name, value in found if has(name) is None]


def getter(headers: Any) -> Callable[[str], str | None]:
    """A function from a header's lower-case name to its text, for what came with a message; None where there is none.

    `headers` is a mapping or pairs, of str or bytes, of whatever case, or anything else that a stranger has put there.
    Of several by one name the first counts.
    """
    found: dict[str, str] = {}
    try:
        pairs = headers.items() if hasattr(headers, "items") else headers or ()
        for pair in pairs:
            name, value = _text(pair[0]), _text(pair[1])
            if name and value is not None:
                found.setdefault(name.lower(), value)
    except Exception:  # noqa: BLE001 - no headers at all
        found.clear()
    return found.get


def _text(value: Any) -> str | None:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[:_LONGEST_VALUE]).decode("latin-1")
    return value if isinstance(value, str) else None


# What comes in, and is worked on in a call


class Processing:
    """The unit of work of one message or job, for the length of a `with`: an exception that leaves it is its error."""

    __slots__ = ("_is_error", "_token", "work")

    def __init__(self, work: Work, is_error: Callable[[BaseException], bool] | None) -> None:
        self.work = work
        self._is_error = is_error
        self._token: object = None

    def __enter__(self) -> Work:
        self._token = self.work.attach()
        return self.work

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if error is not None:
                if self._is_error is None or self._is_error(error):
                    self.work.fail(error)
                else:
                    forgive(self.work, error)
        except Exception as failure:  # noqa: BLE001 - the guard
            guard.broken("a message", failure)
        finally:  # the next message is another's
            try:
                if self._token is not None:
                    context.reset(self._token)  # in place: a time limit's signal may come where a function begins
            except context.NOT_HERE:
                pass
            finally:
                self.work.unit.span.end()


def process(
    system: str,
    destination: str,
    headers: Any,
    name: str | None = None,
    is_error: Callable[[BaseException], bool] | None = None,
    **attributes: object,
) -> Processing:
    """The unit of work of a message or a job that one call works on, to be entered around that call.

    `headers` is what came with it, in any form. An exception for which `is_error` says no (the job will be tried again)
    fails the span and is no error.
    """
    return Processing(_begin(system, destination, headers, name, attributes), is_error)


def working(
    callback: Callable[..., Any], describe: Callable[[Call], tuple[str, str, Any]], part: str
) -> Callable[..., Any]:
    """The application's callback for messages, plain or a coroutine function: each call is a unit of work.

    `describe` reads the system, the destination and the headers from a call. `part` names the callback if that fails.
    """
    if _hands_on(getattr(getattr(callback, "func", callback), "__module__", None)):
        return callback

    def hook(call: Call) -> Generator[None, Any, None]:
        with process(*describe(call)):
            yield

    hook.__module__ = describe.__module__
    return hooked(callback, hook, part)


def forgive(work: Work, error: BaseException) -> None:
    """Mark the span of a job that failed and will be tried again: no error yet, whoever logs the exception."""
    if errors.is_error(error):
        work.unit.span.fail(errors.type_name(error))
        errors.claim(error, work.unit)


def failed(error: BaseException, *, again: bool = False) -> None:
    """Note that the job that is being worked on here failed, for libraries that keep its exception to themselves.

    It is no error yet if the job will be tried again; see `echoes` for libraries that log it before they know.
    """
    unit = active.current()
    if unit is not None and errors.is_error(error):
        unit.span.fail(errors.type_name(error))
        if again:
            errors.claim(error, unit)
        else:
            errors.record_in(unit, error)


# Global state: loggers of libraries that log each exception of a job, whether it will be tried again or not. Inside a
# unit of work such a record is a line like any other, and the integration calls `failed` once it is known.
echoes: set[str] = set()


def _begin(system: str, destination: str, headers: Any, name: str | None, attributes: dict[str, object]) -> Work:
    described = {**spans.message(system, destination, "process"), **attributes}
    return incoming.begin(f"process {name or _label(destination)}", spans.CONSUMER, getter(headers), described)


# What comes in, and is worked on until the next is asked for


class Received:
    """A message, or a batch of them, that its consumer has handed to the application.

    It ends when the next one is asked for, when the consumer is closed or gone, or when the thread or task that works
    on it is done. One that is received while another is being worked on lies on that, until one of them ends.
    """

    __slots__ = ("__weakref__", "_around", "below", "owner", "task", "work")

    def __init__(self, work: Work, owner: int) -> None:
        self.work = work
        self.owner = owner
        below = context.received()
        self.below = below if below is not None and below.is_here() else None
        self.task = _current_task()
        self._around = context.snapshot()
        work.attach()

    def is_here(self) -> bool:
        """Whether this code works on it; a request or a `trace()` in which it was received may be over."""
        return active.current() is self.work.unit

    def leave(self) -> None:
        """End it, and go back to the context before."""
        self.end()
        if self.is_here():
            # Not by a token: the next may be asked for in another task than the one that was given this.
            context.attach(self._around)
        context.set_received(self.below)
        if self.task is not None and _tasks.get(self.task) is self:
            _tasks[self.task] = self.below

    def end(self) -> None:
        """End the message."""
        self.work.unit.span.end()

    def __del__(self) -> None:
        self.end()


# Global state: the messages that are being worked on, to be ended with the program; the last one of each task, which
# is watched from its first one on; and the consumers that have handed out some, by their id.
_open: weakref.WeakValueDictionary[int, Received] = weakref.WeakValueDictionary()
_tasks: weakref.WeakKeyDictionary[Any, Received | None] = weakref.WeakKeyDictionary()
_owners: dict[int, weakref.ref[Any]] = {}


def asked(owner: object) -> None:
    """Note that a consumer is asked for the next message: the one before, if it was worked on here, is done.

    So is what was received while that was being worked on.
    """
    _asked(id(owner))


def _asked(owner: int) -> None:
    last = context.received()
    while last is not None and last.owner != owner:
        last = last.below
    if last is not None:
        _leave(last)


def received(owner: object, system: str, messages: Iterable[tuple[str, Any]]) -> None:
    """Note what a consumer hands to the application: pairs of destination and headers, one for each message.

    The code that follows works on it, until `asked` or `closed`. One message alone is continued. A batch has a link to
    each of its messages, and a session only if all of them have the same: `message_context` is for its loop. Inside a
    request, or a job with ids of its own, the code goes on working for that.
    """
    batch = list(messages)
    if not batch or not _is_free() or _is_handed_on(owner):
        return
    keep(owner, begin(system, batch))


def begin(system: str, batch: list[tuple[str, Any]], **attributes: object) -> Work:
    """Begin the unit of work of some messages, pairs of destination and headers; see `received`."""
    if len(batch) > 1:
        return _begin_batch(system, batch, attributes)
    return _begin(system, *batch[0], None, attributes)


def keep(owner: object, work: Work) -> None:
    """Have the code that follows work on a unit of work that has begun, until `asked` or `closed`."""
    one = Received(work, _known(owner))
    _open[id(one)] = one
    context.set_received(one)
    if one.task is not None:
        if one.task not in _tasks:
            one.task.add_done_callback(_done, context=Context())  # a copy of this one would hold the message
        _tasks[one.task] = one


def closed(owner: object, error: BaseException | None = None) -> None:
    """Note that a consumer is closed: what it has handed out last is done, in whatever thread.

    `error` is the exception that closes it, if that is known. Another may be on its way, through a `with` or a
    `finally` of the application's: closing is the last thing that is done for it, and it goes on belonging to the work.
    """
    last = context.received()
    if error is not None:
        if last is not None and last.owner == id(owner):
            last.work.fail(error)
    elif last is not None and last.is_here():
        leaving = sys.exc_info()[1]
        if leaving is not None and errors.is_error(leaving):
            last.work.unit.span.fail(errors.type_name(leaving))
            errors.bind(leaving, last.work.unit)
    _closed(id(owner))


def _closed(owner: int) -> None:
    _asked(owner)
    _end(owner)


@guarded
def abandoned(future: Any) -> None:
    """Note that a job is over: what it was working on is done, and failed by the exception that is in its future."""
    one = context.received()
    while one is not None:
        error = future.exception(0) if future.done() and not future.cancelled() else None
        if error is not None and one.is_here():
            one.work.fail(error)
        one.leave()
        one = one.below


def end_all() -> None:
    """End what is being worked on, since the program ends."""
    _end(None)


def _end(owner: int | None) -> None:
    for reference in _open.valuerefs():  # a list, whatever other threads receive
        one = reference()
        if one is not None and owner in (None, one.owner):
            one.end()


def unit_left_by(error: BaseException) -> Unit | None:
    """The unit of work of a task that an exception has ended, where that was working on a message."""
    for reference in _tasks.keyrefs():  # a list, whatever other threads receive
        task = reference()
        if task is not None and getattr(task, "_exception", None) is error:
            one = _tasks.get(task)
            return one.work.unit if one is not None else None
    return None


def _leave(last: Received) -> None:
    """Leave a message, and whatever was received since."""
    one = context.received()
    while one is not None:
        one.leave()
        if one is last:
            break
        one = one.below


class _Owner(weakref.ref):  # type: ignore[type-arg]
    """A consumer, as long as there is one."""

    __slots__ = ("id",)
    id: int


def _known(owner: object) -> int:
    """The id of a consumer; when that is gone, although nobody has closed it, what it has handed out is done."""
    key = id(owner)
    if key not in _owners:
        try:
            reference = _Owner(owner, _gone)
        except TypeError:  # of a type that does not tell
            return key
        reference.id = key
        _owners[key] = reference
    return key


@guarded
def _gone(reference: _Owner) -> None:
    del _owners[reference.id]
    one = context.received()
    # An exception that is leaving a task takes the consumer along: then the task's end says whose it is.
    if one is None or one.task is None:
        _closed(reference.id)


def _current_task() -> Any:
    """The asyncio task that this code runs in."""
    asyncio = sys.modules.get("asyncio.events")
    loop = asyncio._get_running_loop() if asyncio is not None else None  # noqa: SLF001 - the public one raises
    return sys.modules["asyncio.tasks"].current_task(loop) if loop is not None else None


@guarded
def _done(task: Any) -> None:
    """A task is over: what it was working on is done, and failed by the exception that has left the task."""
    one = _tasks.get(task)
    error = getattr(task, "_exception", None)  # task.exception() would tell the loop that somebody has seen it
    if one is not None and error is not None:
        one.work.fail(error)
    while one is not None and one.task is task:
        one.end()
        one = one.below


# Libraries of tasks: what they receive they hand on, and their own integrations know when the work on it begins.
_TASKS = ("celery", "dramatiq", "kombu", "taskiq", "taskiq_aio_kafka", "taskiq_aio_pika", "taskiq_nats", "taskiq_redis")


def _hands_on(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _TASKS


def _is_handed_on(owner: object) -> bool:
    """Whether it is such a library that has asked for the message: the first caller beyond the client."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - who calls
    passed = (str(__package__), "wrapt", str(type(owner).__module__).partition(".")[0])
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in passed:
            return _hands_on(module)
        frame = frame.f_back
    return False


def _is_free() -> bool:
    """Whether a message that is received here begins a unit of work."""
    unit = active.current()
    if unit is None or (unit.ids is None and unit.span.kind is spans.INTERNAL):
        return True
    last = context.received()
    return last is not None and last.is_here()  # of another consumer


def _begin_batch(system: str, batch: list[tuple[str, Any]], attributes: dict[str, object]) -> Work:
    found = [incoming.read(getter(headers)) for _, headers in batch]
    destinations = dict.fromkeys(destination for destination, _ in batch)
    destination = next(iter(destinations)) if len(destinations) == 1 else f"{len(destinations)} destinations"
    described = {
        **spans.message(system, destination, "process"),
        "messaging.batch.message_count": len(batch),
        **attributes,
    }
    work = incoming.start(f"process {destination}", spans.CONSUMER, _common([ids for ids, _ in found]), None, described)
    for _, parent in found:
        if parent is not None:
            work.unit.span.add_link(context.span_context(*parent))
    return work


def _common(found: list[HighlightRequest | None]) -> HighlightRequest | None:
    """The ids, if all messages have the same session."""
    first = found[0]
    if first is None or any(ids is None or ids.session_id != first.session_id for ids in found):
        return None
    if any(ids != first for ids in found):
        return first._replace(request_id=None) if first.session_id is not None else None
    return first


# One message of a batch

# What integrations know: how to read the system, the destination and the headers of a type of messages.
# Several may read the same type, since some libraries' messages are plain dicts.
_readers: dict[type, list[Callable[[Any], tuple[str, str, Any] | None]]] = {}


def describe(kind: type, reader: Callable[[Any], tuple[str, str, Any] | None]) -> None:
    """Tell how to read the system, the destination and the headers of a type of messages; None for one of others."""
    readers = _readers.setdefault(kind, [])
    if reader not in readers:
        readers.append(reader)


def message_context(message: Any) -> Processing:
    """The unit of work of one message, of whatever library, to be entered."""
    for kind in type(message).__mro__:
        for reader in _readers.get(kind, ()):
            described = reader(message)
            if described is not None:
                return process(*described)
    found = getattr(message, "headers", message)
    return process("unknown", type(message).__name__, found() if callable(found) else found)
