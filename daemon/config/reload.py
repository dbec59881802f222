"""Configuration reload: which options may change while the process runs, and which require a restart."""

from collections.abc import Callable

from daemon.config.settings import Settings
from lockstore.errors import ConfigError

__all__ = ["FIXED", "Reread", "merge_reloadable"]

Reread = Callable[[], Settings]
"""Reads the configuration again. Raises ConfigError."""

FIXED: dict[str, frozenset[str]] = {
    # All daemons share these, or they were used at startup only.
    "broker": frozenset(
        {"namespace", "partitions", "delivery_limit", "dead_letters", "dead_letters_bytes", "heartbeat", "prefetch"}
    ),
    "daemon": frozenset({"dedup_window", "http", "tracing"}),
}
"""The options that a running process keeps, in addition to the whole section `lock_store`."""


def merge_reloadable(now: Settings, new: Settings) -> Settings:
    """Return the new settings. Raises ConfigError if an option that requires a restart has changed."""
    if new.lock_store != now.lock_store:
        raise ConfigError("lock_store: has changed, which requires a restart")
    for section, names in FIXED.items():
        for name in sorted(names):
            if getattr(getattr(now, section), name) != getattr(getattr(new, section), name):
                raise ConfigError(f"{section}.{name}: has changed, which requires a restart")
    return new
