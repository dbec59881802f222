"""The rule of balance on a model of RabbitMQ's lines: from any start a bounded number of steps, and then none."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.cluster.fair_share import SETTLE_S, SILENT_S, FairShare
from tests.partitions.fleet_model import Fleet

LONG_S = 180.0  # a partition that nobody has too much of goes round one step each SETTLE_S
CALM_S = 20.0  # nothing may happen in the end of a long calm

Happening = Callable[[Fleet], None]


def spread(fleet: Fleet) -> int:
    counts = fleet.counts().values()
    return max(counts) - min(counts)


def steps_since(fleet: Fleet, moment: float) -> int:
    return sum(at > moment for at, _, _ in fleet.steps)


@pytest.mark.parametrize("daemons", [2, 3, 4, 8])
def test_eight_busy_partitions_on_one_daemon_are_shared_within_seconds(daemons: int) -> None:
    fleet = Fleet(busy=8, loss=0, seed=daemons)
    fleet.start()
    fleet.run(5)
    for _ in range(daemons - 1):
        fleet.start()
    fleet.run(10)
    assert spread(fleet) <= 1, fleet.counts()
    settled = fleet.now
    fleet.run(LONG_S)
    assert steps_since(fleet, settled) == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_a_daemon_leaves_is_shared_by_the_rest(how: str) -> None:
    fleet = Fleet(busy=8, loss=0, seed=1)
    for _ in range(4):
        fleet.start()
    fleet.run(15)
    assert spread(fleet) == 0
    fleet.end(next(iter(fleet.daemons)), says_so=how == "stop")
    before = fleet.now
    fleet.run(15)
    assert spread(fleet) <= 1, fleet.counts()
    # The partitions of the one that is gone need no detour: nobody steps back before it is clear who is left.
    assert steps_since(fleet, before) <= 8


def happenings() -> st.SearchStrategy[list[tuple[str, int, float]]]:
    kinds = st.sampled_from(["start", "stop", "kill", "load", "unload"])
    return st.lists(st.tuples(kinds, st.integers(0, 15), st.floats(0, 8)), max_size=8)


def happen(fleet: Fleet, kind: str, which: int) -> None:
    names = list(fleet.daemons)
    match kind:
        case "start" if len(names) < 8:
            fleet.start()
        case "stop" | "kill" if len(names) > 1:
            fleet.end(names[which % len(names)], says_so=kind == "stop")
        case "load" if which not in fleet.lines:
            fleet.load(which)
        case "unload":
            fleet.unload(which)


@settings(max_examples=60, deadline=None)
@given(
    daemons=st.integers(1, 6),
    busy=st.integers(0, 16),
    loss=st.sampled_from([0.0, 0.1, 0.3, 0.6]),
    story=happenings(),
    seed=st.integers(0, 2**20),
)
def test_whatever_happens_it_ends_with_a_fair_share_for_all_and_then_nobody_moves(
    daemons: int, busy: int, loss: float, story: list[tuple[str, int, float]], seed: int
) -> None:
    fleet = Fleet(busy, loss, seed)
    for _ in range(daemons):
        fleet.start()
    for kind, which, pause_s in story:
        fleet.run(pause_s)
        happen(fleet, kind, which)
    calm_since = fleet.now
    fleet.run(LONG_S)
    assert spread(fleet) <= 1, fleet.counts()
    assert steps_since(fleet, fleet.now - CALM_S) == 0, fleet.steps[-10:]
    # Each partition comes round to each daemon about once.
    assert steps_since(fleet, calm_since) <= 2 * len(fleet.lines) * len(fleet.daemons)


@settings(max_examples=25, deadline=None)
@given(silent=st.integers(1, 3), speaking=st.integers(1, 3), busy=st.integers(1, 16), seed=st.integers(0, 2**20))
def test_daemons_that_say_nothing_cost_a_bounded_number_of_steps(
    silent: int, speaking: int, busy: int, seed: int
) -> None:
    fleet = Fleet(busy, 0.1, seed)
    order = [False] * silent + [True] * speaking
    fleet._random.shuffle(order)
    for speaks in order:
        fleet.start(speaks=speaks)
    fleet.run(LONG_S)
    assert steps_since(fleet, fleet.now - CALM_S) == 0
    assert len(fleet.steps) <= 2 * busy * len(order)
    speakers = [count for name, count in fleet.counts().items() if fleet.daemons[name].speaks]
    assert max(speakers) - min(speakers) <= 1


def test_alone_or_among_the_silent_a_daemon_steps_back_from_nothing() -> None:
    balance = FairShare("a")
    assert balance.choose({0: 0.0, 1: 0.0}, 1.0) is None
    balance.heard("b", [], 2.0)
    assert balance.choose({0: 0.0, 1: 0.0}, 2.0 + SILENT_S + 0.1) is None


def test_the_newest_partition_goes_first() -> None:
    balance = FairShare("a")
    balance.heard("b", [], 10.0)
    assert balance.choose({0: 1.0, 1: 3.0, 2: 2.0}, 10.0) == 1


def test_of_several_that_have_most_one_gives() -> None:
    one, two = FairShare("a"), FairShare("b")
    for now in (10.0, 11.0, 12.0, 13.0):
        for balance, other in ((one, "b"), (two, "a")):
            balance.heard(other, {"a": [0, 1], "b": [2, 3]}[other], now)
            balance.heard("c", [4, 5], now)
            balance.heard("d", [], now)
        chosen = [one.choose({0: 1.0, 1: 1.0}, now), two.choose({2: 1.0, 3: 1.0}, now)]
        assert chosen == ([1, None] if now >= 10.0 + SETTLE_S else [None, None])
        if chosen[0] is not None:
            return
    raise AssertionError("nobody gave")


def test_a_partition_that_comes_back_soon_stays() -> None:
    balance = FairShare("a")
    balance.heard("b", [], 10.0)
    assert balance.choose({0: 1.0, 1: 2.0}, 10.0) == 1
    balance.heard("b", [], 10.3)
    assert balance.choose({0: 1.0}, 10.3) is None
    balance.heard("b", [], 10.6)
    assert balance.choose({0: 1.0, 1: 10.6}, 10.6) == 0  # nobody wanted it; the other one may find a place


def test_a_daemon_whose_partition_came_to_us_is_not_counted_until_it_speaks_again() -> None:
    balance = FairShare("a")
    balance.heard("b", [0, 1], 10.0)
    assert balance.choose({2: 1.0, 3: 1.0}, 10.1) is None
    assert balance.choose({2: 1.0, 3: 1.0, 0: 10.5, 1: 10.5}, 10.5) is None  # it may well be gone
    assert balance.daemons == 1
    balance.heard("b", [], 11.0)
    assert balance.choose({2: 1.0, 3: 1.0, 0: 10.5, 1: 10.5}, 11.0) == 1
