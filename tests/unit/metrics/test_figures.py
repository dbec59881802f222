"""What is counted of a batch."""

from typing import Any

import pytest

from daemon.monitoring.batch_report import BatchReport
from daemon.monitoring.counters import STAGES, Counters
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Rejected, Released, Renewed
from lockstore.stores.results import Notice


def happened(kind: type[Any], conversation: str = "c", *, repeated: bool = False, **fields: Any) -> Event:
    common = {"conversation_id": conversation, "number": 1, "request_id": "r", "holder": None, "at_ms": 0}
    event: Event = kind(**common, repeated=repeated, **fields)
    return event


def granted(conversation: str = "c", waited_ms: int = 0, *, repeated: bool = False) -> Event:
    return happened(Granted, conversation, expires_at_ms=1, waited_ms=waited_ms, behind=0, repeated=repeated)


def released(conversation: str = "c", held_ms: int = 0, reason: str = "holder") -> Event:
    return happened(Released, conversation, held_ms=held_ms, reason=reason)


def batch(*events: Event, partition: int | None = 0, **fields: Any) -> BatchReport:
    notices = [Notice(event, None) for event in events]
    return BatchReport(
        partition=partition, messages=3, requests=2, notices=notices, store_ms=4.0, took_ms=10.0, taken_ns=0, **fields
    )


def figures_of(*batches: BatchReport) -> Counters:
    figures = Counters()
    for served in batches:
        figures.served(served)
    return figures


def test_every_transition_is_counted_by_its_kind() -> None:
    figures = figures_of(
        batch(
            granted(),
            happened(Queued, position=1, wait_until_ms=1),
            happened(Renewed, expires_at_ms=1),
            released(),
            released(reason="forced"),
            happened(Expired, phase="held"),
            happened(Expired, phase="waiting"),
            happened(Cancelled, reason="unreachable"),
        )
    )
    assert (figures.grants, figures.queued, figures.renewals) == (1, 1, 1)
    assert figures.releases == {"holder": 1, "forced": 1}
    assert figures.expiries == {"held": 1, "waiting": 1}
    assert figures.cancellations == {"requester": 0, "unreachable": 1, "forced": 0}


def test_what_is_told_again_is_not_counted_again() -> None:
    figures = figures_of(batch(granted(repeated=True)))
    assert figures.grants == 0
    assert figures.wait_s.cumulative()[-1][1] == 0


def test_of_messages_it_counts_how_many_came_and_which_were_refused_or_parked() -> None:
    rejected = happened(Rejected, reason="busy", detail="")
    figures = figures_of(
        batch(rejected, redelivered=1, rejections=["busy", "invalid"], dead_letters=["invalid"], refused=4)
    )
    assert (figures.messages, figures.requests, figures.redeliveries, figures.refused) == (3, 2, 1, 4)
    assert {reason: count for reason, count in figures.rejections.items() if count} == {"busy": 1, "invalid": 1}
    assert {reason: count for reason, count in figures.dead_letters.items() if count} == {"invalid": 1}


def test_a_sweep_is_no_batch_of_messages() -> None:
    figures = figures_of(batch(happened(Expired, phase="held"), granted(waited_ms=5), partition=None))
    assert (figures.messages, figures.grants, figures.expiries["held"]) == (0, 1, 1)
    assert figures.batch_messages.cumulative()[-1][1] == 0
    assert figures.hand_off_s.cumulative()[-1][1] == 1


@pytest.mark.parametrize(
    ("events", "hand_offs"),
    [
        ([granted()], 0),
        ([granted(waited_ms=7)], 1),
        ([released(), granted()], 1),
        ([happened(Expired, phase="held"), granted()], 1),
        ([released("a"), granted("b")], 0),
        ([released(), granted(waited_ms=3), released("d"), granted("d", 9)], 2),
    ],
)
def test_a_hand_off_is_a_grant_to_one_who_waited(events: list[Event], hand_offs: int) -> None:
    figures = figures_of(batch(*events))
    assert figures.hand_off_s.cumulative()[-1][1] == hand_offs
    assert figures.hand_off_s.sum == pytest.approx(0.010 * hand_offs)


def test_waits_and_leases_are_measured_in_seconds() -> None:
    figures = figures_of(batch(granted(waited_ms=1500), released(held_ms=2500)))
    assert (figures.wait_s.sum, figures.hold_s.sum) == (1.5, 2.5)


def test_the_time_of_a_batch_is_told_by_stage() -> None:
    figures = figures_of(batch(decode_ms=1.0, acknowledge_ms=2.0))
    sums = {stage: figures.stage_s[stage].sum for stage in STAGES}
    assert sums == pytest.approx({"decode": 0.001, "store": 0.004, "announce": 0.005, "acknowledge": 0.002})


def test_what_others_left_behind_counts_and_says_nothing_of_this_daemons_speed() -> None:
    figures = Counters()
    figures.recovered([Notice(released(reason="forced"), None), Notice(granted(waited_ms=9), None)])
    assert (figures.recoveries, figures.releases["forced"], figures.grants) == (2, 1, 1)
    assert figures.hand_off_s.cumulative()[-1][1] == 0


def test_every_reason_is_there_before_anything_happened() -> None:
    figures = Counters()
    assert {"invalid", "too_large", "wrong_partition", "busy", "line_full", "finished"} <= figures.rejections.keys()
    assert figures.dead_letters.keys() == {*figures.rejections.keys(), "unreadable"}  # parked by RabbitMQ itself
    assert not any(figures.rejections.values())
