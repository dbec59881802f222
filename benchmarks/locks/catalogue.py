"""Every lock that is measured, and where it is. Nothing of a lock is imported before it is asked for."""

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.contest import Places

__all__ = ["LOCKS", "Lock"]


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock: the function that opens it, as `module:name`, and what it is to be told besides the places."""

    opener: str
    threads: bool = False
    options: tuple[Any, ...] = ()

    def opened(self, places: Places) -> Any:
        """Give the context in which it is open: an async one that gives an AsyncHold, or for threads a ThreadHold."""
        module, _, name = self.opener.partition(":")
        return partial(getattr(import_module(f"benchmarks.locks.{module}"), name), *self.options)(places)


LOCKS = {
    "PING": Lock("redis_locks:ping"),
    "PING in a thread": Lock("redis_locks:thread_ping", threads=True),
    "daemon": Lock("ours:daemon"),
    "concurrent_redis": Lock("ours:store", options=("concurrent_redis",)),
    "redis": Lock("ours:store", options=("redis",)),
    "in_memory": Lock("ours:store", options=("in_memory",)),
    "redis-py": Lock("redis_locks:redis_py", options=(0.1,)),  # seconds between two questions: its default
    "redis-py, 10 ms": Lock("redis_locks:redis_py", options=(0.01,)),
    "python-redis-lock": Lock("redis_locks:python_redis_lock", threads=True),
    "poll": Lock("redis_locks:poll", options=(1.0,)),  # seconds: Rasa's default
    "postgresql": Lock("postgresql:advisory"),
    "zookeeper": Lock("zookeeper:recipe", threads=True),
    "etcd": Lock("etcd:lock_service"),
}
