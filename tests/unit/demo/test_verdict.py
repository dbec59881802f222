"""Histories with planted faults, and what the verdict says of them."""

import math

import pytest

from examples.demo.records import Record, What
from examples.demo.verdict import FaultKind, Verdict, handoffs_ms, judge, percentile


def record(what: What, at: float, replica: str = "", call: int = 0, ticket: int | None = None) -> Record:
    return Record(what=what, at=at, replica=replica, call=call, conversation="c" if call else "", ticket=ticket)


def asked(replica: str, call: int, at: float) -> list[Record]:
    return [record(What.ASKED, at, replica, call)]


def visit(replica: str, call: int, ticket: int, asked_at: float, inside_at: float, leaving_at: float) -> list[Record]:
    return [
        *asked(replica, call, asked_at),
        record(What.INSIDE, inside_at, replica, call, ticket),
        record(What.LEAVING, leaving_at, replica, call, ticket),
        record(What.LEFT, leaving_at + 0.001, replica, call),
    ]


def told(what: What, replica: str, call: int, ticket: int, at: float = 0.0) -> list[Record]:
    return [record(what, at, replica, call, ticket)]


def kinds(verdict: Verdict) -> list[FaultKind]:
    return [fault.kind for fault in verdict.faults]


GOOD = [
    *visit("a", 1, 1, 0.0, 0.1, 1.0),
    *visit("b", 1, 2, 0.2, 1.004, 2.0),
    *visit("a", 2, 3, 3.0, 3.1, 3.2),  # asked when nobody was inside any more: no hand-off
]


def test_an_orderly_history_is_well() -> None:
    verdict = judge(GOOD)
    assert verdict.is_well
    assert (verdict.grants, verdict.conversations, verdict.replicas) == (3, 1, 2)
    assert verdict.handoffs_ms == pytest.approx((4.0,))


def test_a_history_without_grants_is_not_well() -> None:
    verdict = judge([])
    assert not verdict.faults
    assert not verdict.is_well


def test_the_order_of_the_files_does_not_matter() -> None:
    by_replica = [item for name in "ba" for item in GOOD if item.replica == name]
    assert judge(by_replica) == judge(GOOD)


# --- overlaps ---------------------------------------------------------------------------------------------------------


def test_two_inside_at_once_are_an_overlap() -> None:
    verdict = judge([*visit("a", 1, 1, 0.0, 0.1, 1.0), *visit("b", 1, 2, 0.0, 0.9, 2.0)])
    assert kinds(verdict) == [FaultKind.OVERLAP]
    assert "b (call 1, ticket 2) came in 100.0 ms before a (call 1, ticket 1) was out" in str(verdict.faults[0])


def test_one_who_stays_long_overlaps_with_all_that_come_meanwhile() -> None:
    verdict = judge(
        [*visit("a", 1, 1, 0.0, 0.1, 9.0), *visit("b", 1, 2, 0.0, 1.0, 2.0), *visit("b", 2, 3, 0.0, 3.0, 4.0)]
    )
    assert kinds(verdict) == [FaultKind.OVERLAP, FaultKind.OVERLAP]


def test_two_conversations_do_not_overlap() -> None:
    other = [
        Record(what=item.what, at=item.at, replica="b", call=item.call, conversation="d", ticket=item.ticket)
        for item in visit("b", 1, 1, 0.0, 0.1, 1.0)
    ]
    assert judge([*visit("a", 1, 1, 0.0, 0.1, 1.0), *other]).is_well


def test_the_killed_are_out_when_they_are_killed() -> None:
    killed = [*asked("a", 1, 0.0), record(What.INSIDE, 0.1, "a", 1, 1), record(What.KILLED, 0.5, "a")]
    assert judge([*killed, *visit("b", 1, 2, 0.2, 2.1, 2.2)]).is_well
    assert kinds(judge([*killed, *visit("b", 1, 2, 0.2, 0.4, 2.2)])) == [FaultKind.OVERLAP]


def stopped(end: list[Record]) -> list[Record]:
    return [
        *asked("a", 1, 0.0),
        record(What.INSIDE, 0.1, "a", 1, 1),
        record(What.STOPPED, 0.5, "a"),
        record(What.CONTINUED, 3.5, "a"),
        *end,
    ]


def test_who_was_stopped_past_the_lease_and_did_nothing_after_it_is_out_when_stopped() -> None:
    verdict = judge([*stopped([record(What.LEASE_LOST, 3.51, "a", 1)]), *visit("b", 1, 2, 0.2, 2.1, 4.0)])
    assert verdict.is_well
    assert verdict.leases_lost == {"a": 1}
    assert verdict.handoffs_ms == ()


def test_who_was_stopped_past_the_lease_and_went_on_as_if_nothing_had_been_overlaps() -> None:
    went_on = [record(What.LEAVING, 3.6, "a", 1, 1), record(What.LEFT, 3.61, "a", 1)]
    assert kinds(judge([*stopped(went_on), *visit("b", 1, 2, 0.2, 2.1, 4.0)])) == [FaultKind.OVERLAP]


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_lower_number_after_a_higher_one_is_out_of_turn() -> None:
    verdict = judge([*visit("a", 1, 2, 0.0, 0.1, 0.2), *visit("b", 1, 1, 0.0, 0.3, 0.4)])
    assert kinds(verdict) == [FaultKind.OUT_OF_TURN]
    assert "b (call 1, ticket 1) came in after a (call 1, ticket 2)" in str(verdict.faults[0])


def test_numbers_that_turn_round_what_one_connection_published_are_out_of_turn() -> None:
    # By their numbers they enter in order: only who asked first shows that the numbers are wrong.
    verdict = judge([*visit("a", 2, 1, 0.1, 0.2, 0.3), *visit("a", 1, 2, 0.0, 0.4, 0.5)])
    assert kinds(verdict) == [FaultKind.OUT_OF_TURN]
    assert "call 1 and then in call 2, and got tickets 2 and 1" in str(verdict.faults[0])


def test_what_two_connections_published_may_be_numbered_either_way() -> None:
    assert judge([*visit("a", 1, 2, 0.0, 0.4, 0.5), *visit("b", 1, 1, 0.1, 0.2, 0.3)]).is_well


def test_a_call_that_slept_through_its_turn_keeps_the_place_of_its_first_ticket() -> None:
    events = [
        *told(What.TOLD_GRANTED, "a", 1, 1),
        *told(What.TOLD_EXPIRED, "a", 1, 1),
        *told(What.TOLD_GRANTED, "a", 2, 2),
        *told(What.TOLD_RELEASED, "a", 2, 2),
        *told(What.TOLD_GRANTED, "a", 1, 3),
        *told(What.TOLD_RELEASED, "a", 1, 3),
    ]
    assert judge([*visit("a", 1, 3, 0.0, 1.0, 1.1), *visit("a", 2, 2, 0.1, 0.5, 0.6), *events]).is_well


def test_one_number_for_two_calls_is_found() -> None:
    verdict = judge([*visit("a", 1, 1, 0.0, 0.1, 0.2), *visit("b", 1, 1, 0.0, 0.3, 0.4)])
    assert kinds(verdict) == [FaultKind.TWICE]


# --- nothing lost -----------------------------------------------------------------------------------------------------


def test_a_request_that_nobody_answered_is_lost() -> None:
    verdict = judge([*GOOD, *asked("b", 2, 5.0)])
    assert kinds(verdict) == [FaultKind.LOST]
    assert "b (call 2) asked and never heard of it" in str(verdict.faults[0])


def test_a_lost_request_is_told_once_though_its_ticket_is_open_too() -> None:
    assert kinds(judge([*GOOD, *asked("b", 2, 5.0), *told(What.TOLD_QUEUED, "b", 2, 9)])) == [FaultKind.LOST]


def test_a_refused_request_is_told() -> None:
    verdict = judge([*GOOD, *asked("b", 2, 5.0), record(What.REFUSED, 6.0, "b", 2)])
    assert kinds(verdict) == [FaultKind.REFUSED]


def test_what_the_killed_asked_for_is_not_lost_if_their_tickets_end() -> None:
    killed = [*asked("b", 2, 5.0), *asked("b", 3, 5.0), *asked("b", 4, 5.0), record(What.KILLED, 5.5, "b")]
    tickets = [*told(What.TOLD_GRANTED, "b", 2, 8), *told(What.TOLD_QUEUED, "b", 3, 9)]
    ends = [*told(What.TOLD_EXPIRED, "b", 2, 8), *told(What.TOLD_CANCELLED, "b", 3, 9)]
    verdict = judge([*GOOD, *killed, *tickets, *ends])
    assert verdict.is_well
    assert verdict.left_behind == {"b": {What.TOLD_EXPIRED: 1, What.TOLD_CANCELLED: 1}}
    open_ended = judge([*GOOD, *killed, *tickets, *ends[:1]])
    assert [str(fault) for fault in open_ended.faults] == ["c: ticket 9 of b never ended"]


def test_what_is_under_way_when_all_is_broken_off_is_not_lost() -> None:
    open_ended = [*asked("b", 2, 5.0), *told(What.TOLD_GRANTED, "b", 2, 9), record(What.INSIDE, 5.1, "b", 2, 9)]
    verdict = judge([*GOOD, *open_ended, record(What.BROKEN_OFF, 6.0)])
    assert verdict.is_well
    assert not verdict.is_whole


# --- hand-offs --------------------------------------------------------------------------------------------------------


def test_a_turn_that_went_to_the_killed_is_no_handoff_to_the_one_after() -> None:
    killed = [*asked("b", 1, 0.1), record(What.KILLED, 0.5, "b")]
    events = [*told(What.TOLD_GRANTED, "b", 1, 2), *told(What.TOLD_EXPIRED, "b", 1, 2)]
    visits = [*visit("a", 1, 1, 0.0, 0.1, 1.0), *visit("a", 2, 3, 0.2, 3.0, 3.1)]
    assert handoffs_ms([*visits, *killed, *events]) == []


def test_a_stopped_heir_is_no_handoff() -> None:
    standing = [record(What.STOPPED, 0.9, "b"), record(What.CONTINUED, 1.9, "b")]
    visits = [*visit("a", 1, 1, 0.0, 0.1, 1.0), *visit("b", 1, 2, 0.2, 1.91, 2.0)]
    assert handoffs_ms([*visits, *standing]) == []


def test_records_of_a_call_that_began_before_the_reading_are_passed_over() -> None:
    assert handoffs_ms([record(What.INSIDE, 0.1, "z", 7, 3), *GOOD]) == pytest.approx([4.0])


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.51, 6), (0.99, 10), (1.0, 10)])
def test_percentiles_are_values_that_were_measured(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 11)], share) == value


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile((), 0.5))
