"""Checks of whole sections before their options are validated: misplaced options, and the store's type."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from daemon.config.yaml_values import Unquoted, resolve_unquoted
from lockstore.errors import ConfigError
from lockstore.stores.redis.connection.options import BUILT_IN_TYPES

__all__ = ["check_places", "store_section"]

_SYNONYMS = {
    ("broker", name): "broker.url"
    for name in ("host", "port", "username", "user", "password", "vhost", "virtual_host", "uri", "endpoints")
} | {("broker", "use_ssl"): "an amqps:// URL in broker.url"}
"""What other programs call an option, and its name here."""


def check_places(sections: Mapping[str, Mapping[str, Any]], options: Mapping[str, Collection[str]]) -> None:
    """Reject an option that belongs to another section. `options`: the names in each section. Raises ConfigError."""
    for section, given in sections.items():
        if section == "lock_store" and not _is_built_in(given.get("type")):
            continue  # a custom store may name its options freely
        unknown = [name for name in given if name not in options[section]]
        for name in unknown:
            meant = _SYNONYMS.get((section, name)) or _elsewhere(name, section, options)
            if meant is not None:
                message = f"{section}.{name}: is unknown; did you mean {meant}?"
                raise ConfigError(message)


def _elsewhere(name: str, section: str, options: Mapping[str, Iterable[str]]) -> str | None:
    return next((f"{other}.{name}" for other, names in options.items() if other != section and name in names), None)


def _is_built_in(kind: Any) -> bool:
    return kind is None or kind in BUILT_IN_TYPES


def store_section(section: dict[str, Any]) -> dict[str, Any]:
    """Return the store's section with the values that its type expects. Raises ConfigError if the type is missing."""
    if section and section.get("type") is None:
        raise ConfigError(
            "lock_store.type: is required, and must be in_memory, redis, concurrent_redis or path.to.module.Class"
        )
    if _is_built_in(section.get("type")):
        return {name: _as_text(value) for name, value in section.items()}
    try:
        return {
            name: str(value) if name == "type" else resolve_unquoted(value, f"lock_store.{name}")
            for name, value in section.items()
        }
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_text(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return str(value) if isinstance(value, Unquoted) else value
