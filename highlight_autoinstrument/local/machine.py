"""The machine: where the database is by default, and which server runs already."""

from __future__ import annotations

import os
import sys
from typing import IO


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


class Running(Exception):  # noqa: N818 - it is an answer
    """Another server runs already; holds where."""


class Only:
    """The one server of this user on this machine, as long as the object lives: a lock that ends with the process."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._path = os.path.join(folder, "local.lock")
        self._file: IO[str] = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 - held open
        if not _lock(self._file):
            self._file.seek(0)
            where = self._file.read(200).strip()
            self._file.close()
            raise Running(where or "an address that it has not told yet")

    def tell(self, where: str) -> None:
        """Say where this server is."""
        self._file.truncate(0)
        self._file.write(f"{where}\n")
        self._file.flush()

    def release(self) -> None:
        """It ends."""
        self._file.truncate(0)
        self._file.close()


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
