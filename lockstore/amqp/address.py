"""Where a broker's URL leads, for messages: never with its password."""

from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from lockstore.util.urls import split_hosts

__all__ = ["BROKER", "BrokerAddress"]


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker's URL leads, without its password."""

    host: str
    port: int
    vhost: str
    user: str
    ip: str | None = None  # where the host's name has several addresses: the one that is meant

    @classmethod
    def of(cls, url: str) -> "BrokerAddress":
        """Parse an AMQP URL. If it has several hosts, `place` names all of them."""
        each = split_hosts(url)
        if len(each) > 1:
            found = [cls.of(one) for one in each]
            return replace(found[0], host=", ".join(one.place for one in found), port=0)
        parts = urlsplit(url)
        port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
        return cls(parts.hostname or "", port, unquote(parts.path[1:]) or "/", unquote(parts.username or "guest"))

    def __str__(self) -> str:
        return f"{self.place}, virtual host {self.vhost}, user {self.user}"

    @property
    def place(self) -> str:
        """Host and port; for a name with several addresses also the address."""
        if not self.port:
            return self.host
        place = f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        return place if self.ip is None else f"{place} ({self.ip})"


BROKER = BrokerAddress("RabbitMQ", 0, "of broker.url", "of broker.url")
"""For who does not know the address."""
