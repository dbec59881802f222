"""A store's clock in a test's hand, so that no test waits for time to pass."""

import time
from types import SimpleNamespace

import pytest
import redis

from examples import sqlite_lock_store
from lockstore.core import ticket
from lockstore.stores import base as store
from lockstore.stores import memory
from lockstore.stores.redis.concurrent import store as concurrent
from lockstore.stores.redis.connection import scripts
from lockstore.stores.redis.connection.scripts import Script
from lockstore.stores.redis.rasa import schedule as agenda
from lockstore.stores.redis.rasa import store as redis_store

AHEAD_MS = 10**9
"""How far it runs ahead of the real clock: keys that a script gives a life by its own clock don't go before their time."""

_ASKS_REDIS = "redis.call('TIME')"


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.start_ms = self.now_ms = time.time_ns() // 1_000_000 + AHEAD_MS

    def set(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def advance(self, ms: int) -> None:
        self.set(self.now_ms + ms)

    def close(self) -> None:
        """Leave nothing behind."""

    @property
    def as_redis_tells_it(self) -> tuple[int, int]:
        """The answer of TIME: seconds, and microseconds beside them."""
        return self.now_ms // 1000, self.now_ms % 1000 * 1000


class KeptClock(Clock):
    """For scripts on one server: they read it from two keys there."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        super().__init__()
        self._client = client
        self._keys = f"clock:{name}:s", f"clock:{name}:us"
        self.set(self.start_ms)

    def set(self, now_ms: int) -> None:
        super().set(now_ms)
        self._client.mset(dict(zip(self._keys, self.as_redis_tells_it, strict=True)))

    def close(self) -> None:
        self._client.delete(*self._keys)

    def in_place_of_time(self, script: Script) -> Script:
        """Give the same script, on this clock."""
        asks_this = f"redis.call('MGET', '{self._keys[0]}', '{self._keys[1]}')"
        return Script.of(script.name, script.text.replace(_ASKS_REDIS, asks_this))


class WrittenClock(Clock):
    """For scripts in a cluster, where none reaches a key of another slot: the time is written into their text.

    So at another time they are other scripts, which a store loads as it does those that a server has forgotten.
    """

    def __init__(self, client: redis.RedisCluster) -> None:
        super().__init__()
        self._client = client

    def set(self, now_ms: int) -> None:
        if now_ms != self.now_ms:
            self.close()  # those of a time that has passed are never asked for again
        super().set(now_ms)

    def close(self) -> None:
        self._client.script_flush()

    def in_place_of_time(self, script: Script) -> "TimedScript":
        """Give the same script, on this clock."""
        return TimedScript(script, self)


class TimedScript:
    """Stands in for a `Script`, and is always the one of its clock's present time."""

    def __init__(self, script: Script, clock: WrittenClock) -> None:
        self.name, self.writes, self.repeatable = script.name, script.writes, script.repeatable
        self._script, self._clock = script, clock

    @property
    def text(self) -> str:
        seconds, microseconds = self._clock.as_redis_tells_it
        return self._script.text.replace(_ASKS_REDIS, f"{{'{seconds}', '{microseconds}'}}")

    @property
    def sha(self) -> str:
        return Script.of(self.name, self.text).sha


RedisClock = KeptClock | WrittenClock


def hold_pythons_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the stores in this process read this clock."""
    held = SimpleNamespace(time_ns=lambda: clock.now_ms * 1_000_000, time=lambda: clock.now_ms / 1000)
    for module in (memory, store, ticket, sqlite_lock_store):
        monkeypatch.setattr(module, "time", held)


def hold_redis_time(clock: RedisClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the scripts of stores opened from now on read this clock."""
    monkeypatch.setattr(concurrent, "load", lambda name: clock.in_place_of_time(scripts.load(name)))
    for module in (redis_store, agenda):
        for name, value in list(vars(module).items()):
            if isinstance(value, Script):
                monkeypatch.setattr(module, name, clock.in_place_of_time(value))
            elif isinstance(value, tuple) and value and isinstance(value[0], Script):
                monkeypatch.setattr(module, name, tuple(map(clock.in_place_of_time, value)))
