"""Python and Lua say the same: see line_machine."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stores.clock import Clock
from tests.stores.deployments import Deployment
from tests.stores.line_machine import EVERYTHING, PREFIX, LineMachine

Play = Callable[[int], set[str]]

ROUND = 20
ROUNDS_MOST = 15


@pytest.fixture
def play(deployment: Deployment, clock: Clock) -> Iterator[Play]:
    """Play so many rounds of games, and more while something was not said in any of them; give what was said."""

    def play_games(rounds: int) -> set[str]:
        seen: set[str] = set()
        for number in range(ROUNDS_MOST):
            if number >= rounds and seen == EVERYTHING:
                break

            @seed(number)
            class Game(LineMachine):
                def __init__(self) -> None:
                    super().__init__(deployment.options, clock, seen)

            run_state_machine_as_test(Game, settings=GAMES)
        return seen

    yield play_games
    if left := list(deployment.client.scan_iter(f"{PREFIX}*")):
        deployment.client.delete(*left)


# The same games at every run, whatever else changes: each round has its seed. To search further: other seeds, and more rounds.
GAMES = settings(
    max_examples=ROUND,
    stateful_step_count=50,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["concurrent_redis"])
def test_python_and_lua_say_the_same(play: Play) -> None:
    assert play(4) == EVERYTHING


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["concurrent_redis-cluster"])
def test_they_do_so_in_a_cluster(play: Play) -> None:
    # There each new time costs a load of the scripts: few games, and still enough for everything to be said.
    assert play(1) == EVERYTHING
