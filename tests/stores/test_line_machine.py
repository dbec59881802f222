"""Python and Lua say the same: see line_machine."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stores.clock import Clock
from tests.stores.deployments import Deployment
from tests.stores.line_machine import EVERYTHING, PREFIX, LineMachine

Play = Callable[[int], set[str]]


@pytest.fixture
def play(deployment: Deployment, clock: Clock) -> Iterator[Play]:
    """Play so many games, and give what was said in any of them."""

    def play_games(count: int) -> set[str]:
        seen: set[str] = set()

        class Game(LineMachine):
            def __init__(self) -> None:
                super().__init__(deployment.options, clock, seen)

        run_state_machine_as_test(Game, settings=settings(GAMES, max_examples=count))
        return seen

    yield play_games
    if left := list(deployment.client.scan_iter(f"{PREFIX}*")):
        deployment.client.delete(*left)


# The same games at every run. To search further: derandomize=False and more of them.
GAMES = settings(
    stateful_step_count=50,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["concurrent_redis"])
def test_python_and_lua_say_the_same(play: Play) -> None:
    # As many as fit into half a minute on a machine that does nothing else.
    assert play(240) == EVERYTHING


@pytest.mark.parametrize("kind", ["concurrent_redis-cluster"])
def test_they_do_so_in_a_cluster(play: Play) -> None:
    # There each new time costs a load of the scripts: few games, and still enough for everything to be said.
    assert play(40) == EVERYTHING
