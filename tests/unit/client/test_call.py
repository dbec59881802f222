"""What each answer means for a call: no broker, no loop, no clock."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from lockstore.client.call_state import ANSWER_GRACE_S, Call, Phase
from lockstore.client.decisions import Changed, Failed, Obtained, Resend, Restart
from lockstore.client.outbound import LockParams, split
from lockstore.errors import BusyError, LockLostError, RefusedError, WaitExpiredError
from lockstore.protocol.messages import Outbound
from lockstore.protocol.models import INBOUND, ReleaseMessage, RenewMessage, RequestMessage
from lockstore.protocol.reading import parse_fields

STORE = 1_800_000_000.0


def ids() -> Iterator[str]:
    return (f"id-{number}" for number in count(1))


def a_call(wait: float | None = 30, now: float = 100.0) -> Call:
    some = ids()
    call = Call(LockParams("talk", wait, 60, "bot"), now, lambda: next(some))
    call.ask(now, connection_number=1)
    return call


def said(kind: str, at: float = 0.0, **fields: Any) -> Outbound:
    common = {"conversation_id": "talk", "ticket_number": 7, "request_id": "id-1", "holder": None, "at": STORE + at}
    return parse_fields({"type": kind, **common, **fields})


def granted(at: float, lease: float = 60, **fields: Any) -> Outbound:
    return said("granted", at, expires_at=STORE + at + lease, waited=0.0, behind=0, **fields)


def renewed(at: float, lease: float = 60) -> Outbound:
    return said("renewed", at, expires_at=STORE + at + lease)


def rejected(reason: str, **fields: Any) -> Outbound:
    return said("rejected", reason=reason, detail="because", **fields)


def a_held_call() -> Call:
    call = a_call()
    assert call.handle_answer(granted(at=1), "", now=101.5) == Obtained()
    return call


def test_the_first_request_says_what_the_caller_said() -> None:
    call = Call(LockParams("talk", 30, 60, "bot"), 100.0, lambda: "id-1")
    letter = call.ask(100.0, connection_number=1)
    message = INBOUND.validate_json(letter.body)
    assert message == RequestMessage(
        type="request", conversation_id="talk", request_id="id-1", wait=30, lifetime=60, holder="bot"
    )
    assert letter.name == "id-1"


def test_what_the_caller_left_open_is_left_to_the_daemon() -> None:
    letter = Call(LockParams("talk"), 0.0, lambda: "id-1").ask(0.0, connection_number=1)
    assert letter.body == b'{"conversation_id":"talk","type":"request","request_id":"id-1"}'


def test_asking_again_keeps_the_request_id_and_shortens_the_wait() -> None:
    call = a_call(wait=30, now=100.0)
    message = INBOUND.validate_json(call.ask(112.0, connection_number=2).body)
    assert isinstance(message, RequestMessage)
    assert (message.request_id, message.wait) == ("id-1", 18.0)


def test_after_the_wait_it_is_asked_for_no_wait() -> None:
    message = INBOUND.validate_json(a_call(wait=30, now=100.0).ask(131.0, connection_number=2).body)
    assert isinstance(message, RequestMessage)
    assert message.wait == 0


def test_it_listens_a_little_longer_than_the_wait() -> None:
    assert a_call(wait=30, now=100.0).deadline == 130.0 + ANSWER_GRACE_S


def test_the_daemon_says_how_long_an_unstated_wait_is() -> None:
    call = a_call(wait=None)
    assert call.handle_answer(said("queued", at=1, position=1, wait_until=STORE + 901), "", now=101.0) == Changed()
    assert call.deadline == 101.0 + 900 + ANSWER_GRACE_S


def test_a_stated_wait_stays_the_callers() -> None:
    call = a_call(wait=30)
    call.handle_answer(said("queued", at=1, position=1, wait_until=STORE + 901), "", now=101.0)
    assert call.deadline == 130.0 + ANSWER_GRACE_S


def test_a_grant_is_the_turn_and_starts_the_lease() -> None:
    call = a_held_call()
    assert (call.number, call.phase) == (7, Phase.HELD)
    assert call.ends_at == pytest.approx(160.0, abs=0.01)
    assert call.safe_until < call.ends_at


def test_time_in_line_does_not_count_against_the_lease() -> None:
    call = a_call()
    call.handle_answer(said("queued", at=1, position=1, wait_until=STORE + 31), "", now=101.0)
    call.handle_answer(granted(at=20), "", now=120.5)
    assert call.ends_at == pytest.approx(179.0, abs=0.01)


def test_on_a_new_connection_the_lease_counts_from_the_question_on_it() -> None:
    call = a_call()
    call.ask(120.0, connection_number=2)
    call.handle_answer(granted(at=20.2), "", now=120.5)
    assert call.ends_at == pytest.approx(180.0, abs=0.01)


def test_on_the_same_connection_it_counts_from_the_first_question() -> None:
    call = a_call()
    call.ask(120.0, connection_number=1)  # the broker refused the first one, or so it said
    call.handle_answer(granted(at=20.2), "", now=120.5)
    assert call.ends_at == pytest.approx(160.0, abs=0.01)


def test_a_grant_of_which_nothing_is_left_is_given_back() -> None:
    call = a_call()
    assert call.handle_answer(granted(at=0, lease=10), "", now=120.0) == Restart(give_back=True)


def test_the_same_grant_twice_changes_nothing() -> None:
    call = a_held_call()
    before = (call.ends_at, call.expires_at)
    assert call.handle_answer(granted(at=1), "", now=103.0) == Changed()
    assert (call.ends_at, call.expires_at) == before


@pytest.mark.parametrize(
    ("wait", "now", "error"), [(0, 100.1, BusyError), (30, 131.0, WaitExpiredError), (30, 110.0, RefusedError)]
)
def test_busy_means_what_the_caller_asked_for(wait: float, now: float, error: type[Exception]) -> None:
    outcome = a_call(wait=wait).handle_answer(rejected("busy", ticket_number=None), "", now)
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is error


@pytest.mark.parametrize("reason", ["line_full", "invalid", "forbidden", "too_large"])
def test_other_refusals_carry_the_daemons_words(reason: str) -> None:
    outcome = a_call().handle_answer(rejected(reason), "", 101.0)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, RefusedError)
    assert (outcome.error.reason, outcome.error.detail) == (reason, "because")


def test_an_expired_wait_is_its_own_error() -> None:
    outcome = a_call().handle_answer(said("expired", phase="waiting"), "", 131.0)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, WaitExpiredError)


@pytest.mark.parametrize(
    "message",
    [
        rejected("finished", ended="cancelled"),
        said("cancelled", reason="unreachable"),
        said("expired", phase="held"),
        said("released", held=1.0, reason="forced"),
    ],
)
def test_a_turn_that_came_and_went_unheard_is_asked_for_anew(message: Outbound) -> None:
    call = a_call()
    assert call.handle_answer(message, "", 110.0) == Restart()
    call.restart()
    asked = INBOUND.validate_json(call.ask(112.0, connection_number=1).body)
    assert isinstance(asked, RequestMessage)
    assert (asked.request_id, asked.wait) == ("id-2", 18.0)


@pytest.mark.parametrize("reason", ["forced", "requester"])
def test_a_ticket_that_others_cancelled_is_refused(reason: str) -> None:
    outcome = a_call().handle_answer(said("cancelled", reason=reason), "", 101.0)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, RefusedError)


def test_an_operator_who_took_the_ticket_is_named() -> None:
    lost = a_held_call().handle_answer(said("released", held=1.0, reason="forced", by="anna@ops"), "", 110.0)
    assert isinstance(lost, Failed)
    assert str(lost.error).endswith("the lease ended: it was released (forced by anna@ops)")
    refused = a_call().handle_answer(said("cancelled", reason="forced", by="anna@ops"), "", 101.0)
    assert isinstance(refused, Failed)
    assert str(refused.error).endswith("removed from the line: forced by anna@ops")


def test_another_partition_is_no_end() -> None:
    call = a_call()
    assert call.handle_answer(rejected("wrong_partition", partitions=4), "", 101.0) == Resend(4)
    assert call.phase is Phase.WAITING


def test_a_renewal_counts_from_the_moment_it_was_sent() -> None:
    call = a_held_call()
    letter = call.renew(121.0)
    message = INBOUND.validate_json(letter.body)
    assert message == RenewMessage(type="renew", conversation_id="talk", ticket_number=7, request_id="id-1")
    assert call.handle_answer(renewed(at=22), split(letter.name)[1], now=122.5) == Changed()
    assert call.ends_at == pytest.approx(181.0, abs=0.01)
    assert call.expires_at == STORE + 82


def test_the_lease_is_renewed_after_a_third_of_it() -> None:
    call = a_held_call()
    assert 119.0 < call.renew_at < 122.0


def test_a_renewal_without_an_answer_is_tried_again_soon() -> None:
    call = a_held_call()
    call.renew(121.0)
    assert 121.0 < call.renew_at < 128.0


def test_an_answer_to_a_renewal_that_nobody_sent_says_nothing() -> None:
    call = a_held_call()
    before = call.ends_at
    assert call.handle_answer(renewed(at=40), "99", now=141.0) is None
    assert call.ends_at == before


def test_a_renewal_that_was_overtaken_does_not_shorten_the_lease() -> None:
    call = a_held_call()
    first, second = (split(call.renew(now).name)[1] for now in (121.0, 126.0))
    call.handle_answer(renewed(at=27), second, now=127.0)
    ends_at = call.ends_at
    call.handle_answer(renewed(at=22), first, now=128.0)
    assert call.ends_at == ends_at


@pytest.mark.parametrize(
    "message",
    [
        said("expired", phase="held"),
        said("released", held=1.0, reason="forced"),
        said("cancelled", reason="forced"),
        said("cancelled", reason="unreachable"),
        rejected("finished", ended="expired"),
        rejected("unknown_ticket"),
        rejected("invalid"),
        granted(at=9, ticket_number=8),
        said("queued", at=9, ticket_number=8, position=1, wait_until=STORE + 31),
    ],
)
def test_what_ends_a_lease_is_told_once(message: Outbound) -> None:
    call = a_held_call()
    outcome = call.handle_answer(message, "", 110.0)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, LockLostError)
    assert call.lost is not None
    assert call.handle_answer(message, "", 110.0) is None


def test_a_lost_ticket_is_released_by_its_request_alone() -> None:
    call = a_held_call()
    call.lose("no answer")
    assert INBOUND.validate_json(call.give_back().body) == ReleaseMessage(
        type="release", conversation_id="talk", request_id="id-1"
    )


def test_a_release_names_ticket_and_request() -> None:
    assert INBOUND.validate_json(a_held_call().give_back().body) == ReleaseMessage(
        type="release", conversation_id="talk", ticket_number=7, request_id="id-1"
    )


def test_late_copies_of_earlier_events_are_harmless() -> None:
    call = a_held_call()
    assert call.handle_answer(said("queued", at=0, position=1, wait_until=STORE + 30), "", 110.0) is None
    assert call.lost is None


def test_the_answer_to_a_release_is_no_loss() -> None:
    call = a_held_call()
    tag = split(call.give_back().name)[1]
    assert call.handle_answer(said("released", held=1.0, reason="holder"), "", 110.0) is None
    assert call.handle_answer(rejected("finished"), tag, 110.0) is None


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (LockParams(""), "conversation_id"),
        (LockParams("x" * 201), "conversation_id"),
        (LockParams("a\nb"), "conversation_id"),
        (LockParams("\ud800"), "conversation_id"),
        (LockParams("talk", wait=-1), "wait"),
        (LockParams("talk", lifetime=0), "lifetime"),
        (LockParams("talk", lifetime=float("inf")), "lifetime"),
        (LockParams("talk", holder="x" * 129), "holder"),
    ],
)
def test_what_no_daemon_takes_is_refused_at_once(wanted: LockParams, field: str) -> None:
    with pytest.raises(RefusedError, match=f"^invalid: {field}: "):
        wanted.check()
