"""Lease arithmetic, with every moment made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstore.client.lease import CLOCK_DRIFT, MARGIN_MOST_S, LeaseClock, margin_s

EPOCH = 1_800_000_000.0  # the store's clock at the monotonic moment 0, which the client does not know


def test_without_any_answer_nothing_is_safe() -> None:
    assert LeaseClock().ends_at(EPOCH + 60, EPOCH, heard=5.0) == 5.0


def test_a_lease_counts_from_the_moment_its_request_was_sent() -> None:
    clock = LeaseClock()
    clock.sample(sent=10.0, at=EPOCH + 10.3)
    assert clock.ends_at(EPOCH + 70.3, EPOCH + 10.3, heard=10.5) == pytest.approx(70.0, abs=1e-3)


def test_an_answer_while_waiting_lets_the_wait_not_count() -> None:
    clock = LeaseClock()
    clock.sample(sent=10.0, at=EPOCH + 10.3)  # queued
    clock.sample(sent=10.0, at=EPOCH + 30.0)  # granted: says much less
    ends_at = clock.ends_at(EPOCH + 90.0, EPOCH + 30.0, heard=30.2)
    assert ends_at == pytest.approx(89.7, abs=0.01)


def test_an_old_bound_is_worth_less_by_what_the_clocks_may_drift() -> None:
    clock = LeaseClock()
    clock.sample(sent=0.0, at=EPOCH)
    assert clock.ends_at(EPOCH + 3660, EPOCH + 3600, heard=3600.0) == pytest.approx(3660 - 3600 * CLOCK_DRIFT)


def test_a_store_clock_set_forward_while_waiting_does_not_lengthen_the_lease() -> None:
    clock = LeaseClock()
    clock.sample(sent=0.0, at=EPOCH)
    granted_at = EPOCH + 3600  # one second later, by any other clock
    clock.sample(sent=0.0, at=granted_at)
    assert clock.ends_at(granted_at + 60, granted_at, heard=1.0) <= 61.0


@pytest.mark.parametrize(("lease_s", "margin"), [(60.0, MARGIN_MOST_S), (1.0, 0.1)])
def test_the_margin_is_small_and_leaves_most_of_a_short_lease(lease_s: float, margin: float) -> None:
    assert margin_s(lease_s) == pytest.approx(margin)


seconds = st.floats(0, 5000)


@given(
    started=seconds,
    delays=st.lists(st.tuples(seconds, seconds), min_size=1, max_size=5),
    back=seconds,
    lease=st.floats(0.1, 3600),
    drift=st.floats(-CLOCK_DRIFT, CLOCK_DRIFT),
)
def test_the_bound_is_never_later_than_the_lease(
    started: float, delays: list[tuple[float, float]], back: float, lease: float, drift: float
) -> None:
    """Whatever takes however long: the store's clock runs at a steady pace, the client hears answers late."""

    def store(moment: float) -> float:
        return EPOCH + moment * (1 + drift)

    clock = LeaseClock()
    now = started
    for thinking, pause in delays:
        sent = now
        now += thinking
        at = store(now)
        clock.sample(sent, at)
        now += pause
    granted_at = store(now)
    clock.sample(sent, granted_at)
    true_end = now + lease / (1 + drift)
    allowed = lease * CLOCK_DRIFT * 2 + 1e-4  # drift within the lease itself is the margin's, and so is rounding
    assert clock.ends_at(granted_at + lease, granted_at, heard=now + back) <= true_end + allowed
