"""Reading the configuration again: what may change while the process lives, and what needs another one."""

from collections.abc import Callable

from daemon.config.settings import Settings
from lockstore.errors import ConfigError

__all__ = ["FIXED", "Reread", "merge_reloadable"]

Reread = Callable[[], Settings]
"""Reads the configuration again. Raises ConfigError."""

FIXED: dict[str, frozenset[str]] = {
    # All daemons share these; or what was made of them at the start goes on.
    "broker": frozenset(
        {"namespace", "partitions", "delivery_limit", "dead_letters", "dead_letters_bytes", "heartbeat", "prefetch"}
    ),
    "daemon": frozenset({"dedup_window", "http", "tracing"}),
}
"""The options that a running process keeps; so is the whole section `lock_store`."""


def merge_reloadable(now: Settings, new: Settings) -> Settings:
    """Take the new settings. Raises ConfigError where one of those differs that need a restart."""
    if new.lock_store != now.lock_store:
        raise ConfigError("lock_store: has changed, which takes a restart")
    for section, names in FIXED.items():
        for name in sorted(names):
            if getattr(getattr(now, section), name) != getattr(getattr(new, section), name):
                raise ConfigError(f"{section}.{name}: has changed, which takes a restart")
    return new
