"""Where a Redis server is: host names, `host:port` and URLs as a configuration has them. No message repeats a secret."""

import re
from ipaddress import IPv6Address
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

__all__ = ["Endpoint", "RedisUrl", "checked_place", "is_url", "parsed_endpoints"]

_PORT = 6379
_PORT_MAX = 65535
_SCHEMES = ("redis://", "rediss://", "unix://")
_NAME = re.compile(r"[^\s:/@?#,\[\]\\]+")
_ENDPOINT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*):(?P<port>[^:]*)")
_PORT_TEXT = re.compile(r"[0-9]{1,5}")
_DATABASE = re.compile(r"[0-9]{1,9}")
_OWN_QUERY = frozenset({"db", "username", "password"})


class Endpoint(NamedTuple):
    """One server; the host is a name or an address, never in brackets."""

    host: str
    port: int


def is_url(place: str) -> bool:
    """Tell a full URL from a host name."""
    return place.startswith(_SCHEMES)


def checked_place(value: str) -> str:
    """Take a host name, an address or a full URL; of a host, give it bare. Raises ValueError with the rule."""
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
    """Take a list of `host:port`, or one text of them with commas. Raises ValueError with the entry and the rule."""
    if value is None:
        return None
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        # Pydantic takes a ValueError for a broken rule, and lets a TypeError through.
        raise ValueError('must be a list of "host:port", or one text of them with commas')  # noqa: TRY004
    if not entries or entries == [""]:
        raise ValueError("must name one server at least, as host:port")
    # Whoever writes a URL here may have written its password too, and a comma in that splits it.
    secret = any(isinstance(entry, str) and ("@" in entry or "//" in entry) for entry in entries)
    parsed = []
    for number, entry in enumerate(entries, 1):
        place = f"entry {number}" if secret or not isinstance(entry, str) else f"entry {number}, {entry.strip()!r}"
        parsed.append(entry if isinstance(entry, Endpoint) else _endpoint(entry, place))
    return tuple(parsed)


class RedisUrl(NamedTuple):
    """What a full URL says; None where it says nothing. It may hold a password, so it is never shown."""

    scheme: str
    node: Endpoint | None
    username: str | None
    password: str | None
    db: int | None
    others: tuple[str, ...]
    """Names of further options behind `?`."""

    @classmethod
    def parse(cls, url: str) -> "RedisUrl":
        """Read a URL as redis-py does. Raises ValueError with the rule."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # The reason may quote what is really a part of the password.
            raise ValueError(
                f"not a URL: the port must be 1 to {_PORT_MAX}, an IPv6 address stands in brackets, and in user and "
                "password every / : @ ? # [ ] % is written as %2F %3A %40 %3F %23 %5B %5D %25"
            ) from None
        if port == 0:
            raise ValueError(f"the URL's port must be 1 to {_PORT_MAX}")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return cls(
            scheme=parts.scheme,
            node=_node(parts),
            username=unquote(parts.username or "") or query.get("username"),
            password=unquote(parts.password or "") or query.get("password"),
            db=_database(parts, query),
            others=tuple(sorted(query.keys() - _OWN_QUERY)),
        )

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "RedisUrl(...)"


def _node(parts: SplitResult) -> Endpoint | None:
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("the URL must name a socket, as unix:///run/redis.sock")
        return None
    return Endpoint(unquote(parts.hostname or "localhost"), parts.port or _PORT)


def _database(parts: SplitResult, query: dict[str, str]) -> int | None:
    in_path = parts.path.strip("/") if parts.scheme != "unix" else ""
    text = query.get("db", in_path)
    if not text:
        return None
    if not _DATABASE.fullmatch(text):
        raise ValueError("the URL's database must be a number, 0 or more")
    return int(text)


def _endpoint(entry: Any, place: str) -> Endpoint:
    if not isinstance(entry, str):
        # YAML reads `host: port`, with a space, as a mapping.
        raise ValueError(f'{place}: must be a text, "host:port", without a space behind the colon')  # noqa: TRY004
    if not entry.strip():
        raise ValueError(f"{place}: is empty; each one is host:port")
    found = _ENDPOINT.fullmatch(entry.strip())
    host = _bare(found["host"]) if found else None
    if "@" in entry or "//" in entry:
        raise ValueError(f"{place}: must be host:port; a user, a password and TLS have options of their own")
    if found is None and _bare(entry.strip()) is not None:
        raise ValueError(f"{place}: has no port; write host:port, and an IPv6 address in brackets, as [::1]:6379")
    if found is None or host is None:
        raise ValueError(f"{place}: must be host:port, and an IPv6 address in brackets, as [::1]:6379")
    port = found["port"]
    if not (_PORT_TEXT.fullmatch(port) and 1 <= int(port) <= _PORT_MAX):
        raise ValueError(f"{place}: the port must be 1 to {_PORT_MAX}")
    return Endpoint(host, int(port))


def _bare(host: str) -> str | None:
    """Take the brackets from an address; None: this is no host."""
    inside = host[1:-1] if host.startswith("[") and host.endswith("]") else None
    if inside is None and _NAME.fullmatch(host):
        return host
    try:
        return str(IPv6Address(inside or host))
    except ValueError:
        return None
