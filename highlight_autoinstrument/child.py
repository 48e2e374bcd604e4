"""A command as a child of highlight-run: it has the terminal, gets the signals that are sent here, and gives its end.

The child is in our process group, as a terminal has it for Ctrl-C, Ctrl-Z and who may read: these go to both of us. How
to end is the command's decision, and we wait for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from . import cli

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a terminal sends to the command as well, and what is sent to one process, which without us would be the command.
_OF_THE_TERMINAL = ("SIGINT", "SIGQUIT", "SIGBREAK")
_PASSED_ON = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def run(command: list[str], environ: Mapping[str, str]) -> int:
    """Run a command to its end and return its status, for `status`. From then on we ignore what is sent to us."""
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    # A handler, unlike SIG_IGN, is not handed down; what is ignored (nohup) is to stay so.
    _handle(_OF_THE_TERMINAL, lambda *_: None)
    if os.name != "nt":  # where they would end the child without a word
        _handle(_PASSED_ON, pass_on)
    try:
        process = _start(command, environ)
    except OSError as error:
        return cli.cannot_start(command, error)
    for number in early:
        process.send_signal(number)
    return process.wait()


def status(ended: int) -> int:
    """What a command's status is to sys.exit(); where a signal has ended the command, we die of the same."""
    if os.name == "nt":
        return cli.signed(ended)
    if ended >= 0:
        return ended
    import resource

    # The command has written its core file, if any.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # nobody handles SIGKILL
        signal.signal(-ended, signal.SIG_DFL)
    os.kill(os.getpid(), -ended)
    return 128 - ended  # as a shell has it: the first process of a container does not die of its own signals


def _handle(names: tuple[str, ...], handler: Any) -> None:
    for name in names:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _start(command: list[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    if os.name == "nt":
        return subprocess.Popen([shutil.which(command[0]) or command[0], *command[1:]], env=environ)  # noqa: S603 - as asked
    try:
        # Files that the shell has opened for the command are the command's, as with exec.
        return subprocess.Popen(command, env=environ, close_fds=False)  # noqa: S603 - as asked
    except OSError as error:
        script = cli.for_the_shell(command, error)
        if script is None:
            raise
        return subprocess.Popen(script, env=environ, close_fds=False)  # noqa: S603 - as asked
