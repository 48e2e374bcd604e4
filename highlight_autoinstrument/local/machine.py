"""The machine: where the database is by default, and which server runs already."""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any


def data_folder() -> str:
    """The user's folder for data of programs, and in it ours."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        base = os.path.expanduser("~/.local/share")
    given = os.environ.get("XDG_DATA_HOME", "")
    return os.path.join(given if os.path.isabs(given) else base, "highlight-autoinstrument")


def database() -> str:
    """The database, unless another is named."""
    return os.path.join(data_folder(), "local.db")


class Running(Exception):  # noqa: N818 - it is an answer
    """Another server runs already; holds what it tells of itself, which is nothing before it is ready."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told)
        self.told = told


class Only:
    """The one server of this user on this machine, as long as the object lives: a lock that ends with the process."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._path = os.path.join(folder, "local.lock")
        self._file: IO[str] = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 - held open
        if not _lock(self._file):
            self._file.seek(0)
            told = _parsed(self._file.read(10_000))
            self._file.close()
            raise Running(told)
        self.withdraw()  # what one that was killed has told

    def tell(self, told: dict[str, Any]) -> None:
        """Say where this server is, and what else others have to know of it."""
        self._file.truncate(0)
        self._file.write(json.dumps(told))
        self._file.flush()

    def withdraw(self) -> None:
        """It is not there for others any more."""
        self._file.truncate(0)

    def release(self) -> None:
        """It ends."""
        self.withdraw()
        self._file.close()


def _parsed(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):  # it is being written
        return {}


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> bool:
        file.seek(1 << 20)  # behind the text: a locked part cannot be read by others
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
