"""The way out: encoded records wait in a bounded queue; a thread sends them in batches, also after a fork and at exit.

Who records encodes. The message takes half the memory of the objects, and two threads that work at once would pay more
for the interpreter's lock than the encoding costs.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from contextvars import Context
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__, config, guard, loading, native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .logs import LogRecord
    from .recording import Span
    from .spool import Orphan
    from .transport import Answer, Transport

EXIT_SECONDS = 2.0
RETRY_SECONDS = 3600.0  # how long a batch is tried again: what waits is bounded by its size, not by an outage
LOOK_SECONDS = 60.0  # how often it is looked for what killed processes have left
COMPLAIN_SECONDS = 10.0  # how long exports may fail before it is said
MOST_BATCH_BYTES = 3_000_000  # gRPC servers take 4 MiB, unless told otherwise
MOST_WAITING_BYTES = 3_000_000  # compressed
_NEVER = 1 << 62
_new_tuple: Any = tuple.__new__  # a named tuple's own is a function of Python's
_PACKING_ROUNDS = 20  # to wait for another thread; one that a signal's handler has interrupted may not go on
_BATCHES_LOOSE = 2  # so many batches' records may wait one by one: beyond that, who adds another packs some of them

# OpenTelemetry: records with the same one are the same record. What is sent again after a kill is known by it.
UID = "log.record.uid"

# Global state: the queue and the one sender of this process. Appending to a deque takes no lock, so that a garbage
# collection, a signal handler or a fork in the middle of it does no harm.
_settings = config.get()
_random = random.Random()  # noqa: S311 - jitter; the application's own numbers stay what its seed makes them
exports = _settings.enabled and _settings.project_id is not None
_most_loose = _BATCHES_LOOSE * _settings.batch_size
_queue: deque[Waiting | Span | LogRecord] = deque(maxlen=_settings.queue_size)
_sender: Sender | None = None
_starting = native.allocate_lock()
_drops = count(1)  # counts by itself, whichever threads are at it
_dropped = 0  # by the queue, since the process began


class Waiting(NamedTuple):
    """An encoded record."""

    signal: str
    message: bytes
    uids: str  # of the errors in it


# Set by metrics.py when it is loaded: gives what has been aggregated there, encoded.
collect_metrics: Callable[[], list[bytes]] | None = None
_touched = False


def touch() -> None:
    """Have what is aggregated elsewhere be sent with the next batch."""
    global _touched  # noqa: PLW0603
    if _touched or not exports:
        return
    _touched = True
    if _sender is None:
        _start()
    else:
        _sender.wake()


def add_span(span: Any) -> None:
    """Queue a span that has ended: ours, or another in the shape that the encoder reads."""
    # Where spans are not wanted, those that hold an error go all the same: the error is an event of its span.
    if exports and (_settings.traces_exporter != "none" or span.events):
        _add(span)


def add_log(record: LogRecord) -> None:
    """Queue a log record; an error is kept on disk as well."""
    if exports and (_settings.logs_exporter != "none" or record.is_error):
        _add(record)


def _add(record: Span | LogRecord) -> None:
    global _dropped  # noqa: PLW0603
    if _sender is None:
        _start()
    if not exports:
        return
    sender = _sender
    waiting = sender.encoded(record) if sender is not None else record  # another thread is starting it
    if len(_queue) == _settings.queue_size:
        _dropped = next(_drops)
    _queue.append(waiting)
    if sender is not None and len(_queue) >= sender.wants:
        sender.wake()
    if len(_queue) >= _most_loose and sender is not None:
        sender.pack_some()


def keep(record: LogRecord) -> None:
    """Keep an error on disk until the receiver has it, whatever becomes of this process."""
    if exports and _sender is None:
        _start()
    if exports and _sender is not None:
        _sender.keep(record)


def _start() -> None:
    global _sender  # noqa: PLW0603
    if sys.is_finalizing() or not _starting.acquire(blocking=False):
        return  # another thread is at it, or this one was interrupted in the midst of it
    try:
        if _sender is None:
            if _in_main_interpreter():
                with loading.Held():
                    sender = Sender()
                sender.start()
                _sender = sender
            else:
                _stop_exporting()
                guard.say_once(
                    "export is off in a sub-interpreter; under uWSGI set single-interpreter,"
                    " under mod_wsgi WSGIApplicationGroup %{GLOBAL}"
                )
    except config.UnusableError as error:
        _stop_exporting()
        guard.say_once(str(error))
    except Exception as error:  # noqa: BLE001 - the guard
        if not guard.exhausted(error):  # else the next record tries again, and this one waits for it
            _stop_exporting()
            guard.failed("export", error, "nothing is sent from this process")
    finally:
        _starting.release()


def _stop_exporting() -> None:
    global exports  # noqa: PLW0603
    exports = False
    _queue.clear()


def _in_main_interpreter() -> bool:
    """Whether threads may be left running: a sub-interpreter that ends with one aborts the process."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13, and before
        try:
            interpreters: Any = __import__(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


def flush(timeout_seconds: float = EXIT_SECONDS) -> bool:
    """Send all that has been recorded until now; False if that was not done within the time."""
    _wait_for_start(timeout_seconds)
    return _sender.flush(timeout_seconds) if _sender is not None else not (_queue or _touched)


def close(timeout_seconds: float = EXIT_SECONDS, *, look: bool = False) -> None:
    """Send what waits because the process is about to end: what cannot be sent within the time is lost.

    `look`: send what killed processes have left, although this one has recorded nothing.
    """
    _wait_for_start(timeout_seconds)
    if look and exports and _sender is None:
        _start()
    if _sender is not None:
        _sender.close(timeout_seconds)


def _wait_for_start(timeout_seconds: float) -> None:
    """Let another thread finish what the first record has begun."""
    if _sender is None and (_queue or _touched) and _starting.acquire(timeout=timeout_seconds):
        _starting.release()


def after_fork() -> None:
    """In a forked child: what waits is the parent's to send, and the thread is not here."""
    global _queue, _sender, _starting, _drops, _dropped, _touched  # noqa: PLW0603
    if _sender is not None:
        _sender.release_files()
    _queue = deque(maxlen=_settings.queue_size)
    _sender = None
    _starting = native.allocate_lock()
    _drops, _dropped, _touched = count(1), 0, False


class Batch(NamedTuple):
    """An export that is ready to be sent."""

    signal: str
    body: bytes
    records: int
    expires_at: float  # monotonic seconds
    errors: tuple[str, ...] = ()  # the ids of those in it; then there is nothing else in it
    orphan: Orphan | None = None  # the file that all of it comes from


class Sender:
    """The background thread, and what it sends with."""

    def __init__(self) -> None:
        # All that the thread needs is loaded here, in the application's thread: an import in the background while
        # the application forks would leave the child an import lock that nobody releases.
        from . import leftovers, otlp, resource, spool, transport

        self._otlp = otlp
        # What all records of an export share: their resource and their scope.
        self._head = (
            otlp.resource(resource.attributes(_settings)),
            otlp.scope("highlight-autoinstrument", __version__),
        )
        self._transports: dict[str, Transport] = {
            signal: transport.connect(_settings, signal) for signal in ("traces", "logs", "metrics")
        }
        self._spool = spool.Spool(leftovers.folder(_settings), self._head)
        self._look_at = 0.0  # monotonic seconds: when it is looked next for what others have left
        self._batches: deque[Batch] = deque()  # the thread's own
        self._packed: deque[Batch] = deque()  # by other threads
        self._packing: deque[None] = deque()  # one for each of those that are at it
        # How many records shall wait before the thread is woken.
        self.wants = _NEVER
        # A lock that is held while there is nothing to do. Releasing it is atomic and cannot block.
        self._asleep = native.allocate_lock()
        self._asleep.acquire()
        self._flushes: deque[Any] = deque()  # of locks, each released when that flush is done
        self._flushing: list[Any] = []  # those that the thread has seen
        self._closing_at: float | None = None  # monotonic seconds
        self._too_late = ""  # what is said then
        self._failing_since: float | None = None
        self._retry_at = 0.0
        self._pause = 1.0
        self._hopes = [True]  # that all will be sent at exit: who takes it away says so
        self._given_up = 0  # records that were encoded, and dropped then
        self._told_dropped = 0  # how many drops have been said
        self._told_dropped_at = float("-inf")
        self._thread: int | None = None

    def start(self) -> None:
        """Start the thread, if that can be done: not when the interpreter is ending, nor when there are too many."""
        try:
            # It belongs to no unit of work, although one may be about.
            self._thread = Context().run(native.start_thread, self._run, "highlight-export")
        except RuntimeError:  # close() will send what waits
            self.wants = len(_queue) + _settings.batch_size  # then it is tried again

    def wake(self) -> None:
        """Have the thread look at the queue now."""
        self.wants = _NEVER
        if self._thread is None:
            self.start()
            return
        try:
            self._asleep.release()
        except (RuntimeError, ValueError):  # it is awake
            pass

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until what is queued has been sent, or refused."""
        if self._thread is None:
            if self._closing_at is None:
                return not _queue and not self._batches
            self._work()
            return not self._batches  # what other threads have recorded meanwhile came too late
        if native.get_ident() == self._thread:
            return False
        done = native.allocate_lock()
        done.acquire()
        self._flushes.append(done)
        self.wake()
        in_time: bool = done.acquire(timeout=timeout_seconds)
        return in_time

    def close(self, timeout_seconds: float) -> None:
        """Send what waits, or give it up."""
        self._too_late = f"was not done within {timeout_seconds:g} s at exit"
        self._closing_at = monotonic() + timeout_seconds
        try:
            if not self.flush(timeout_seconds) and (_queue or self._batches):
                self._give_up(self._too_late)
        finally:
            self._closing_at = None
        self._spool.close()
        if self._thread is None:  # Python would warn of a connection that is left open
            for each in self._transports.values():
                each.close()
        self._tell_dropped(every_seconds=0)

    def encoded(self, record: Any) -> Any:
        """A record as it waits; itself where that fails, as with a stack that is used up: the thread tries again."""
        try:
            return self._waiting(record)
        except Exception:  # noqa: BLE001 - the guard: the thread says so
            return record

    def _waiting(self, record: Any) -> Waiting:
        if not record.is_log:
            message = self._otlp.span(record)
            events = record.events
            uids = " ".join([values[UID] for _, _, values in events if UID in values]) if events else ""
            return Waiting("traces", message, uids)
        message = self._otlp.log(record)
        if not record.is_error:
            waiting: Waiting = _new_tuple(Waiting, ("logs", message, ""))
            return waiting
        self._keep(record.attributes[UID], message)  # before it can arrive: what has arrived is forgotten
        return Waiting("logs", message, record.attributes[UID])

    def keep(self, record: LogRecord) -> None:
        """Keep an error on disk until it has arrived."""
        if not self._spool.is_on:
            return
        try:
            message = self._otlp.log(record)
        except Exception as error:  # noqa: BLE001 - the guard
            guard.broken("keeping errors on disk", error)
        else:
            self._keep(record.attributes[UID], message)

    def _keep(self, uid: str, message: bytes) -> None:
        try:
            self._spool.add(uid, message)
        except Exception as error:  # noqa: BLE001 - the guard
            guard.broken("keeping errors on disk", error)

    def pack_some(self) -> None:
        """Make a batch of what waits, in the thread that records: packed, it takes a tenth of the memory."""
        # As much as may wait is packed already: the thread does not come to it, and the oldest will be dropped.
        if len(self._packed) * _settings.batch_size >= _settings.queue_size:
            return
        self._packing.append(None)
        try:
            self._pack(self._packed)
        finally:
            self._packing.pop()
        self.wake()  # it may have found nothing meanwhile

    def release_files(self) -> None:
        """In a forked child: leave to the parent what it holds."""
        self._spool.release()
        for batch in self._batches:
            if batch.orphan is not None:
                batch.orphan.release()

    def _run(self) -> None:
        while True:
            try:
                urgent = self._wait()
            except Exception as error:  # noqa: BLE001 - the guard: without it a thread ends with a traceback
                _stop_exporting()
                for done in (*self._flushing, *self._flushes):
                    done.release()
                guard.failed("export", error, "nothing is sent from this process")
                return
            try:
                self._work(urgent=urgent)
            except Exception as error:  # noqa: BLE001 - the guard
                guard.failed("an export", error)
            if not self._batches:
                while self._flushing:
                    self._flushing.pop().release()

    def _wait(self) -> bool:
        """Wait until there is something to do; True if it shall be done at once."""
        if not self._batches and not self._packed:
            self.wants = 1  # before looking: who adds a record afterwards sees it
            if not _queue and not self._flushes and not _touched:
                self._asleep.acquire()
        pause = max(_settings.schedule_delay, self._retry_at - monotonic() if self._batches else 0)
        self.wants = min(_settings.batch_size, _settings.queue_size)
        if not self._flushes and len(_queue) < self.wants:
            self._asleep.acquire(timeout=min(pause, RETRY_SECONDS))
        self.wants = _NEVER
        urgent = bool(self._flushes)
        while self._flushes:
            self._flushing.append(self._flushes.popleft())
        return urgent

    def _work(self, *, urgent: bool = True) -> None:
        self._take()
        if urgent or monotonic() >= self._retry_at:
            self._deliver()
        self._drop_oldest()
        self._tell_dropped()

    # Records become batches

    def _take(self) -> None:
        """Make batches of what waits now; what comes in the meantime is for the next round."""
        self._adopt()
        self._take_packed()  # the oldest
        for _ in range(0, len(_queue), _settings.batch_size):
            self._pack(self._batches)
        for _ in range(_PACKING_ROUNDS):  # what other threads hold is from before as well
            if not self._packing:
                break
            self._asleep.acquire(timeout=0.005)
        self._take_packed()
        self._take_metrics()

    def _take_packed(self) -> None:
        while self._packed:
            self._batches.append(self._packed.popleft())

    def _adopt(self) -> None:
        """Take over the errors of processes of this service that have ended, unless there is enough to send."""
        if self._batches or monotonic() < self._look_at:
            return
        self._look_at = monotonic() + LOOK_SECONDS
        with loading.Held():  # a child shall find the files that it inherits
            for orphan in self._spool.orphans():
                guard.debug(f"{len(orphan.messages)} errors of a process that was killed are sent")
                for part in _parts([Waiting("logs", message, "") for message in orphan.messages]):
                    orphan.exports += 1
                    messages = [record.message for record in part]
                    self._batches.append(self._batch("logs", messages, head=orphan.head, orphan=orphan))

    def _take_metrics(self) -> None:
        global _touched  # noqa: PLW0603
        if _touched and collect_metrics is not None:
            _touched = False  # before looking: what is recorded afterwards is for the next round
            encoded = collect_metrics()
            if encoded and _settings.metrics_exporter != "none":
                self._batches.append(self._batch("metrics", encoded))

    def _pack(self, batches: deque[Batch]) -> None:
        """Make batches of the oldest records: spans apart from logs, what holds an error apart from what does not."""
        groups: dict[tuple[str, bool], list[Waiting]] = {}
        for _ in range(_settings.batch_size):
            try:
                record = _queue.popleft()
            except IndexError:  # another thread has packed them, or a fork has replaced the queue
                break
            if type(record) is not Waiting:
                try:
                    record = self._waiting(record)
                except Exception as error:  # noqa: BLE001 - the guard: one bad record takes no others with it
                    guard.failed("the export of a record", error)
                    continue
            groups.setdefault((record.signal, bool(record.uids)), []).append(record)
        for (signal, _), records in groups.items():
            for part in _parts(records):
                errors = tuple([record.uids for record in part if record.uids])
                batches.append(self._batch(signal, [record.message for record in part], errors))

    def _batch(
        self,
        signal: str,
        messages: list[bytes],
        errors: tuple[str, ...] = (),
        *,
        head: tuple[bytes, ...] = (),
        orphan: Orphan | None = None,
    ) -> Batch:
        resource, scope = head or self._head
        body = self._transports[signal].packed(self._otlp.request(resource, [(scope, messages)]))
        return Batch(signal, body, len(messages), monotonic() + RETRY_SECONDS, errors, orphan)

    def _drop_oldest(self) -> None:
        """Keep what could not be sent within its bounds. What tells least goes first: spans, then logs, then errors."""
        records = sum(batch.records for batch in self._batches)
        size = sum(len(batch.body) for batch in self._batches)
        while len(self._batches) > 1 and (records > _settings.queue_size or size > MOST_WAITING_BYTES):
            place = self._least()
            batch = self._batches[place]
            del self._batches[place]
            if batch.orphan is not None:
                batch.orphan.release()
            records -= batch.records
            size -= len(batch.body)
            self._given_up += batch.records

    def _least(self) -> int:
        """The place of the batch that is to be dropped."""
        plain = [place for place, batch in enumerate(self._batches) if batch.orphan is None and not batch.errors]
        traces = [place for place in plain if self._batches[place].signal == "traces"]
        return (traces or plain or [0])[0]

    def _tell_dropped(self, every_seconds: float = 60) -> None:
        dropped = _dropped + self._given_up - self._told_dropped
        if dropped > 0 and monotonic() - self._told_dropped_at > every_seconds:
            guard.say(f"{dropped} records were dropped, the oldest first: they came faster than they could be sent")
            self._told_dropped += dropped
            self._told_dropped_at = monotonic()

    # Batches go out

    def _deliver(self) -> None:
        """Send the batches, until the receiver asks to come back later."""
        while self._batches:
            batch = self._batches[0]
            answer = self._transports[batch.signal].send(batch.body, self._time_left(_settings.timeout))
            if guard.debugging:
                words = "spans" if batch.signal == "traces" else batch.signal
                guard.debug(f"export of {batch.records} {words}: {answer.words}")
            if answer.retry and self._put_off(batch, answer):
                return
            if not answer.retry:
                self._batches.popleft()
                if answer.accepted or answer.refused:
                    self._settle(batch)
                elif batch.orphan is not None:
                    batch.orphan.release()
                self._failing_since = None
                self._retry_at, self._pause = 0.0, 1.0
                if not answer.accepted:
                    self._say_lost(_shown(batch.signal), f"failed ({answer.words})")
                elif answer.rejected:
                    guard.say_once(f"{_shown(batch.signal)} did not take all records ({answer.rejected})")

    def _put_off(self, batch: Batch, answer: Answer) -> bool:
        """Decide when a batch is tried again; False: now."""
        now = monotonic()
        if self._failing_since is None:
            self._failing_since = now
        wait = answer.retry_after_seconds
        if self._closing_at is not None:
            # A receiver that is there may recover in time. One that is not shall not hold up the program's end.
            wait = min(self._pause, 0.2) if wait is None else wait
            if answer.reached and now + wait < self._closing_at:
                self._asleep.acquire(timeout=wait)
                return False
            # What has taken all the time there was is seen by this thread and by the one that waits for it alike.
            in_time = monotonic() < self._closing_at - 0.1
            self._give_up(f"failed at exit ({answer.words})" if in_time else self._too_late)
            self._batches.clear()
            return True
        if wait is None:
            wait = self._pause * _random.uniform(0.8, 1.2)
            self._pause = min(self._pause * 2, 30.0)
        self._retry_at = now + min(wait, RETRY_SECONDS)
        if now - self._failing_since > COMPLAIN_SECONDS:
            guard.say_once(f"export to {_shown(batch.signal)} fails ({answer.words}) and is tried again; {_CHECK}")
        if now > batch.expires_at:
            self._batches.popleft()
            self._given_up += batch.records
            if batch.orphan is not None:
                batch.orphan.release()
        return True

    def _settle(self, batch: Batch) -> None:
        """Forget what was kept on disk: it has arrived, or would be refused again."""
        if batch.orphan is not None:
            batch.orphan.arrived()
        elif batch.errors:
            self._spool.settle([uid for uids in batch.errors for uid in uids.split()])

    def _give_up(self, why: str) -> None:
        """Say that the end came first: once, though the thread and whoever waits for it may see it at the same time."""
        waiting = {batch.signal for batch in (*self._batches.copy(), *self._packed.copy())}
        waiting |= {record.signal if type(record) is Waiting else "traces" for record in _queue.copy()}
        places = dict.fromkeys(_shown(signal) for signal in sorted(waiting, reverse=True))
        if not places:
            return  # it has been sent after all
        try:
            self._hopes.pop()
        except IndexError:
            return
        self._say_lost(" and ".join(places), why)

    def _say_lost(self, places: str, why: str) -> None:
        waiting = self._spool.waiting
        kept = f", errors apart (kept for the service's next process: {waiting})" if waiting else ""
        guard.say_once(f"export to {places} {why}: records are lost{kept}; {_CHECK}")

    def _time_left(self, limit: float) -> float:
        if self._closing_at is not None:
            limit = min(limit, self._closing_at - monotonic())
        return max(0.05, limit)


def _parts(records: list[Waiting]) -> Iterator[list[Waiting]]:
    """Records in portions that a receiver takes at once."""
    part: list[Waiting] = []
    size = 0
    for record in records:
        if part and size + len(record.message) > MOST_BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record.message)
    if part:
        yield part


_CHECK = "check HIGHLIGHT_OTLP_ENDPOINT and that the receiver can be reached from here"


def _shown(signal: str) -> str:
    """Where a signal goes."""
    return config.bare_url(_settings.url(signal))
