"""Rasa's face of a line: its names, its JSON, and the odd values of an empty one."""

import json
from types import SimpleNamespace

import pytest

from lockstore import Ticket, TicketLock
from lockstore.core import ticket
from lockstore.core.ticket import Claim, Ended, Sender

NOW = 1795459434.5


class Now:
    """This process's clock in a test's hand."""

    value = NOW


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    held = Now()
    monkeypatch.setattr(ticket, "time", SimpleNamespace(time=lambda: held.value))
    return held


class TestATicket:
    def test_is_two_fields_of_json(self) -> None:
        assert Ticket(0, NOW).as_dict() == {"number": 0, "expires": NOW}
        assert Ticket(0, NOW).dumps() == '{"number": 0, "expires": 1795459434.5}'
        assert Ticket.from_dict(json.loads(Ticket(0, NOW).dumps())) == Ticket(0, NOW)

    def test_has_expired_after_its_deadline(self, now: Now) -> None:
        assert not Ticket(0, NOW).has_expired()
        now.value += 0.001
        assert Ticket(0, NOW).has_expired()

    def test_counts_its_deadline_in_whole_milliseconds(self) -> None:
        assert [Ticket(0, ms / 1000).expires_ms for ms in range(1795459434000, 1795459434100)] == list(
            range(1795459434000, 1795459434100)
        )

    def test_of_the_daemon_has_a_field_more_that_rasa_ignores(self) -> None:
        claim = Claim("r", 1000, 5, None, "bot", Sender("q", "k", "alice"))
        written = Ticket(3, NOW, claim).as_dict()
        assert written.keys() == {"number", "expires", "claim"}
        assert None not in written["claim"].values()
        assert Ticket.from_dict(json.loads(json.dumps(written))) == Ticket(3, NOW, claim)


class TestALine:
    def test_that_is_empty_has_rasas_odd_values(self) -> None:
        lock = TicketLock("c")
        assert (lock.now_serving, lock.last_issued, lock.is_someone_waiting()) == (0, -1, False)
        assert lock.dumps() == '{"conversation_id": "c", "tickets": []}'

    def test_serves_the_first_and_locks_the_others(self, now: Now) -> None:
        lock = TicketLock("c")
        assert [lock.issue_ticket(60), lock.issue_ticket(60)] == [0, 1]
        assert (lock.now_serving, lock.last_issued) == (0, 1)
        assert [lock.is_locked(0), lock.is_locked(1)] == [False, True]
        lock.remove_ticket_for(0)
        assert not lock.is_locked(1)
        lock.remove_ticket_for(7)
        assert lock.is_someone_waiting()

    def test_drops_direct_tickets_that_ran_out(self, now: Now) -> None:
        lock = TicketLock("c")
        lock.issue_ticket(1)
        lock.issue_ticket(3)
        now.value += 2
        assert lock.now_serving == 1
        lock.remove_expired_tickets()
        assert len(lock.tickets) == 1

    def test_leaves_the_daemons_tickets_to_the_rules_which_announce_their_end(self, now: Now) -> None:
        lock = TicketLock("c", [Ticket(0, NOW - 60, Claim("r", 1000, 5))])
        lock.remove_expired_tickets()
        assert lock.is_someone_waiting()

    def test_never_gives_a_number_twice(self, now: Now) -> None:
        lock = TicketLock("c")
        lock.issue_ticket(1)
        now.value += 2
        assert lock.issue_ticket(1) == 1
        lock.remove_ticket_for(1)
        assert TicketLock.from_dict(json.loads(lock.dumps())).issue_ticket(1) == 2

    def test_says_more_than_rasa_only_where_the_tickets_do_not(self) -> None:
        assert TicketLock("c", [Ticket(4, NOW)]).as_dict().keys() == {"conversation_id", "tickets"}
        assert TicketLock("c", None, 4).as_dict()["last_number"] == 4
        full = TicketLock("c", [Ticket(4, NOW)], 6, (Ended("released", 5, "r", 9, "alice"),), ([1, ["queued"]],))
        assert TicketLock.from_dict(json.loads(full.dumps())) == full

    def test_written_over_another_goes_on_from_its_numbers(self) -> None:
        before = TicketLock("c", [Ticket(4, NOW)], None, (Ended("busy", None, "r", 9),), ([1, ["queued"]],))
        after = TicketLock("c").in_place_of(before)
        assert (list(after.tickets), after.last_number, after.ended, after.outbox) == (
            [],
            4,
            before.ended,
            before.outbox,
        )
        assert TicketLock("c", None, 9).in_place_of(before).last_number == 9
        assert TicketLock("c").in_place_of(TicketLock("c")).last_number is None
