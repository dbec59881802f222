import json
from dataclasses import replace

import pytest

from lockstore.core.commands import Expire, ForceRelease, Request
from lockstore.core.events import (
    REFUSALS,
    Cancelled,
    Rejected,
    Released,
    from_history,
    from_record,
    happened_at_ms,
    is_public,
    to_history,
    to_record,
)
from lockstore.core.line import SETTLE_MAX, Limits
from lockstore.core.rules import apply
from lockstore.core.ticket import Sender, TicketLock
from tests.rules.talk import Talk


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
def held(talk: Talk) -> Talk:
    """A line in which a holds (user alice, queue qa) and b waits (queue qb)."""
    talk.say("request a lifetime=1000 user=alice reply_to=qa", "request b lifetime=700 wait=5000 reply_to=qb")
    return talk


class TestARequest:
    def test_is_granted_at_once_in_an_empty_line(self, talk: Talk) -> None:
        assert talk.say("request a lifetime=1000 wait=0") == ["granted #0 a: until 1000, waited 0, behind 0"]

    def test_is_queued_behind_others(self, held: Talk) -> None:
        assert held.say("request c wait=20") == ["queued #2 c: 2 ahead, until 20"]

    def test_that_will_not_wait_is_busy_and_stays_so(self, held: Talk) -> None:
        assert held.say("request c wait=0") == ["rejected - c: busy"]
        held.say("release a user=alice", "release b")
        assert held.say("request c wait=9000") == ["rejected - c: busy"]

    def test_beyond_the_limit_is_refused_and_stays_so(self) -> None:
        talk = Talk(max_waiting=1)
        talk.say("request a")
        assert talk.say("request b") == ["rejected - b: line_full"]
        talk.say("release a")
        assert talk.say("request b") == ["rejected - b: line_full"]

    def test_told_twice_gets_one_ticket_and_its_newest_address(self, held: Talk) -> None:
        assert held.say("request b wait=9 reply_to=new") == ["queued #1 b: 1 ahead, until 5000 (again) -> new"]
        assert held.say("release a user=alice") == [
            "released #0 a: holder, held 0 -> qa",
            "granted #1 b: until 700, waited 0, behind 0 -> new",
        ]

    def test_of_another_user_does_not_learn_of_the_ticket(self, held: Talk) -> None:
        assert held.say("request a user=mallory reply_to=qm") == ["rejected #0 a: forbidden -> qm"]
        assert held.say("release a user=alice")[0] == "released #0 a: holder, held 0 -> qa"

    def test_that_is_over_is_finished_until_the_window_ends(self) -> None:
        talk = Talk(dedup_window_ms=500)
        talk.say("request a", "release a")
        talk.after(499)
        assert talk.say("request a") == ["rejected #0 a: finished (released)"]
        talk.after(1)
        assert talk.say("request a") == ["granted #1 a: until 1500, waited 0, behind 0"]

    def test_whose_ticket_is_overdue_ends_it_here_and_now(self, held: Talk) -> None:
        held.after(5000)
        assert held.say("request b") == [
            "expired #0 a: held -> qa",
            "expired #1 b: waiting -> qb",
            "rejected #1 b: finished (expired)",
        ]


class TestALease:
    def test_starts_at_the_grant_however_long_the_wait_was(self, held: Talk) -> None:
        held.after(900)
        assert held.say("release a user=alice")[1] == "granted #1 b: until 1600, waited 900, behind 0 -> qb"

    def test_ends_at_its_deadline_and_not_before(self, held: Talk) -> None:
        held.after(999)
        assert held.say("expire #0") == []
        held.after(1)
        assert held.say("expire #0") == [
            "expired #0 a: held -> qa",
            "granted #1 b: until 1700, waited 1000, behind 0 -> qb",
        ]

    def test_starts_anew_when_renewed(self, held: Talk) -> None:
        held.after(600)
        assert held.say("renew a user=alice reply_to=here") == ["renewed #0 a: until 1600 -> here"]
        assert held.say("renew #0 user=alice lifetime=50") == ["renewed #0 a: until 650"]
        held.after(50)
        assert held.say("settle")[0] == "expired #0 a: held -> qa"

    def test_that_ended_is_not_renewed(self, held: Talk) -> None:
        held.after(1000)
        assert held.say("renew a user=alice")[-1] == "rejected #0 a: finished (expired)"

    def test_is_nothing_that_a_waiting_ticket_could_renew(self, held: Talk) -> None:
        assert held.say("renew b") == ["rejected #1 b: invalid"]


class TestAWait:
    def test_ends_at_its_deadline_wherever_the_ticket_stands(self, held: Talk) -> None:
        held.say("request c wait=10", "request d wait=5000")
        held.after(9)
        assert held.say("expire #2") == []
        held.after(1)
        assert held.say("expire #2") == ["expired #2 c: waiting"]
        assert held.line == "#0 a holds until 1000 | #1 b waits until 5000 | #3 d waits until 5000"

    def test_that_is_over_is_skipped_when_the_line_moves(self, talk: Talk) -> None:
        talk.say("request a", "request b wait=10", "request c wait=5000")
        talk.after(20)
        assert talk.say("release a") == [
            "released #0 a: holder, held 20",
            "expired #1 b: waiting",
            "granted #2 c: until 1020, waited 20, behind 0",
        ]

    def test_of_very_many_is_ended_a_bounded_number_at_a_time(self, talk: Talk) -> None:
        talk.say("request a", *(f"request w{place} wait=10" for place in range(SETTLE_MAX + 20)), "request z wait=5000")
        talk.after(20)
        assert len(talk.say("release a")) == 1 + SETTLE_MAX
        assert talk.say("settle")[-1] == f"granted #{SETTLE_MAX + 21} z: until 1020, waited 20, behind 0"


class TestARelease:
    @pytest.mark.parametrize("named", ["a", "#0", "#0 a"])
    def test_names_its_ticket_by_number_or_request_or_both(self, held: Talk, named: str) -> None:
        held.after(10)
        assert held.say(f"release {named} user=alice")[0] == "released #0 a: holder, held 10 -> qa"

    @pytest.mark.parametrize("named", ["#0 b", "#1 a"])
    def test_whose_names_disagree_is_invalid(self, held: Talk, named: str) -> None:
        number, request_id = named.split()
        assert held.say(f"release {named} user=alice") == [f"rejected {number} {request_id}: invalid"]

    def test_whose_names_disagree_about_the_past_is_invalid(self, held: Talk) -> None:
        held.say("release a user=alice")
        assert held.say("release #0 b") == ["rejected #0 b: invalid"]

    def test_of_a_waiting_ticket_cancels_it(self, held: Talk) -> None:
        assert held.say("release b") == ["cancelled #1 b: requester -> qb"]
        assert held.say("request b") == ["rejected #1 b: finished (cancelled)"]

    def test_is_safe_to_repeat_and_never_touches_the_successor(self, held: Talk) -> None:
        held.say("release #0 user=alice")
        assert held.say("release #0 user=alice", "release a") == ["rejected #0 a: finished (released)"] * 2
        assert held.line == "#1 b holds until 700"

    def test_that_crosses_the_expiry_is_finished(self, held: Talk) -> None:
        held.after(1000)
        assert held.say("release a user=alice")[-1] == "rejected #0 a: finished (expired)"
        assert held.line == "#1 b holds until 1700"

    def test_of_a_ticket_long_forgotten_is_still_finished(self) -> None:
        talk = Talk(dedup_window_ms=500)
        talk.say("request a", "release a")
        talk.after(500)
        assert talk.say("release #0") == ["rejected #0 -: finished"]

    def test_of_a_number_never_issued_is_unknown(self, held: Talk) -> None:
        assert held.say("release #2", "renew #2") == ["rejected #2 -: unknown_ticket"] * 2

    @pytest.mark.parametrize("verb", ["release", "renew"])
    def test_or_renewal_by_another_user_is_forbidden(self, held: Talk, verb: str) -> None:
        assert held.say(f"{verb} a user=bob", f"{verb} a", f"{verb} #0") == [
            "rejected #0 a: forbidden",
            "rejected #0 a: forbidden",
            "rejected #0 -: forbidden",
        ]

    def test_needs_no_user_where_the_request_carried_none(self, held: Talk) -> None:
        assert held.say("release b user=anyone") == ["cancelled #1 b: requester -> qb"]


class TestAReleaseBeforeItsRequest:
    def test_is_remembered_and_cancels_the_request_when_it_comes(self, talk: Talk) -> None:
        assert talk.say("release a") == ["rejected - a: unknown_ticket"]
        assert talk.say("request a") == ["cancelled #0 a: requester"]
        assert talk.say("request a") == ["rejected #0 a: finished (cancelled)"]
        assert talk.line == "(empty)"

    def test_is_forgotten_after_the_window(self) -> None:
        talk = Talk(dedup_window_ms=500)
        talk.say("release a")
        talk.after(500)
        assert talk.say("request a") == ["granted #0 a: until 1500, waited 0, behind 0"]

    def test_is_not_prolonged_by_a_second_one(self) -> None:
        talk = Talk(dedup_window_ms=500)
        talk.say("release a")
        talk.after(400)
        talk.say("release a")
        talk.after(100)
        assert talk.say("request a") == ["granted #0 a: until 1500, waited 0, behind 0"]

    def test_cancels_no_request_of_another_user(self, talk: Talk) -> None:
        talk.say("release a user=mallory")
        assert talk.say("request a user=alice") == ["granted #0 a: until 1000, waited 0, behind 0"]

    def test_is_nothing_for_a_renewal(self, talk: Talk) -> None:
        assert talk.say("renew a", "request a") == [
            "rejected - a: unknown_ticket",
            "granted #0 a: until 1000, waited 0, behind 0",
        ]


class TestAWithdrawal:
    def test_cancels_a_waiting_ticket_or_a_grant_that_nobody_took(self, held: Talk) -> None:
        assert held.say("withdraw #0 qa") == [
            "cancelled #0 a: unreachable -> qa",
            "granted #1 b: until 700, waited 0, behind 0 -> qb",
        ]
        assert held.say("withdraw #1 qb") == ["cancelled #1 b: unreachable -> qb"]

    def test_does_nothing_once_the_replica_has_another_queue(self, held: Talk) -> None:
        held.say("request a user=alice reply_to=new")
        assert held.say("withdraw #0 qa", "withdraw #7 qa") == []


class TestAnOperator:
    def test_takes_the_lease_and_the_next_is_granted(self, held: Talk) -> None:
        held.after(10)
        assert held.say("seize anna") == [
            "released #0 a: forced by anna, held 10 -> qa",
            "granted #1 b: until 710, waited 10, behind 0 -> qb",
        ]

    def test_takes_a_waiting_ticket_out_by_its_number(self, held: Talk) -> None:
        assert held.say("seize anna #1") == ["cancelled #1 b: forced by anna -> qb"]
        assert held.line == "#0 a holds until 1000"

    def test_is_not_asked_for_a_user_and_is_remembered_as_any_end(self, held: Talk) -> None:
        held.say("seize anna #1", "seize anna #0")
        assert held.say("release a user=alice", "request b") == [
            "rejected #0 a: finished (released)",
            "rejected #1 b: finished (cancelled)",
        ]

    def test_finds_nothing_to_take_of_a_ticket_that_is_over_nor_in_an_empty_line(self, held: Talk) -> None:
        held.say("release a user=alice")
        assert held.say("seize anna #0", "seize anna #7") == []
        held.say("release b")
        assert held.say("seize anna") == []

    def test_ends_no_lease_that_is_over_by_itself(self, held: Talk) -> None:
        held.after(1000)
        assert held.say("seize anna #0")[0] == "expired #0 a: held -> qa"
        assert held.line == "#1 b holds until 1700"

    def test_takes_a_direct_ticket_too_and_that_is_told(self, talk: Talk) -> None:
        talk.say("issue", "request a wait=9")
        assert talk.say("seize anna") == [
            "cancelled #0 -: forced by anna",
            "granted #1 a: until 1000, waited 0, behind 0",
        ]

    @pytest.mark.parametrize("by", ["", "x" * 129, "anna\n", "\x1b[31m"])
    def test_has_a_name_that_can_be_shown(self, by: str) -> None:
        with pytest.raises(ValueError, match="1 to 128 printable characters"):
            ForceRelease("c", by)


class TestHistory:
    def told(self, talk: Talk) -> list[str]:
        return [talk.words.of(from_history("c", kept)) for kept in talk.lock.history]

    def test_has_the_public_events_oldest_first_and_no_address(self, held: Talk) -> None:
        held.say("request c wait=0", "renew a user=alice", "request b", "release a user=alice")
        assert self.told(held) == [
            "granted #0 a: until 1000, waited 0, behind 0",
            "queued #1 b: 1 ahead, until 5000",
            "released #0 a: holder, held 0",
            "granted #1 b: until 700, waited 0, behind 0",
        ]

    def test_keeps_so_many(self) -> None:
        talk = Talk(history=3)
        talk.say("request a", "request b", "request c", "release a")
        assert [told.split(":")[0] for told in self.told(talk)] == ["queued #2 c", "released #0 a", "granted #1 b"]

    def test_keeps_them_for_so_long(self) -> None:
        talk = Talk(history_keep_ms=500)
        talk.say("request a")
        talk.after(200)
        talk.say("release a")
        talk.after(299)
        talk.say("settle")
        assert len(talk.lock.history) == 2
        talk.after(1)
        talk.say("settle")
        assert self.told(talk) == ["released #0 a: holder, held 200"]

    def test_is_not_kept_where_it_is_turned_off(self) -> None:
        talk = Talk(history=0)
        talk.say("request a", "release a")
        assert talk.lock.history == ()

    def test_is_read_as_it_was_written(self, held: Talk) -> None:
        held.say("seize anna", "seize anna", "issue", "seize anna")
        kept = json.loads(held.lock.dumps())["history"]
        events = [from_history("c", entry) for entry in kept]
        assert [to_history(event) for event in events] == kept
        assert [event.by for event in events if isinstance(event, Released | Cancelled)] == ["anna"] * 3
        assert [event.at_ms for event in events] == [happened_at_ms(entry) for entry in kept]


class TestADirectTicket:
    def test_is_silent_and_its_time_counts_from_its_issue(self, talk: Talk) -> None:
        assert talk.say("request a", "issue lifetime=500")[1:] == []
        talk.after(400)
        talk.say("release a")
        assert talk.line == "#1 direct until 500"
        talk.after(100)
        assert talk.say("settle") == []
        assert talk.line == "(empty)"

    def test_stands_in_one_line_with_the_daemons(self, talk: Talk) -> None:
        talk.say("issue lifetime=500", "request a", "issue lifetime=600")
        assert talk.line == "#0 direct until 500 | #1 a waits until 1000 | #2 direct until 600"
        assert talk.say("finish #0") == ["granted #1 a: until 1000, waited 0, behind 1"]

    @pytest.mark.parametrize("verb", ["release", "renew"])
    def test_is_given_back_by_its_own_process_alone(self, talk: Talk, verb: str) -> None:
        talk.say("issue")
        assert talk.say(f"{verb} #0") == ["rejected #0 -: forbidden"]

    def test_is_the_only_kind_that_finish_ends(self, held: Talk) -> None:
        assert held.say("finish #0", "finish #1", "finish #9") == []
        assert held.line == "#0 a holds until 1000 | #1 b waits until 5000"


class TestNumbers:
    def test_are_never_given_twice(self, talk: Talk) -> None:
        talk.say("request a", "release a", "issue", "finish #1", "release b", "request b")
        talk.say("issue lifetime=5")
        talk.after(5)
        assert talk.say("settle", "request c") == ["granted #4 c: until 1005, waited 0, behind 0"]

    def test_go_on_from_a_line_that_rasa_wrote(self) -> None:
        ticket = json.dumps({"number": 6, "expires": 9.5})
        lock = TicketLock.from_dict({"conversation_id": "c", "tickets": [ticket]})
        lock, events = apply(lock, Request("c", "a", 1000, 1000), 0, Limits())
        assert [event.number for event in events] == [7]

    def test_are_not_spent_on_refusals(self, held: Talk) -> None:
        held.say("request c wait=0", "release z", "renew z")
        assert held.lock.last_number == 1


class TestALineAsJson:
    def test_is_the_same_line_when_read_again(self, held: Talk) -> None:
        held.say("request c wait=0", "issue", "release early")
        assert TicketLock.from_dict(json.loads(held.lock.dumps())) == held.lock

    @pytest.mark.parametrize("ticket", ['{"number": "0", "expires": 1.0}', '{"number": 0, "expires": null}', "{}", "5"])
    def test_of_a_stranger_is_refused(self, ticket: str) -> None:
        with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
            TicketLock.from_dict({"conversation_id": "c", "tickets": [ticket]})

    @pytest.mark.parametrize("expires", ["NaN", "Infinity", "-Infinity"])
    def test_with_a_deadline_that_is_no_time_is_refused(self, expires: str) -> None:
        with pytest.raises(ValueError, match="not a ticket"):
            TicketLock.from_dict({"conversation_id": "c", "tickets": [f'{{"number": 0, "expires": {expires}}}']})


def test_an_event_is_the_same_when_read_from_its_record() -> None:
    sender = Sender("queue", "correlation", "user", "00-trace-01")
    lock, now_ms, limits = TicketLock("c"), 5, Limits()
    lock, granted = apply(lock, Request("c", "a", 10, 10, "bot", sender), now_ms, limits)
    lock, queued = apply(lock, Request("c", "b", 10, 5), now_ms, limits)
    lock, ended = apply(lock, Expire("c", 0), now_ms + 20, limits)
    for event in (*granted, *queued, *ended):
        assert from_record(json.loads(json.dumps(to_record(event)))) == event


def test_the_public_hears_of_transitions_once_and_of_no_refusal(held: Talk) -> None:
    lock, (granted,) = apply(TicketLock("c"), Request("c", "a", 10, 10), 0, Limits())
    assert is_public(granted)
    assert not is_public(replace(granted, repeated=True))
    _, (refusal,) = apply(lock, Request("c", "b", 10, 0), 0, Limits())
    assert not is_public(refusal)
    with pytest.raises(TypeError, match="no record"):
        to_record(refusal)


@pytest.mark.parametrize("code", REFUSALS)
def test_a_script_names_a_refusal_by_its_code(code: str) -> None:
    record = ["rejected", "c", -1, "a", "", 5, "", "", "", "", 0, code, ""]
    event = from_record(record)
    assert isinstance(event, Rejected)
    assert (event.reason, event.detail) == REFUSALS[code]
    assert (event.number, event.ended) == (None, None)
