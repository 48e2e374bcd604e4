"""highlight-local: receive OTLP and the browser client's data on this machine, and keep them in one file."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from . import machine

DEFAULT_PORT = 4318  # OTLP/HTTP's own
SPARE_PORTS = (14318, 0)  # where that is taken, and nobody has been asked: the same each time, for the page's snippet
DEFAULT_KEEP = "500MB"
LEAST_KEEP = 8_000_000
WHILE_USED = "--while-used"

# Option, its value's name in the help ("" for a switch), its default there, what it means.
Options = tuple[tuple[str, str, str, str], ...]
OPTIONS = (
    ("--port", "PORT", str(DEFAULT_PORT), "where to listen; 0 takes a free one"),
    ("--host", "ADDRESS", "127.0.0.1", "with another, requests need a token, which is printed"),
    ("--db", "FILE", "", "the database; by default in your data folder"),
    ("--keep", "SIZE", DEFAULT_KEEP, "the most that the database may take; the oldest is dropped"),
    (WHILE_USED, "", "", "for highlight-run --local: end when the last of them has gone"),
)
USAGE = "usage: highlight-local [OPTIONS]"
EXPORT = "export"
EXPORT_OPTIONS = (
    ("--error", "ID", "", "the error's number, as in the address of its page"),
    ("--output", "FILE", "", "the file to write; by default error-ID.html"),
    ("--db", "FILE", "", "the database; by default in your data folder"),
)
EXPORT_USAGE = "usage: highlight-local export --error ID [OPTIONS]"
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class EndError(Exception):
    """The command ends here; holds the exit status and the text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to end, or write an error to a file; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] == EXPORT:
            return _export(parse(given[1:], EXPORT_OPTIONS, export_help_text))
        options = parse(given, OPTIONS, help_text)
        _check_port(options["--port"])
        keep = size(options["--keep"])
        return _run(options, keep)
    except EndError as end:
        (sys.stderr if end.status else sys.stdout).write(end.text)
        return end.status
    except KeyboardInterrupt:
        return 0


def parse(arguments: Sequence[str], options: Options, text: Callable[[], str]) -> dict[str, str]:
    """The options' values; `text` is what `--help` prints."""
    values = {option: default for option, _, default, _ in options}
    names = {option: value_name for option, value_name, _, _ in options}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in ("-h", "--help"):
            raise EndError(0, text())
        if argument == "--version":
            from .. import __version__

            raise EndError(0, f"highlight-local {__version__}\n")
        option, equals, value = argument.partition("=")
        if option not in names:
            raise _wrong(f"unknown option {argument}; see highlight-local --help")
        if not names[option]:
            if equals:
                raise _wrong(f"{option} takes no value")
            value = "true"
        elif not equals:
            if not rest or rest[0].startswith("--"):
                raise _wrong(f"{option} needs a value: {option} {names[option]}")
            value = rest.pop(0)
        values[option] = value
    return values


def _check_port(text: str) -> None:
    if not (re.fullmatch(r"\d{1,5}", text, re.ASCII) and int(text) < 65536):
        raise _wrong(f"--port must be a number from 0 to 65535, not {text}")


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
        f"       {EXPORT_USAGE.partition(' ')[2]}",
        "",
        "Receive errors, logs, traces and browser sessions on this machine, and keep them in one file.",
        "",
        *_described(OPTIONS),
        "",
        "send to it:",
        "  highlight-run --local python app.py",
        f"  H.init('1', {{ backendUrl: 'http://127.0.0.1:{DEFAULT_PORT}/public',",
        f"                otlpEndpoint: 'http://127.0.0.1:{DEFAULT_PORT}', ... }})",
        "",
    ]
    return "\n".join(lines)


def export_help_text() -> str:
    """What `export --help` prints."""
    lines = [
        EXPORT_USAGE,
        "",
        "Write an error with its logs, trace and replay to one HTML file that loads nothing, to attach to a ticket.",
        "Of a replay of more than 20 MB it holds what is around the error.",
        "",
        *_described(EXPORT_OPTIONS),
        "",
    ]
    return "\n".join(lines)


def _described(options: Options) -> list[str]:
    lines = ["options:"]
    for option, value_name, default, meaning in options:
        lines.append(f"  {option + ' ' + value_name:<18} {meaning}{f' (default: {default})' if default else ''}")
    return [*lines, f"  {'--version':<18} print the version", f"  {'-h, --help':<18} print this text"]


def _export(options: dict[str, str]) -> int:
    """Write the file."""
    number = options["--error"]
    if not re.fullmatch(r"\d{1,18}", number, re.ASCII):
        raise _wrong(f"--error must be the error's number, not {number}" if number else "export needs --error ID")
    _check_installed()
    from . import export, machine

    output = options["--output"] or f"error-{int(number)}.html"
    path = options["--db"] or machine.database()
    try:
        if os.path.lexists(output):
            raise EndError(1, f"highlight-local: {output} exists; name another with --output\n")
        text = export.page(os.path.abspath(path), int(number))
        with open(output, "x", encoding="utf-8") as file:
            file.write(text)
    except export.ExportError as error:
        raise EndError(1, f"highlight-local: {error}\n") from None
    except OSError as error:
        raise EndError(1, f"highlight-local: {output}: {error.strerror or error}\n") from None
    _say(f"error {int(number)} is in {output} ({len(text) / 1e6:.1f} MB)")
    return 0


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
    """Be the only server, or say where that is."""
    from . import machine

    while_used = bool(options[WHILE_USED])
    folder = machine.data_folder()
    try:
        only = _only(folder, wait=while_used)
    except machine.Running as running:
        if while_used:
            _write(json.dumps(running.told))
            return 0
        where = "{url} (process {process})".format(**running.told) if running.told else "it has not told where yet"
        raise EndError(1, f"highlight-local: it runs already: {where}\n") from None
    except OSError as error:
        raise EndError(1, f"highlight-local: {folder}: {error.strerror or error}\n") from None
    try:
        _check_installed()
        _serve(only, options, os.path.abspath(options["--db"] or machine.database()), keep)
    finally:
        only.release()
    return 0


def _only(folder: str, *, wait: bool) -> machine.Only:
    """Be the only server; where another is, and `wait`, it is to be one that can be used."""
    from . import machine

    while True:
        try:
            return machine.Only(folder)
        except machine.Running as running:
            if running.told or not wait:
                raise
        time.sleep(0.05)  # it is starting, or ending


def _serve(only: machine.Only, options: dict[str, str], path: str, keep: int) -> None:
    """Listen, and serve."""
    import secrets

    from .launchers import Launchers
    from .pages import NOT_BUILT, are_built
    from .schema import SchemaError
    from .server import serve

    host, while_used = options["--host"], bool(options[WHILE_USED])
    asked = int(options["--port"])
    listening = _listen(host, asked, *(SPARE_PORTS if while_used else ()))
    log = None
    try:
        address, port = listening.getsockname()[:2]
        token = None if host in _LOOPBACK else secrets.token_urlsafe(24)
        shown = address if token is None else host
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
        told: dict[str, Any] = {"url": url, "process": os.getpid()}
        if while_used:
            told["log"] = f"{os.path.splitext(path)[0]}.log"
            log = _open_log(told["log"])

        def ready() -> None:
            only.tell(told)
            if log is not None:
                note = f"port {asked} is taken" if asked not in (0, port) else ""
                _write(json.dumps({**told, "note": note, "started": True}))
                for descriptor in (1, 2):  # the launcher has read all that it will
                    os.dup2(log, descriptor)
                return
            _say(f"listening at {url}, keeping at most {keep / 1e6:g} MB in {path}")
            if not are_built():
                _say(NOT_BUILT)
            if token is not None:
                _say(f"every request needs the token {token} as the header x-highlight-local-token;")
                _say(f"a browser gets its cookie at {url}/?token={token}")

        try:
            serve(listening, path, keep, token, ready, only.withdraw, Launchers() if while_used else None)
        except SchemaError as error:
            raise EndError(1, f"highlight-local: {error}\n") from None
    finally:
        listening.close()
        if log is not None:
            os.close(log)


def _open_log(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as error:
        raise EndError(1, f"highlight-local: {path}: {error.strerror or error}\n") from None


def _listen(host: str, port: int, *spare: int) -> socket.socket:
    """Listen at a port, or at the first of some others that is free."""
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
        if spare:
            return _listen(host, *spare)
        another = f"; name another with --port {port + 1}" if port < 65535 else ""
        raise EndError(1, f"highlight-local: {host}:{port}: {error.strerror or error}{another}\n") from None
    return listening


def _wrong(problem: str) -> EndError:
    return EndError(2, f"highlight-local: {problem}\n")


def _say(line: str) -> None:
    _write(f"highlight-local: {line}")


def _write(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):  # closed
        pass


if __name__ == "__main__":
    sys.exit(main())
