"""Python and Lua say the same: see line_machine."""

from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from harness import RedisServer
from tests.stores.clock import RedisClock, hold_redis_time
from tests.stores.line_machine import EVERYTHING, LineMachine

# The same games at every run, as many as fit into half a minute. To search further: derandomize=False and more examples.
GAMES = settings(
    max_examples=300,
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
def one_clock(redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisClock]:
    clock = RedisClock(redis_server, key_prefix)
    hold_redis_time(clock, monkeypatch)
    yield clock
    clock.close()
    with redis.Redis(host=redis_server.host, port=redis_server.port, db=1) as client:
        for key in client.scan_iter("machine*"):
            client.delete(key)


@pytest.mark.slow
def test_python_and_lua_say_the_same(redis_server: RedisServer, one_clock: RedisClock) -> None:
    seen: set[str] = set()

    class Game(LineMachine):
        def __init__(self) -> None:
            super().__init__(redis_server.port, one_clock.set, one_clock.start_ms, seen)

    run_state_machine_as_test(Game, settings=GAMES)
    assert seen == EVERYTHING
