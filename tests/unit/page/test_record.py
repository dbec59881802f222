"""The record of the last minutes, and the fleet that tells it. The time is given, so nothing here waits."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_json

from daemon.cluster.fair_share import SILENT_S
from daemon.cluster.heartbeat import DaemonIdentity, Heartbeat
from daemon.cluster.peers import ClusterView
from daemon.monitoring.batch_report import BatchReport
from daemon.monitoring.counters import Counters
from daemon.monitoring.cumulative import BINS, Counts, bin_of, quantile_ms
from daemon.monitoring.timeline import KEPT_S, LAG_S, Timeline
from lockstore.core.events import Event, Expired, Granted, Released
from lockstore.stores.results import Notice

START = 1000.0


def word(daemon: str = "other", counts: Counts | None = None, *, leaving: bool = False, **fields: object) -> Heartbeat:
    given = {"host": "h", "pid": 1, "started_at": 5.0, "active": {}, "busy": [], **fields}
    return Heartbeat.model_validate({"daemon": daemon, "counts": counts, "leaving": leaving, **given})


@pytest.mark.parametrize(
    "wrong",
    [
        {"started_at": math.nan},
        {"started_at": -1},
        {"pid": 10**30},
        {"host": "h" * 256},
        {"active": {0: math.inf}},
        {"active": {256: 1.0}},
        {"counts": {"requests": 10**40}},
        {"counts": {"hand_offs": [1]}},
    ],
    ids=str,
)
def test_what_no_daemon_would_say_is_no_word(wrong: dict[str, Any]) -> None:
    said = word().model_dump() | wrong
    with pytest.raises(ValidationError):
        Heartbeat.model_validate_json(to_json(said, inf_nan_mode="constants"))


def counted(requests: int) -> Counts:
    return Counts(requests=requests)


def requests_of(record: Timeline, now: float, step_s: int = 1) -> list[float | None]:
    return [step.requests for step in record.steps(step_s, now)]


@given(st.floats(0.25, 100_000))
def test_a_hand_off_lands_in_the_bin_that_ends_with_it_or_later(took_ms: float) -> None:
    bins = [0] * BINS
    bins[bin_of(took_ms)] = 1
    told = quantile_ms(bins, 1.0)
    assert told is not None
    assert took_ms * 0.999 <= told <= took_ms * math.sqrt(2) * 1.001


def test_a_hand_off_of_any_length_has_a_bin() -> None:
    assert bin_of(0) == 0
    assert bin_of(0.1) == 0
    assert bin_of(1e12) == BINS - 1


def test_of_no_hand_offs_there_is_no_quantile() -> None:
    assert quantile_ms([0] * BINS, 0.5) is None


def test_the_99th_percentile_is_that_of_the_slow_ones() -> None:
    bins = [0.0] * BINS
    bins[bin_of(2)] = 90
    bins[bin_of(500)] = 10
    middle, slow = quantile_ms(bins, 0.5), quantile_ms(bins, 0.99)
    assert middle == pytest.approx(2, rel=0.3)
    assert slow == pytest.approx(500, rel=0.3)


def test_what_a_daemon_counts_goes_into_its_word_with_hand_offs_by_their_duration() -> None:
    common: dict[str, Any] = {"conversation_id": "c", "number": 1, "request_id": "r", "holder": None, "at_ms": 0}
    granted = Granted(**common, expires_at_ms=1, waited_ms=5, behind=0)
    events: list[Event] = [
        Released(**common, held_ms=1, reason="holder"),
        granted,
        Expired(**common, phase="held"),
        granted,
    ]
    figures = Counters()
    figures.served(
        BatchReport(
            partition=0,
            messages=4,
            requests=3,
            notices=[Notice(event, None) for event in events],
            store_ms=0.5,
            took_ms=9.0,
            taken_ns=0,
        )
    )
    counts = figures.counts()
    assert (counts.requests, counts.grants, counts.releases, counts.expiries) == (3, 2, 1, 1)
    assert (counts.hand_offs[bin_of(9.0)], sum(counts.hand_offs)) == (2, 2)


def test_words_at_odd_moments_give_an_even_rate() -> None:
    record = Timeline()
    moments = [START + 1.13 * place for place in range(60)]
    for before, after in pairwise(moments):
        record.happened(counted(0), counted(113), before, after)
    rates = [rate for rate in requests_of(record, moments[-1]) if rate]
    assert rates[1:-1] == pytest.approx([100.0] * len(rates[1:-1]))


def test_nothing_gets_lost_in_spreading() -> None:
    record = Timeline()
    record.happened(counted(7), counted(107), START + 0.4, START + 33.3)
    assert sum(rate or 0 for rate in requests_of(record, START + 50)) == pytest.approx(100)


def test_what_happened_in_the_last_moments_is_told_when_all_have_spoken_of_it() -> None:
    record = Timeline()
    record.happened(counted(0), counted(10), START, START + 1)
    assert sum(rate or 0 for rate in requests_of(record, START + 1)) == 0
    assert sum(rate or 0 for rate in requests_of(record, START + 1 + LAG_S)) == pytest.approx(10)


def test_before_the_first_word_nothing_is_known_and_after_it_nothing_is_zero() -> None:
    record = Timeline()
    assert set(requests_of(record, START)) == {None}
    record.happened(counted(0), counted(10), START, START + 1)
    told = requests_of(record, START + 4 + LAG_S)
    assert told[-4:] == [10, 0, 0, 0]
    assert told[-5] is None


def test_the_record_goes_back_for_its_time_and_no_further() -> None:
    record = Timeline()
    for second in range(3 * KEPT_S):
        record.happened(counted(0), counted(1), START + second, START + second + 1)
    end = START + 3 * KEPT_S
    assert requests_of(record, end + LAG_S) == [1.0] * KEPT_S
    assert len(record._seconds) <= KEPT_S + LAG_S + 1


def test_a_gap_longer_than_the_record_fills_no_more_than_the_record() -> None:
    record = Timeline()
    record.happened(counted(0), counted(10), START, START + 100 * KEPT_S)
    assert len(record._seconds) <= KEPT_S + LAG_S + 1


@pytest.mark.parametrize(
    ("before", "after", "end"), [(5, 2, START + 1), (1, 2, START), (1, 2, START - 1)], ids=["less", "no time", "back"]
)
def test_counts_that_cannot_be_those_of_one_run_are_passed_over(before: int, after: int, end: float) -> None:
    record = Timeline()
    record.happened(counted(before), counted(after), START, end)
    assert not any(requests_of(record, START + 10))


def test_steps_take_seconds_together() -> None:
    record = Timeline()
    bins = [0] * BINS
    bins[bin_of(8)] = 4
    record.happened(Counts(), Counts(requests=50, hand_offs=tuple(bins)), START, START + 5)
    record.waiting(3, START + 1.5)
    record.waiting(7, START + 2.5)
    last = record.steps(5, START + 5 + LAG_S)[-1]
    assert last.requests == pytest.approx(10)
    assert last.waiting == 7
    assert last.hand_off_p50_ms == pytest.approx(8, rel=0.3)
    assert len(record.steps(5, START)) == KEPT_S // 5


def test_how_many_wait_is_held_until_it_is_asked_for_again_but_not_for_long() -> None:
    record = Timeline()
    record.waiting(3, START)
    told = [step.waiting for step in record.steps(5, START + 30 + LAG_S)]
    assert told[-6:] == [3, 3, 3, 3, None, None]
    assert told[-7] is None


def test_the_fleet_records_what_all_daemons_say() -> None:
    fleet = ClusterView(DaemonIdentity(daemon="me"))
    for name in ("me", "other"):
        fleet.receive(word(name, counted(100)), START)  # done before anybody listened: nobody knows when
        fleet.receive(word(name, counted(110)), START + 1)
    assert sum(rate or 0 for rate in requests_of(fleet.record, START + 5)) == pytest.approx(20)


def test_a_daemon_that_does_not_count_is_known_all_the_same() -> None:
    fleet = ClusterView(DaemonIdentity(daemon="me"))
    fleet.receive(word("old"), START)
    fleet.receive(word("old"), START + 1)
    assert [member.word.daemon for member in fleet.members(START + 1)] == ["old"]


def test_a_daemon_that_says_goodbye_is_gone_and_what_it_did_last_is_recorded() -> None:
    fleet = ClusterView(DaemonIdentity(daemon="me"))
    fleet.receive(word("other", counted(0)), START)
    fleet.receive(word("other", counted(10), leaving=True), START + 1)
    assert fleet.members(START + 1) == []
    assert sum(rate or 0 for rate in requests_of(fleet.record, START + 5)) == pytest.approx(10)


def test_a_daemon_that_falls_silent_is_shown_as_silent_and_later_no_more() -> None:
    fleet = ClusterView(DaemonIdentity(daemon="me"))
    fleet.receive(word("other"), START)
    assert [member.is_silent for member in fleet.members(START + SILENT_S)] == [False]
    assert [member.is_silent for member in fleet.members(START + SILENT_S + 1)] == [True]
    assert fleet.members(START + 61) == []


def test_the_longest_serving_daemon_comes_first_and_this_one_is_marked() -> None:
    fleet = ClusterView(DaemonIdentity(daemon="me"))
    fleet.receive(word("me", started_at=20.0), START)
    fleet.receive(word("other", started_at=10.0), START)
    assert [(member.word.daemon, member.is_me) for member in fleet.members(START)] == [("other", False), ("me", True)]


def test_any_number_of_made_up_daemons_takes_a_bounded_room() -> None:
    fleet = ClusterView(DaemonIdentity(daemon="me"))
    for number in range(2000):
        fleet.receive(word(f"d{number}"), START)
    assert len(fleet.members(START)) == 1000
