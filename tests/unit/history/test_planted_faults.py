"""Lawful histories of all sorts are well; and whatever fault is planted into one, wherever, is found by its name."""

from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harness.history import FaultKind, judge
from tests.history.plants import PLANTS, planted
from tests.history.simulator import lawful_history

# The same histories at every run. To search further: derandomize=False and more of them.
SAME = settings(derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])

seeds = st.integers(0, 2**32 - 1)


@settings(SAME, max_examples=80)
@given(seeds)
def test_a_lawful_history_is_well(seed: int) -> None:
    assert [str(fault) for fault in judge(lawful_history(Random(seed))).faults] == []


def test_lawful_histories_have_every_end_every_refusal_and_repetitions() -> None:
    verdicts = [judge(lawful_history(Random(seed))) for seed in range(30)]
    assert set().union(*(verdict.ends for verdict in verdicts)) == {
        "released (holder)",
        "expired (held)",
        "expired (waiting)",
        "cancelled (requester)",
        "cancelled (unreachable)",
    }
    assert set().union(*(verdict.refused for verdict in verdicts)) == {"busy", "finished", "unknown_ticket"}
    assert sum(verdict.again for verdict in verdicts) > 100
    assert sum(verdict.renewals for verdict in verdicts) > 20


@pytest.mark.parametrize("name", PLANTS)
@settings(SAME, max_examples=20)
@given(seed=seeds)
def test_a_planted_fault_is_found(name: str, seed: int) -> None:
    history = planted(name, lawful_history(Random(seed)), Random(seed + 1))
    assume(history is not None)
    assert history is not None
    found = judge(history)
    assert found.count(PLANTS[name][0]) > 0, [str(fault) for fault in found.faults]


def test_there_is_a_plant_of_every_kind() -> None:
    assert {kind for kind, _ in PLANTS.values()} == set(FaultKind)
