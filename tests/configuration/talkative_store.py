"""A lock store of somebody's own that repeats what it was given when it fails."""

from typing import Any

from tests.stores.custom_stores import DictLockStore

__all__ = ["Talkative"]


class Talkative(DictLockStore):
    """Fail, as drivers of databases do, with everything in the message."""

    def __init__(self, **section: Any) -> None:
        raise RuntimeError(f"no way to {section}")
