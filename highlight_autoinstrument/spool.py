"""Errors on disk until the receiver has them: what a killed process leaves, the next one of the service sends.

Each process has a file of its own in its service's folder, made with its first error and gone when all have arrived.
The file is locked while the process lives; the system lets go of the lock however it ends, so that a file which can be
locked belongs to nobody any more. A record is one write at the file's end. It is found again by its frame, whatever a
write that was torn has left before it.

A database would do the same with more: SQLite's connections do not outlive a fork, and its writers wait for each other,
where an application's thread shall wait for nobody.
"""

from __future__ import annotations

from binascii import crc32
from errno import EACCES, ENOSPC
from itertools import count
from struct import Struct
from time import time_ns
from typing import TYPE_CHECKING

from . import guard, loading, native
from .leftovers import SUFFIX
from .native import system

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

MOST_BYTES = 4_000_000  # of one file, before what is settled, or else the oldest, is taken out
_MOST_FILES = 100  # of one service, and their bytes: beyond it the oldest go
_MOST_SERVICE_BYTES = 32_000_000
_MAGIC = b"\xf1hl\x01"  # no text, no UTF-8, and the version of the format
_FRAME = Struct("<4s16sII")  # magic, id, the content's length and checksum
_HEAD = "0" * 32  # the id of a file's first frames: what all its records share
_SETTLED = "f" * 32  # of a frame that holds the ids of errors which have arrived
_numbers = count()
_PATIENCE_SECONDS = 0.2  # that is waited for another thread's write


def framed(uid: str, content: bytes) -> bytes:
    """A record as it stands in the file; `uid` is 32 hexadecimal digits."""
    identifier = bytes.fromhex(uid)
    return _FRAME.pack(_MAGIC, identifier, len(content), crc32(content, crc32(identifier))) + content


def frames(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The records that are whole, with their ids; what lies between them is skipped."""
    position = data.find(_MAGIC)
    while 0 <= position <= len(data) - _FRAME.size:
        _, identifier, length, checksum = _FRAME.unpack_from(data, position)
        begin = position + _FRAME.size
        content = data[begin : begin + length]
        if len(content) == length and crc32(content, crc32(identifier)) == checksum:
            yield identifier.hex(), content
            position = data.find(_MAGIC, begin + length)
        else:
            position = data.find(_MAGIC, position + 1)


class Spool:
    """The errors of this process that have not arrived yet. Without a folder nothing is kept."""

    def __init__(self, place: str | None, head: tuple[bytes, ...]) -> None:
        self._folder = place
        self._head = b"".join(framed(_HEAD, part) for part in head)
        self._path = ""
        self._file = -1
        self._stat: os.stat_result  # the file's, once there is one
        self._size = 0
        self._waiting: set[str] = set()  # ids of those that have not arrived
        # Held for a write. A garbage collection or a signal in the midst of it may record an error as well.
        self._lock = native.allocate_rlock()

    @property
    def is_on(self) -> bool:
        """Whether errors are kept at all."""
        return self._folder is not None

    @property
    def waiting(self) -> int:
        """How many errors are kept."""
        return len(self._waiting)

    def add(self, uid: str, message: bytes) -> None:
        """Keep an error until `settle` is told its id. Never raises for what the disk does."""
        folder = self._folder
        if folder is None:
            return
        frame = framed(uid, message)
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            return  # the disk hangs with another thread's error: not all of them shall wait for it
        try:
            if not self._is_open() and not self._open(folder):
                return
            if self._size + len(frame) > 2 * MOST_BYTES:
                return  # the thread that would make room does not come to it
            if self._append(frame):
                self._waiting.add(uid)
        finally:
            self._lock.release()

    def settle(self, uids: Iterable[str]) -> None:
        """Forget errors that have arrived, or that were refused."""
        if not self._waiting:
            return
        with self._lock:
            gone = self._waiting.intersection(uids)
            self._waiting -= gone
            if not gone or not self._is_open():
                return
            try:
                if not self._waiting:
                    self._truncate(len(self._head))
                elif self._size > MOST_BYTES:
                    self._make_room()
                else:
                    self._append(framed(_SETTLED, bytes.fromhex("".join(gone))))
            except OSError as error:
                self._failed(error)

    def close(self) -> None:
        """At the end of the process: leave no file where nothing is waiting."""
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            return  # the disk hangs, and the program ends all the same
        try:
            if self._is_open() and not self._waiting:
                _unlink(self._path)
                self.release()
        finally:
            self._lock.release()

    def release(self) -> None:
        """Let go of the file, as in a child that has inherited it: the lock is its parent's."""
        if self._is_open():
            system.close(self._file)
            self._file = -1

    def _is_open(self) -> bool:
        """Whether the descriptor is still the file's: an application may close all that there are, and open its own."""
        if self._file < 0:
            return False
        try:
            if system.path.samestat(system.fstat(self._file), self._stat):
                return True
        except OSError:
            pass
        self._file = -1
        return False

    def _open(self, folder: str) -> bool:
        try:
            system.makedirs(folder, mode=0o700, exist_ok=True)
            _check(folder)
            self._path = system.path.join(folder, f"{time_ns():x}-{system.getpid()}-{next(_numbers)}{SUFFIX}")
            self._replace(self._head)
        except OSError as error:
            self._failed(error)
            self._folder = None
            return False
        return True

    def _replace(self, content: bytes) -> None:
        """Put a new file in the place of the one that is there: whole and locked before it has its name."""
        fresh = self._path + ".new"
        with loading.Held():  # a child would inherit a file that nobody knows of
            file = system.open(
                fresh, system.O_RDWR | system.O_APPEND | system.O_CREAT | system.O_EXCL | system.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write(file, content)
                system.rename(fresh, self._path)
            except BaseException:
                system.close(file)
                _unlink(fresh)
                raise
            self.release()
            self._file, self._stat = file, system.fstat(file)
            self._size = len(content)

    def _append(self, frame: bytes) -> bool:
        try:
            _write(self._file, frame)
        except OSError as error:
            self._failed(error)
            system.ftruncate(self._file, self._size)
            return False
        self._size += len(frame)
        return True

    def _truncate(self, size: int) -> None:
        if self._size != size:
            system.ftruncate(self._file, size)
            self._size = size

    def _make_room(self) -> None:
        """Write the file anew with what still waits, the latest of it if that is much."""
        kept = [
            (uid, frame)
            for uid, content in frames(_read(self._file))
            if uid in self._waiting
            for frame in (framed(uid, content),)
        ]
        size = sum(len(frame) for _, frame in kept)
        while size > MOST_BYTES // 2:
            size -= len(kept.pop(0)[1])
        self._waiting = {uid for uid, _ in kept}
        self._replace(self._head + b"".join(frame for _, frame in kept))

    def _failed(self, error: OSError) -> None:
        what = error.strerror or str(error)
        guard.say_once(
            f"errors cannot be kept on disk until they are sent ({what}: {self._folder}); "
            "set HIGHLIGHT_SPOOL_DIR to a folder that can be written to, or to off"
        )

    def orphans(self) -> list[Orphan]:
        """What processes of this service have left that have ended, the oldest first."""
        if self._folder is None:
            return []
        try:
            names = sorted(name for name in system.listdir(self._folder) if name.endswith(SUFFIX))
        except OSError:
            return []
        found = [orphan for name in names if (orphan := _adopt(system.path.join(self._folder, name))) is not None]
        size = 0
        for number, orphan in enumerate(reversed(found)):
            size += orphan.size
            if number >= _MOST_FILES or size > _MOST_SERVICE_BYTES:
                orphan.remove()
        return [orphan for orphan in found if orphan.is_held]


class Orphan:
    """The file of a process that has ended, locked by this one."""

    def __init__(self, path: str, file: int) -> None:
        self._path = path
        self._file = file
        self.size = system.fstat(file).st_size
        self.head: tuple[bytes, ...] = ()
        self.exports = 0  # in how many of them the messages go; once all have arrived, the file goes
        found: dict[str, bytes] = {}
        for uid, content in frames(_read(file)):
            if uid == _HEAD:
                self.head += (content,)
            elif uid == _SETTLED:
                for begin in range(0, len(content), 16):
                    found.pop(content[begin : begin + 16].hex(), None)
            else:
                found[uid] = content
        self.messages = list(found.values())

    @property
    def is_held(self) -> bool:
        """Whether the file is still there, and this process's."""
        return self._file >= 0

    def arrived(self) -> None:
        """Note that one of the exports has arrived."""
        self.exports -= 1
        if self.exports <= 0:
            self.remove()

    def remove(self) -> None:
        """Remove the file."""
        _unlink(self._path)
        self.release()

    def release(self) -> None:
        """Leave the file to others."""
        if self._file >= 0:
            system.close(self._file)
            self._file = -1


def _adopt(path: str) -> Orphan | None:
    """Lock a file that nobody else has locked; None if there is no such file, or nothing in it."""
    try:
        file = system.open(path, system.O_RDONLY | system.O_CLOEXEC | system.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = system.fstat(file)
        # Meanwhile another process may have sent and removed it, or its owner has written it anew.
        if found.st_uid == system.geteuid() and system.path.samestat(found, system.lstat(path)):
            orphan = Orphan(path, file)
            if orphan.messages and len(orphan.head) == 2:
                return orphan
            _unlink(path)
    except OSError:
        pass
    system.close(file)
    return None


def _check(folder: str) -> None:
    """Raise if others can put files into a folder of ours."""
    found = system.lstat(folder)
    if found.st_uid != system.geteuid() or found.st_mode & 0o022:
        raise PermissionError(EACCES, "others can write there")


def _write(file: int, content: bytes) -> None:
    if system.write(file, content) != len(content):
        raise OSError(ENOSPC, "no space left for all of it")


def _read(file: int) -> bytes:
    size = min(system.fstat(file).st_size, 3 * MOST_BYTES)
    content: bytes = system.pread(file, size, 0)
    return content


def _unlink(path: str) -> None:
    try:
        system.unlink(path)
    except OSError:
        pass
