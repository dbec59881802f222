"""What is shown of a line, a ticket, a conversation, a daemon: from the store's values, at a given time."""

from dataclasses import replace
from typing import Final

from daemon.cluster.heartbeat import Heartbeat
from daemon.cluster.peers import PeerDaemon
from daemon.http.status_page.panels import panels
from daemon.monitoring.timeline import Step
from daemon.views.daemons import daemon_facts, minutes_facts
from daemon.views.lines import TICKETS_MOST, conversation_facts, line_facts, lines_facts
from lockstore.core.events import Released
from lockstore.core.statistics import LineStatistics, LineSummary, summary_of
from lockstore.core.ticket import Claim, Ticket, TicketLock
from tests.page.stage import NOW_MS, line


def test_a_line_tells_its_holder_its_lease_and_who_waits() -> None:
    told = line_facts(summary_of(line("c", "bot-1", "bot-2", "bot-3", held_ms=4000, waited_ms=3000)), NOW_MS)
    assert (told.conversation_id, told.tickets, told.ticket_number, told.holder) == ("c", 3, 7, "bot-1")
    assert (told.state, told.held_ms, told.lease_left_ms, told.lease_ms) == ("held", 4000, 56_000, 60_000)
    assert (told.waiting, told.waiting_longest_ms, told.trouble) == (2, 3000, None)


def test_a_direct_ticket_has_no_holder_and_no_beginning() -> None:
    told = line_facts(LineSummary("c", 2, Ticket(3, (NOW_MS + 5000) / 1000), None), NOW_MS)
    assert (told.state, told.holder, told.held_ms, told.lease_left_ms, told.lease_ms) == (
        "direct",
        None,
        None,
        5000,
        None,
    )
    assert (told.waiting, told.waiting_longest_ms) == (1, None)


def test_a_head_that_nobody_granted_waits_and_is_named_as_trouble() -> None:
    ready = Ticket(3, (NOW_MS + 5000) / 1000, Claim("r", 60_000, NOW_MS - 9000, None, "bot-1"))
    told = line_facts(LineSummary("c", 1, ready, NOW_MS - 9000), NOW_MS)
    assert (told.state, told.held_ms, told.lease_left_ms, told.waiting) == ("ready", None, None, 1)
    assert told.trouble is not None
    assert "not granted" in told.trouble


def test_a_deadline_is_overdue_when_patrols_have_had_their_time() -> None:
    moment_ago = line_facts(summary_of(line("c", "bot-1", held_ms=61_000)), NOW_MS)
    long_ago = line_facts(summary_of(line("c", "bot-1", held_ms=70_000)), NOW_MS)
    assert moment_ago.trouble is None
    assert moment_ago.lease_left_ms == -1000
    assert long_ago.trouble is not None
    assert "overdue" in long_ago.trouble


def test_a_line_that_ended_meanwhile_is_empty() -> None:
    told = line_facts(LineSummary("c", 0, None, None), NOW_MS)
    assert (told.state, told.waiting, told.holder, told.ticket_number) == ("empty", 0, None, None)


def test_lines_that_changed_since_they_were_chosen_are_still_in_order() -> None:
    chosen = tuple(LineSummary(name, count, None, None) for name, count in (("b", 3), ("c", 1), ("a", 2), ("d", 3)))
    told = lines_facts(LineStatistics(NOW_MS, 4, 9, 5, None, chosen, complete=True), 0, 50)
    assert [line.conversation_id for line in told.lines] == ["b", "d", "a", "c"]


def test_no_age_is_negative_where_clocks_differ() -> None:
    told = line_facts(summary_of(line("c", "bot-1", "bot-2", held_ms=-50, waited_ms=-50)), NOW_MS)
    assert (told.held_ms, told.waiting_longest_ms) == (0, 0)


def test_a_conversation_tells_each_ticket_in_its_state() -> None:
    told = conversation_facts("c", line("c", "bot-1", "bot-2", held_ms=4000, waited_ms=3000), NOW_MS, [], 0)
    holds, waits = told.tickets
    assert (holds.state, holds.in_state_ms, holds.left_ms, holds.holder, holds.reply_to) == (
        "holds",
        4000,
        56_000,
        "bot-1",
        "amq.gen-x",
    )
    assert (waits.state, waits.in_state_ms, waits.left_ms, waits.request_id) == ("waits", 3000, 297_000, "request-1")


def test_a_conversation_in_which_nobody_stands_still_has_its_history() -> None:
    past = Released(conversation_id="c", number=3, request_id="r", holder="b", at_ms=NOW_MS, held_ms=5, reason="holder")
    told = conversation_facts("c", None, NOW_MS, [past], 0)
    assert told.tickets == ()
    assert told.last_number == 3
    assert told.history[0]["type"] == "released"
    assert told.history[0]["held"] == 0.005


def test_of_a_long_line_a_bounded_part_is_told() -> None:
    told = conversation_facts("c", line("c", *["b"] * 1000), NOW_MS, [], 0)
    assert (len(told.tickets), told.tickets_total) == (TICKETS_MOST, 1000)


def test_an_empty_lock_is_no_trouble() -> None:
    assert conversation_facts("c", TicketLock("c"), NOW_MS, [], 0).trouble is None


def test_a_daemon_tells_what_it_is_active_on_and_since_when_it_is_silent() -> None:
    word = Heartbeat(
        daemon="d", host="h", pid=7, started_at=900.0, active={3: 2.0, 1: 0.5}, busy=[3], stepping_back=[5, 4]
    )
    speaking, silent = daemon_facts(
        [PeerDaemon(word, 50.0, is_silent=False, is_me=True), PeerDaemon(word, 10.0, is_silent=True, is_me=False)],
        51.0,
        1000.0,
    )
    assert (speaking.up_s, speaking.silent_s, speaking.messages_per_s) == (100.0, None, 2.5)
    assert list(speaking.partitions) == [1, 3]
    assert speaking.stepping_back == (4, 5)
    assert silent.silent_s == 41.0


def test_a_daemon_whose_clock_is_ahead_has_been_up_for_no_time() -> None:
    word = Heartbeat(daemon="d", host="h", pid=7, started_at=2000.0, active={}, busy=[])
    (told,) = daemon_facts([PeerDaemon(word, 50.0, is_silent=False, is_me=True)], 51.0, 1000.0)
    assert told.up_s == 0.0


STEP: Final = Step(10.0, 8.0, 6.0, 0.0, 2.0, 9.0, 4)
UNKNOWN: Final = Step(None, None, None, None, None, None, None)


def test_the_panels_say_what_is_now_and_draw_what_was() -> None:
    told = {panel.title: panel for panel in panels(minutes_facts([UNKNOWN, STEP, replace(STEP, requests=30.0)]))}
    assert told["Requests"].now == "20.0/s"
    assert told["Hand-off p50 · p99"].now == "2.0 · 9.0 ms"
    assert told["Waiting"].now == "4"
    assert "at most 30.0/s" in told["Requests"].label
    assert all(len(panel.drawn.paths) == max(1, len(panel.names)) for panel in told.values())


def test_the_panels_say_nothing_where_nothing_is_known() -> None:
    assert {panel.now for panel in panels(minutes_facts([UNKNOWN] * 3))} == {"\u2013", "\u2013 · \u2013"}
