"""A store's clock in a test's hand, so that no test waits for time to pass."""

import time
from types import SimpleNamespace

import pytest
import redis

from harness import RedisServer
from lockstore import agenda, concurrent, memory, redis_store, scripts, store, ticket
from lockstore.scripts import Script

AHEAD_MS = 10**9
"""How far it runs ahead of the real clock: keys that a script gives a life by its own clock don't go before their time."""

_ASKS_REDIS = "redis.call('TIME')"


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.start_ms = self.now_ms = time.time_ns() // 1_000_000 + AHEAD_MS

    def advance(self, ms: int) -> None:
        self.now_ms += ms


class RedisClock(Clock):
    """The same for scripts: they read it from two keys of the server, whose answer has the form of TIME's."""

    def __init__(self, server: RedisServer, name: str) -> None:
        super().__init__()
        self.keys = f"clock:{name}:s", f"clock:{name}:us"
        self._client = redis.Redis(host=server.host, port=server.port, db=1)
        self.set(self.start_ms)

    def advance(self, ms: int) -> None:
        self.set(self.now_ms + ms)

    def set(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._client.mset(dict(zip(self.keys, (now_ms // 1000, now_ms % 1000 * 1000), strict=True)))

    def close(self) -> None:
        self._client.delete(*self.keys)
        self._client.close()

    def in_place_of_time(self, script: Script) -> Script:
        """Give the same script, on this clock."""
        asks_this = f"redis.call('MGET', '{self.keys[0]}', '{self.keys[1]}')"
        return Script.of(script.name, script.text.replace(_ASKS_REDIS, asks_this))


def hold_pythons_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the stores in this process read this clock."""
    held = SimpleNamespace(time_ns=lambda: clock.now_ms * 1_000_000, time=lambda: clock.now_ms / 1000)
    for module in (memory, store, ticket):
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
