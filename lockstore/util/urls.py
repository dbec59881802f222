"""Strict parsing of URLs with credentials. No error message repeats any part of a URL."""

import re
from collections.abc import Collection, Iterable
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit

from lockstore.util.text import is_one_line

__all__ = [
    "CLIENT_PARAMETERS",
    "ENCODING_RULE",
    "PORT_MAX",
    "check_amqp_url",
    "check_encoding",
    "replace_host",
    "split_hosts",
    "split_url",
]

PORT_MAX = 65535
_HOSTS_MOST = 32

ENCODING_RULE = (
    "in user and password every / : @ ? # [ ] % and space needs percent-encoding, "
    "as %2F %3A %40 %3F %23 %5B %5D %25 %20"
)

_SERVER_END = re.compile(r"[/?#]")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_RESERVED = re.compile(r"[\s/:@?#\[\]]")
_HOST = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]")
_PORT_TEXT = re.compile(r"[0-9]{1,5}")
_PORT_AT_END = re.compile(r":[0-9]+$")

_AMQP_PORTS = {"amqp": 5672, "amqps": 5671}
_AMQP_SCHEMES = ("amqp://", "amqps://")
_SEVERAL = "amqp://user:password@host1:5672,host2:5672/vhost"
_OF_BROKER = {
    "heartbeat": "heartbeat",
    "cafile": "ssl_ca_certs",
    "certfile": "ssl_certfile",
    "keyfile": "ssl_keyfile",
}
CLIENT_PARAMETERS = frozenset(_OF_BROKER)
"""Parameters that the URL of a client may have; the daemon has options in their place."""

HEARTBEAT_MAX_S = 65535
_HEARTBEAT = re.compile(r"[0-9]{1,5}")

_NEVER_UNVERIFIED = {"no_verify_ssl", "verify_ssl", "verify"}
_OF_THE_LIBRARY = {"auth", "cadata", "capath", "connection_timeout", "name", "timeout", "channel_max", "frame_max"}


def split_url(url: str) -> SplitResult:
    """Split a URL. Raises ValueError with the rule if a character could be interpreted in two ways."""
    if not is_one_line(url):
        raise ValueError("must not contain control characters such as a line end")
    scheme, _, rest = url.partition("://")
    server = _SERVER_END.split(rest, maxsplit=1)[0]
    behind = rest[len(server) :]
    if "#" in rest or "@" in (behind.partition("?")[2] if scheme == "unix" else behind):
        raise ValueError(f"not a URL: {ENCODING_RULE}")
    who, at, host_and_port = server.rpartition("@")
    if at:
        _check_credentials(who)
    if scheme == "unix" and host_and_port:
        raise ValueError(f"not a URL: write a socket as unix:///run/redis.sock; {ENCODING_RULE}")
    _check_server(host_and_port)
    try:
        parts = urlsplit(url)
        unused = parts.port, parts.hostname
    except ValueError:  # its message may quote part of the password
        raise ValueError(f"not a URL: {ENCODING_RULE}") from None
    del unused
    check_encoding(parts.path)
    return parts


def _check_credentials(who: str) -> None:
    user, _, password = who.partition(":")
    for text in (user, password):
        if _RESERVED.search(text):
            raise ValueError(f"not a URL: {ENCODING_RULE}")
        check_encoding(text)


def check_encoding(text: str) -> None:
    """Validate the percent-encoding of a part of a URL. Raises ValueError with the rule."""
    if _BAD_PERCENT.search(text):
        raise ValueError(f"not a URL: write a % as %25; {ENCODING_RULE}")
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("not a URL: percent-encoded text must be UTF-8") from None
    if not is_one_line(unquote(text)):
        raise ValueError("not a URL: percent-encoded text must not contain control characters")


def _check_server(server: str) -> None:
    bracket = server.rfind("]")
    host, colon, port = server[: bracket + 1], "", server[bracket + 1 :]
    if bracket < 0:
        host, colon, port = server.partition(":")
    elif port:
        colon, port = port[0], port[1:]
    if colon not in ("", ":") or (host and not _HOST.fullmatch(host)):
        raise ValueError(f"not a URL: the host name is invalid; an IPv6 address needs brackets; {ENCODING_RULE}")
    if colon and port.isascii() and port.isdigit() and int(port[:9]) == 0:
        raise ValueError(f"the URL's port must be 1 to {PORT_MAX}")
    if colon and not (_PORT_TEXT.fullmatch(port) and 1 <= int(port) <= PORT_MAX):
        raise ValueError(
            f"not a URL: the port must be 1 to {PORT_MAX}, an IPv6 address needs brackets; {ENCODING_RULE}"
        )


def split_hosts(url: str) -> list[str]:
    """Turn a URL with several hosts, separated by commas, into one URL for each of them; nothing is checked."""
    before, hosts, behind = _around_hosts(url)
    return [before + host + behind for host in hosts.split(",")]


def replace_host(url: str, host: str) -> str:
    """Return a single-host URL with another host; its port, if any, is kept. An IPv6 address is put in brackets."""
    before, old, behind = _around_hosts(url)
    port = _PORT_AT_END.search(old)
    return f"{before}{f'[{host}]' if ':' in host else host}{port[0] if port else ''}{behind}"


def _around_hosts(url: str) -> tuple[str, str, str]:
    scheme, _, rest = url.partition("://")
    server = _SERVER_END.split(rest, maxsplit=1)[0]
    who, at, hosts = server.rpartition("@")
    return f"{scheme}://{who}{at}", hosts, rest[len(server) :]


def check_amqp_url(url: str, parameters: Collection[str] = ()) -> None:
    """Validate a broker URL, which may name several hosts. Raises ValueError with the rule.

    `parameters`: those that it may have after a ?, of CLIENT_PARAMETERS.
    """
    if not url.startswith(_AMQP_SCHEMES):
        raise ValueError("must begin with amqp:// or amqps://")
    if any(f",{scheme}" in url for scheme in _AMQP_SCHEMES):
        raise ValueError(f"several hosts go into one URL, as in {_SEVERAL}")
    urls = split_hosts(url)
    for one in urls:
        query = _check_amqp_url_of_one_host(one, several=len(urls) > 1)
    if query is not None:
        _check_parameters(query, parameters, speaks_tls=url.startswith("amqps://"))
    if len(urls) > _HOSTS_MOST:
        raise ValueError(f"must name at most {_HOSTS_MOST} hosts")
    if len({(parts.hostname, parts.port or _AMQP_PORTS[parts.scheme]) for parts in map(urlsplit, urls)}) < len(urls):
        raise ValueError("must not name a host twice with the same port")


def _check_amqp_url_of_one_host(url: str, *, several: bool) -> str | None:
    """Return what follows the ?, None if there is no ?."""
    parts = split_url(url)
    if not parts.hostname and several:
        raise ValueError(f"must contain a host before and after each comma, as in {_SEVERAL}")
    if not parts.hostname:
        raise ValueError("must contain a host, as in amqp://user:password@host:5672/")
    if parts.path != "//" and "/" in parts.path[1:]:
        raise ValueError("write a / in the virtual host as %2F; nothing may follow the virtual host")
    return parts.query if "?" in url else None


def _check_parameters(query: str, allowed: Collection[str], *, speaks_tls: bool) -> None:
    pairs = [pair.partition("=")[::2] for pair in query.split("&")]
    names = [name for name, _ in pairs]
    if not all(name in allowed for name in names):
        raise ValueError(_refused_parameters(names, allowed))
    if len(set(names)) < len(names):
        raise ValueError("each parameter after the ? may appear once")
    for name, value in pairs:
        if name == "heartbeat" and not (_HEARTBEAT.fullmatch(value) and int(value) <= HEARTBEAT_MAX_S):
            raise ValueError(f"heartbeat after the ? must be a whole number of seconds, at most {HEARTBEAT_MAX_S}")
        check_encoding(value)
        if name != "heartbeat" and not value:
            raise ValueError(f"{name} after the ? must name a file")
        if name != "heartbeat" and not speaks_tls:
            raise ValueError(f"{name} after the ? needs amqps://")


def _refused_parameters(names: Iterable[str], allowed: Collection[str]) -> str:
    """Explain why a URL's parameters are rejected. Unknown names are not repeated: they may be part of a password."""
    for name in names:
        if name in allowed:
            continue
        if name in _NEVER_UNVERIFIED:
            return f"{name} after the ? is not supported: the broker's certificate is always verified"
        if name in _OF_BROKER:
            return f"{name} after the ? is not supported; use the option broker.{_OF_BROKER[name]}"
        if name in _OF_THE_LIBRARY:
            return f"{name} after the ? is not supported"
    others = f"other than {', '.join(sorted(allowed))} " if allowed else ""
    return f"must not have parameters {others}after a ?; if the ? is part of a password, {ENCODING_RULE}"
