"""The `lock_store` section as Rasa passes it to a store: checked, with values from the environment."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import inf
from typing import Any

from lockstore.errors import ConfigError

__all__ = ["RASAS_LIFETIME_S", "QueueOptions", "direct_section", "lifetime_of", "queue_options"]

_LIFETIME = "TICKET_LOCK_LIFETIME"
RASAS_LIFETIME_S = 60.0  # what Rasa takes without the variable
_ELSEWHERE = {
    "basic_auth": "user and password belong into RabbitMQ's URL; for Redis they are username and password",
    "cafile": "it belongs into RabbitMQ's URL, amqps://...?cafile=/path/to/ca.pem; for Redis it is ssl_ca_certs",
    "headers": "they have no meaning for a lock store",
    "params": "they have no meaning for a lock store",
    "token": "user and password belong into RabbitMQ's URL; for Redis they are username and password",
}
"""Options that Rasa takes out of every section as attributes of its own, and what to do instead."""


@dataclass(frozen=True)
class QueueOptions:
    """The options of `QueueLockStore`. None: the default of the client or of the daemon."""

    url: str
    namespace: str = "lockstore"
    partitions: int = 1
    connect_timeout: float | None = None
    wait: float | None = None
    lifetime: float | None = None
    holder: str | None = None

    @property
    def for_client(self) -> dict[str, Any]:
        """The client's own arguments: stores that agree in these share one client."""
        given = {"url": self.url, "namespace": self.namespace, "partitions": self.partitions}
        return given if self.connect_timeout is None else {**given, "connect_timeout": self.connect_timeout}


def queue_options(endpoint_config: Any, environ: Mapping[str, str]) -> QueueOptions:
    """Return the options of a `QueueLockStore`. Raises ConfigError with the option and the rule."""
    section = _section_of(endpoint_config)
    known = [field.name for field in fields(QueueOptions)]
    for name in section:
        if name not in known:
            near = get_close_matches(name.lower(), known, 1)
            hint = f"; did you mean {near[0]}?" if near else f" (known: {', '.join(known)})"
            raise ConfigError(f"lock_store.{name}: is unknown{hint}")
    url = section.get("url")
    if not isinstance(url, str) or not url:
        raise ConfigError("lock_store.url: is required: RabbitMQ's, as amqp://user:password@host:5672/vhost")
    lifetime = _above_0(section, "lifetime")
    return QueueOptions(
        url=url,
        namespace=_text(section, "namespace") or QueueOptions.namespace,
        partitions=_whole(section, "partitions", QueueOptions.partitions),
        connect_timeout=_above_0(section, "connect_timeout"),
        wait=_seconds(section, "wait"),
        lifetime=lifetime_of(environ) if lifetime is None else lifetime,
        holder=_text(section, "holder"),
    )


def direct_section(endpoint_config: Any, store_type: str) -> dict[str, Any]:
    """Return the section of a direct store, as `create_store` takes it."""
    return {**_section_of(endpoint_config), "type": store_type}


def lifetime_of(environ: Mapping[str, str]) -> float | None:
    """Return `TICKET_LOCK_LIFETIME` in seconds; None where it is absent, empty or 0. Raises ConfigError."""
    text = environ.get(_LIFETIME, "")
    return _number(text, f"{_LIFETIME} in the environment") or None if text.strip() else None


def _section_of(endpoint_config: Any) -> dict[str, Any]:
    """Return the options without the type, from the object that Rasa makes of a section."""
    if endpoint_config is None:
        raise ConfigError("lock_store: is missing; this store takes its options from the section of endpoints.yml")
    for name, instead in _ELSEWHERE.items():
        if getattr(endpoint_config, name, None):
            raise ConfigError(f"lock_store.{name}: has no effect here; {instead}")
    section = dict(getattr(endpoint_config, "kwargs", None) or {})
    url = getattr(endpoint_config, "url", None)
    return section if url is None else {**section, "url": url}


def _text(section: Mapping[str, Any], name: str) -> str | None:
    value = section.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"lock_store.{name}: must be a text")
    return value


def _whole(section: Mapping[str, Any], name: str, otherwise: int) -> int:
    number = _number(section.get(name, otherwise), f"lock_store.{name}")
    if number < 1 or number != int(number):
        raise ConfigError(f"lock_store.{name}: must be a whole number, at least 1")
    return int(number)


def _seconds(section: Mapping[str, Any], name: str) -> float | None:
    value = section.get(name)
    return None if value is None else _number(value, f"lock_store.{name}")


def _above_0(section: Mapping[str, Any], name: str) -> float | None:
    number = _seconds(section, name)
    if number == 0:
        raise ConfigError(f"lock_store.{name}: must be more than 0")
    return number


def _number(value: Any, name: str) -> float:
    """Return a finite number, 0 or more. A text of digits is one: that is what a variable in the file becomes."""
    number = -1.0
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(OverflowError, ValueError):
            number = float(value)
    if not 0 <= number < inf:
        raise ConfigError(f"{name}: must be a number, 0 or more, and finite")
    return number
