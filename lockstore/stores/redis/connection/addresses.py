"""Addresses of Redis servers: host names, `host:port` and URLs from a configuration. No message repeats a secret."""

import re
from ipaddress import IPv6Address
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote

from lockstore.util.urls import PORT_MAX, check_encoding, split_url
from lockstore.util.validation import without_control_characters

__all__ = ["Endpoint", "RedisUrl", "checked_place", "is_url", "parsed_endpoints"]

_PORT = 6379
_SCHEMES = ("redis://", "rediss://", "unix://")
_NAME = re.compile(r"[^\s:/@?#,\[\]\\]+")
_ENDPOINT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*):(?P<port>[^:]*)")
_PORT_TEXT = re.compile(r"[0-9]{1,5}")
_DATABASE = re.compile(r"[0-9]{1,9}")
_OWN_QUERY = frozenset({"db", "username", "password"})
_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "socket_timeout"})
_VERIFICATION = frozenset(
    {"ssl_cert_reqs", "ssl_check_hostname", "ssl_include_verify_flags", "ssl_exclude_verify_flags"}
)
_OF_THE_LIBRARY = re.compile(
    r"protocol|decode_responses|encoding|timeout|max_connections|retry_\w+|(?:socket|health|ssl|client)_\w+"
)


class Endpoint(NamedTuple):
    """A server's address. The host is a name or an IP address, never in brackets."""

    host: str
    port: int


def is_url(place: str) -> bool:
    """Return whether this is a full URL rather than a host name."""
    return place.startswith(_SCHEMES)


def checked_place(value: str) -> str:
    """Validate a host name, an IP address or a full URL, and return the host without brackets. Raises ValueError."""
    without_control_characters(value)
    if is_url(value):
        RedisUrl.parse(value)
        return value
    host = _bare(value.rstrip("/"))
    if host is None:
        raise ValueError(
            "must be a host name or an address (a port goes into the option port, several servers go into endpoints), "
            "or a redis://, rediss:// or unix:// URL"
        )
    return host


def parsed_endpoints(value: Any) -> Any:
    """Parse a list of `host:port`, or a comma-separated text. Raises ValueError naming the entry and the rule."""
    if value is None:
        return None
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        # Pydantic reports a ValueError as a validation error, but propagates a TypeError.
        raise ValueError('must be a list of "host:port", or a text of them, separated by commas')  # noqa: TRY004
    if not entries or entries == [""]:
        raise ValueError("must name at least one server, as host:port")
    parsed = []
    for number, entry in enumerate(entries, 1):
        # Never repeat the entry: it may be a URL with a password.
        parsed.append(entry if isinstance(entry, Endpoint) else _endpoint(entry, f"entry {number}"))
    return tuple(parsed)


class RedisUrl(NamedTuple):
    """The parts of a full URL, None where absent. It may contain a password, so it is never displayed."""

    scheme: str
    node: Endpoint | None
    username: str | None
    password: str | None
    db: int | None

    @classmethod
    def parse(cls, url: str) -> "RedisUrl":
        """Parse a URL as redis-py does. Raises ValueError with the rule."""
        parts = split_url(url)
        query = _query(parts)
        for name, there in (("username", parts.username), ("password", parts.password)):
            if there and name in query:
                raise ValueError(f"the URL names a {name} twice, before the host and after the ?")
        return cls(
            scheme=parts.scheme,
            node=_node(parts),
            username=unquote(parts.username or "") or query.get("username"),
            password=unquote(parts.password or "") or query.get("password"),
            db=_database(parts, query),
        )

    def __repr__(self) -> str:
        """Hide the contents."""
        return "RedisUrl(...)"


def _node(parts: SplitResult) -> Endpoint | None:
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("the URL must name a socket, as unix:///run/redis.sock")
        return None
    return Endpoint(unquote(parts.hostname or "localhost"), parts.port or _PORT)


def _query(parts: SplitResult) -> dict[str, str]:
    """Parse the part after the `?`. Unknown names are not repeated: they may be part of a password."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    for name, _ in pairs:
        if name in _VERIFICATION:
            raise ValueError(f"the URL's {name} after the ? is not supported: Redis' certificate is always verified")
        if name in _OPTIONS:
            raise ValueError(f"the URL's {name} after the ? is not supported; use the option of that name")
        if _OF_THE_LIBRARY.fullmatch(name):
            raise ValueError(f"the URL's {name} after the ? is not supported")
        if name not in _OWN_QUERY:
            raise ValueError("after the ? of the URL only db, username and password are supported; write & as %26")
    if "+" in parts.query or len(dict(pairs)) < len(pairs):
        raise ValueError("after the ? of the URL each name may appear once; write + as %2B and a space as %20")
    check_encoding(parts.query)
    return dict(pairs)


def _database(parts: SplitResult, query: dict[str, str]) -> int | None:
    in_path = parts.path.strip("/") if parts.scheme != "unix" else ""
    text = query.get("db", in_path)
    if in_path and text != in_path:
        raise ValueError("the URL names two databases, one after the host and one after the ?")
    if not text:
        return None
    if not _DATABASE.fullmatch(text):
        raise ValueError("the URL's database must be a number of at least 0")
    return int(text)


def _endpoint(entry: Any, place: str) -> Endpoint:
    if not isinstance(entry, str):
        # YAML parses `host: port`, with a space, as a mapping.
        raise ValueError(f'{place}: must be a text, "host:port", without a space after the colon')  # noqa: TRY004
    if not entry.strip():
        raise ValueError(f"{place}: is empty; each entry must be host:port")
    found = _ENDPOINT.fullmatch(entry.strip())
    host = _bare(found["host"]) if found else None
    if "@" in entry or "//" in entry:
        raise ValueError(f"{place}: must be host:port; user, password and TLS are separate options")
    if found is None and _bare(entry.strip()) is not None:
        raise ValueError(f"{place}: has no port; write host:port, and an IPv6 address in brackets, as [::1]:6379")
    if found is None or host is None:
        raise ValueError(f"{place}: must be host:port, and an IPv6 address in brackets, as [::1]:6379")
    port = found["port"]
    if not (_PORT_TEXT.fullmatch(port) and 1 <= int(port) <= PORT_MAX):
        raise ValueError(f"{place}: the port must be 1 to {PORT_MAX}")
    return Endpoint(host, int(port))


def _bare(host: str) -> str | None:
    """Return an address without brackets, None if it is not a host."""
    inside = host[1:-1] if host.startswith("[") and host.endswith("]") else None
    if inside is None and _NAME.fullmatch(host):
        return host
    try:
        return str(IPv6Address(inside or host))
    except ValueError:
        return None
