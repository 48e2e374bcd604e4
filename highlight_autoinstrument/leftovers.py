"""Where errors are kept on disk, and whether somebody who has ended has left any: asked at each program's end."""

from __future__ import annotations

import os
from binascii import crc32

from . import service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Config

SUFFIX = ".errors"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def folder(settings: Config) -> str | None:
    """Where errors of this service are kept; None where none are."""
    if settings.spool_dir is None or os.name == "nt":  # which has no such locks
        return None
    name = settings.service_name or service.program_name()
    # What belongs to another project or receiver is not ours to send.
    other = crc32(f"{settings.project_id}\n{settings.url('logs')}\n{name}".encode("utf-8", "backslashreplace"))
    plain = "".join([character if character in _PLAIN else "_" for character in name[:80]])
    return os.path.join(settings.spool_dir, f"{plain}-{other:08x}")


def is_left(settings: Config) -> bool:
    """Whether a process of this service that has ended has left errors."""
    place = folder(settings)
    try:
        return place is not None and any(_is_free(os.path.join(place, name)) for name in os.listdir(place))
    except OSError:
        return False


def _is_free(path: str) -> bool:
    if not path.endswith(SUFFIX):
        return False
    import fcntl

    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process is alive
        return False
    finally:
        os.close(file)
    return True
