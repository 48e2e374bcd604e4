"""TracingOrigins: to which hosts the ids are forwarded, as `HIGHLIGHT_TRACING_ORIGINS` says."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from ipaddress import IPv4Address, IPv6Address

_REMEMBERED = 1024  # decisions kept; a program that calls more hosts than this starts over

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "grpc": 443}

_INTERNAL_SUFFIXES = (".internal", ".local", ".svc", ".localhost")
# Spelled out, since what `ipaddress` calls private differs between versions of Python. Unspecified addresses
# (0.0.0.0, ::) reach this machine.
_INTERNAL_NETWORKS = (
    "0.0.0.0/32",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::/128",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)


class TracingOrigins:
    """The hosts that may have the ids.

    An entry is one of:

    - `*`: every host.
    - `api.example.com`: this host on any port; `api.example.com:8443`, `[::1]:8443`: on this one. A scheme's default
      port counts as given.
    - `*.example.com`, `*.example.com:8443`: every host below it, however deep, but not `example.com` itself.
    - `/regex/`: found anywhere in `scheme://host:port` (as the browser client does, so `^` and `$` are the user's to
      write), in lower case, the port always there. It may hold commas and slashes; a slash before a comma ends it,
      unless that slash has a backslash before it.
    - `internal`: loopback, private and link-local addresses, names without a dot, and names that end in `.internal`,
      `.local`, `.svc` or `.localhost`.

    Entries are separated by commas. None at all: nobody has the ids.
    """

    __slots__ = ("_hosts", "_internal", "_known", "_patterns", "_subdomains", "everywhere")

    def __init__(self) -> None:
        self.everywhere = False
        self._internal = False
        self._hosts: set[tuple[str, int | None]] = set()
        self._subdomains: list[tuple[str, int | None]] = []
        self._patterns: list[re.Pattern[str]] = []
        self._known: dict[tuple[str, str, int | None], bool] = {}

    @classmethod
    def parse(cls, text: str) -> TracingOrigins:
        """Read the setting. ValueError names the first bad entry."""
        origins = cls()
        for entry in entries(text):
            origins._add(entry)
        return origins

    def allows(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether a call to this host may carry the ids; `port` None is the scheme's default.

        A host that is none (malformed, not text) may not have them, except under `*`, where nothing is looked at.
        """
        if self.everywhere:
            return True
        # Asked before anything is hashed: what libraries hand over as a host or a port is not always one.
        if not (isinstance(scheme, str) and isinstance(host, str) and (port is None or isinstance(port, int))):
            return False
        key = (scheme, host, port)
        known = self._known.get(key)
        if known is None:
            known = self._matching(scheme, host, port)[0]
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = known
        return known

    def reason(self, scheme: str, host: str, port: int | None) -> str:
        """In a few words why `allows` answers as it does."""
        if self.everywhere:
            return "every host is allowed (*)"
        if not (isinstance(scheme, str) and isinstance(host, str) and (port is None or isinstance(port, int))):
            return "not a valid host"
        return self._matching(scheme, host, port)[1]

    def _add(self, entry: str) -> None:
        if entry == "*":
            self.everywhere = True
        elif entry.lower() == "internal":
            self._internal = True
        elif entry.startswith("/"):
            self._patterns.append(compiled(entry))
        else:
            name, port = _host_and_port(entry)
            below = name.startswith("*.")
            host = _normal(name[2:] if below else name)
            if host is None or (below and _address(host) is not None):
                raise ValueError(_explained(entry))
            if below:
                self._subdomains.append(("." + host, port))
            else:
                self._hosts.add((host, port))

    def _matching(self, scheme: str, host: str, port: int | None) -> tuple[bool, str]:
        name = _normal(host)
        if name is None:
            return False, "not a valid host"
        scheme = scheme.lower()
        if port is None:
            port = _DEFAULT_PORTS.get(scheme)
        if (name, None) in self._hosts:
            return True, f"{name} is listed"
        if (name, port) in self._hosts:
            return True, f"{name}:{port} is listed"
        for suffix, only_port in self._subdomains:
            if name.endswith(suffix) and only_port in (None, port):
                return True, f"*{suffix} is listed"
        if self._internal and _is_internal(name):
            return True, f"{name} is internal"
        shown = f"[{name}]" if ":" in name else name
        origin = f"{scheme}://{shown}" if port is None else f"{scheme}://{shown}:{port}"
        for pattern in self._patterns:
            if pattern.search(origin):
                return True, f"/{pattern.pattern}/ matches"
        if not (self._hosts or self._subdomains or self._patterns or self._internal):
            return False, "the list of tracing origins is empty"
        return False, f"{shown if port is None else f'{shown}:{port}'} is not a tracing origin"


def entries(text: str) -> Iterator[str]:
    """The entries of the list, in which commas within a /regex/ do not count."""
    while text := text.lstrip(" \t\r\n,"):
        end = _end_of_pattern(text) if text.startswith("/") else text.find(",")
        if end < 0:
            end = len(text)
        yield text[:end].rstrip()
        text = text[end:]


def _end_of_pattern(text: str) -> int:
    """Where the /regex/ at the beginning of the text ends: after a slash that the next comma or nothing follows."""
    at = text.find("/", 1)
    while at > 0:
        backslashes = at - len(text[:at].rstrip("\\"))
        rest = text[at + 1 :].lstrip()
        if backslashes % 2 == 0 and (not rest or rest.startswith(",")):
            return at + 1
        at = text.find("/", at + 1)
    return -1


def compiled(entry: str) -> re.Pattern[str]:
    """The regular expression of an entry, in any case of letters; ValueError if it is none."""
    import re

    if len(entry) < 3 or not entry.endswith("/"):
        raise ValueError(f"{entry!r} is not a regular expression between two slashes")
    try:
        return re.compile(entry[1:-1], re.IGNORECASE)
    except (re.error, OverflowError, RecursionError, Warning) as error:  # under -W error a warning is raised
        raise ValueError(f"{entry!r} is not a regular expression: {error}") from None


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[v6]`, `[v6]:port` and bare `v6`."""
    if entry.startswith("["):
        host, bracket, rest = entry.partition("]")
        host += bracket
        separator, port = rest[:1], rest[1:]
    elif entry.count(":") > 1:
        host, separator, port = entry, "", ""
    else:
        host, separator, port = entry.partition(":")
    if not separator:
        return host, None
    if separator != ":" or not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise ValueError(_explained(entry))
    return host, int(port)


def _explained(entry: str) -> str:
    # A URL is what people write first: the browser client's own tracingOrigins take parts of one.
    hint = "; write the host alone, without scheme and path" if "/" in entry else ""
    return f"{entry!r} is not a host{hint}"


def _normal(host: str) -> str | None:
    """The host as it is compared: lower case, no dot at its end, addresses in one spelling; None if it is no host."""
    host = host.lower()
    if ":" in host:
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        address = _address(host.partition("%")[0])  # %: the zone, which is this machine's own affair
        return None if address is None else str(address)
    host = host.removesuffix(".")
    labels = host.split(".")
    # Characters that end a host (a slash, @, #, ...) or a label (a dot of other scripts) are no part of a name.
    if len(host) > 253 or not all(map(_is_label, labels)):
        return None
    return host


def _is_label(label: str) -> bool:
    return label.replace("-", "").replace("_", "").isalnum()


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The host as an address, an IPv4 one where it is written as IPv6; None for a name."""
    if not (":" in host or host[-1:].isdigit()):
        return None
    from ipaddress import ip_address

    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_internal(name: str) -> bool:
    address = _address(name)
    if address is not None:
        from ipaddress import ip_network

        return any(address in ip_network(network) for network in _INTERNAL_NETWORKS)
    if "." in name:
        return name.endswith(_INTERNAL_SUFFIXES)
    # 134744072 and 0x8080808 are other spellings of 8.8.8.8, and some letters of other scripts stand for a dot.
    return name.isascii() and not (name.isdigit() or name.startswith("0x"))
