"""highlight-local: receive OTLP and the browser client's data on this machine, and keep them in one file."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

DEFAULT_PORT = 4318  # OTLP/HTTP's own
DEFAULT_KEEP = "500MB"
LEAST_KEEP = 8_000_000

# Option, its value's name in the help, its default there, what it means.
OPTIONS = (
    ("--port", "PORT", str(DEFAULT_PORT), "where to listen; 0 takes a free one"),
    ("--host", "ADDRESS", "127.0.0.1", "with another, requests need a token, which is printed"),
    ("--db", "FILE", "", "the database; by default in your data folder"),
    ("--keep", "SIZE", DEFAULT_KEEP, "the most that the database may take; the oldest is dropped"),
)
USAGE = "usage: highlight-local [OPTIONS]"
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class EndError(Exception):
    """The command ends here; holds the exit status and the text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to end; returns the exit status."""
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        keep = size(options["--keep"])
        _check_installed()
        return _run(options, keep)
    except EndError as end:
        (sys.stderr if end.status else sys.stdout).write(end.text)
        return end.status
    except KeyboardInterrupt:
        return 0


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The options' values."""
    values = {option: default for option, _, default, _ in OPTIONS}
    names = {option: value_name for option, value_name, _, _ in OPTIONS}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in ("-h", "--help"):
            raise EndError(0, help_text())
        if argument == "--version":
            from .. import __version__

            raise EndError(0, f"highlight-local {__version__}\n")
        option, equals, value = argument.partition("=")
        if option not in names:
            raise _wrong(f"unknown option {argument}; see highlight-local --help")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise _wrong(f"{option} needs a value: {option} {names[option]}")
            value = rest.pop(0)
        values[option] = value
    if not (re.fullmatch(r"\d{1,5}", values["--port"], re.ASCII) and int(values["--port"]) < 65536):
        raise _wrong(f"--port must be a number from 0 to 65535, not {values['--port']}")
    return values


def size(text: str) -> int:
    """A size such as 500MB, in bytes."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,3})?)\s*(|[kmgt]b)", text.strip(), re.IGNORECASE | re.ASCII)
    found = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if not LEAST_KEEP <= found < 10**15:
        raise _wrong(f"--keep must be a size of at least {LEAST_KEEP // 10**6}MB such as 500MB or 2GB, not {text}")
    return found


def help_text() -> str:
    """What `--help` prints."""
    lines = [
        USAGE,
        "",
        "Receive errors, logs, traces and browser sessions on this machine, and keep them in one file.",
        "",
        "options:",
    ]
    for option, value_name, default, meaning in OPTIONS:
        lines.append(f"  {option + ' ' + value_name:<18} {meaning}{f' (default: {default})' if default else ''}")
    lines += [
        f"  {'--version':<18} print the version",
        f"  {'-h, --help':<18} print this text",
        "",
        "send to it:",
        f"  highlight-run --project-id 1 --endpoint http://127.0.0.1:{DEFAULT_PORT} python app.py",
        f"  H.init('1', {{ backendUrl: 'http://127.0.0.1:{DEFAULT_PORT}/public',",
        f"                otlpEndpoint: 'http://127.0.0.1:{DEFAULT_PORT}', ... }})",
        "",
    ]
    return "\n".join(lines)


def _check_installed() -> None:
    """Say which of the extra's libraries is not there."""
    from importlib import import_module

    for module, name in (
        ("starlette", "starlette"),
        ("uvicorn", "uvicorn"),
        ("google.protobuf.message", "protobuf"),
        ("opentelemetry.proto.common.v1.common_pb2", "opentelemetry-proto"),
        ("sqlite3", "Python's sqlite3"),
    ):
        try:
            import_module(module)
        except ImportError:  # noqa: PERF203
            install = f"{sys.executable} -m pip install 'highlight-autoinstrument[local]'"
            raise EndError(1, f"highlight-local: {name} is not installed; install it with: {install}\n") from None


def _run(options: dict[str, str], keep: int) -> int:
    """Listen, and serve."""
    import secrets

    from . import machine
    from .schema import SchemaError
    from .server import serve

    folder = machine.data_folder()
    try:
        only = machine.Only(folder)
    except machine.Running as running:
        raise EndError(1, f"highlight-local: it runs already: {running}\n") from None
    except OSError as error:
        raise EndError(1, f"highlight-local: {folder}: {error.strerror or error}\n") from None
    host = options["--host"]
    listening = None
    try:
        listening = _listen(host, int(options["--port"]))
        address, port = listening.getsockname()[:2]
        token = None if host in _LOOPBACK else secrets.token_urlsafe(24)
        shown = address if token is None else host
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
        path = options["--db"] or os.path.join(folder, "local.db")

        def ready() -> None:
            only.tell(f"{url} (process {os.getpid()})")
            _say(f"listening at {url}, keeping at most {keep / 1e6:g} MB in {path}")
            if token is not None:
                _say(f"every request needs the token {token} as the header x-highlight-local-token;")
                _say(f"a browser gets its cookie at {url}/?token={token}")

        try:
            serve(listening, os.path.abspath(path), keep, token, ready)
        except SchemaError as error:
            raise EndError(1, f"highlight-local: {error}\n") from None
    finally:
        if listening is not None:
            listening.close()
        only.release()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise EndError(1, f"highlight-local: {host}: {error.strerror or error}\n") from None
    try:
        if os.name != "nt":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        another = f"; name another with --port {port + 1}" if port < 65535 else ""
        raise EndError(1, f"highlight-local: {host}:{port}: {error.strerror or error}{another}\n") from None
    return listening


def _wrong(problem: str) -> EndError:
    return EndError(2, f"highlight-local: {problem}\n")


def _say(line: str) -> None:
    try:
        sys.stdout.write(f"highlight-local: {line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):  # closed
        pass


if __name__ == "__main__":
    sys.exit(main())
