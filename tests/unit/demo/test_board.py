"""What the board makes of public events, and how it looks."""

from typing import Any

import pytest
from rich.console import Console

from examples.demo.board import Board
from examples.demo.records import What
from examples.demo.screen import Scene, picture, plain
from lockstore.protocol.messages import Outbound
from lockstore.protocol.reading import parse_fields

NOW = 100.0


def event(kind: str, number: int, holder: str | None = "bot-1/1", conversation: str = "user-01") -> Outbound:
    own: dict[str, dict[str, Any]] = {
        "queued": {"position": 1, "wait_until": 9.0},
        "granted": {"expires_at": 9.0, "waited": 0.02, "behind": 0},
        "released": {"held": 0.1, "reason": "holder"},
        "expired": {"phase": "held"},
        "cancelled": {"reason": "unreachable"},
    }
    common = {"conversation_id": conversation, "ticket_number": number, "request_id": "r", "holder": holder, "at": 1.0}
    return parse_fields({"type": kind, **common, **own[kind]})


@pytest.fixture
def board() -> Board:
    board = Board()
    for kind, number, holder in [
        ("granted", 1, "bot-1/1"),
        ("queued", 3, "bot-3/1"),
        ("queued", 2, "bot-2/1"),
    ]:
        board.hear(event(kind, number, holder), NOW)
    return board


def test_a_line_stands_in_the_order_of_its_numbers(board: Board) -> None:
    line = board.lines["user-01"]
    assert {number: seat.replica for number, seat in line.holders.items()} == {1: "bot-1"}
    assert line.in_line() == ["bot-2", "bot-3"]


def test_a_released_ticket_makes_room(board: Board) -> None:
    board.hear(event("released", 1), NOW)
    board.hear(event("granted", 2, "bot-2/1"), NOW)
    assert board.held_by("bot-2") == ["user-01"]
    assert board.held_by("bot-1") == []
    assert board.open_tickets() == 2
    assert board.open_tickets("bot-3") == 1


def test_an_event_that_comes_after_its_tickets_end_changes_nothing(board: Board) -> None:
    board.hear(event("expired", 2, "bot-2/1"), NOW)
    board.hear(event("queued", 2, "bot-2/1"), NOW)
    board.hear(event("granted", 2, "bot-2/1"), NOW)
    assert board.open_tickets("bot-2") == 0


def test_an_event_becomes_a_record_of_its_call() -> None:
    record = Board().hear(event("cancelled", 7, "bot-2/31"), NOW)
    assert record is not None
    assert (record.what, record.replica, record.call, record.ticket) == (What.TOLD_CANCELLED, "bot-2", 31, 7)


@pytest.mark.parametrize("holder", [None, "somebody", "warm/up"])
def test_tickets_of_others_are_passed_over(holder: str | None) -> None:
    board = Board()
    assert board.hear(event("granted", 1, holder), NOW) is None
    assert not board.lines


def test_the_rate_is_that_of_the_last_seconds(board: Board) -> None:
    assert board.grants_per_s(NOW) == pytest.approx(1 / 3)
    assert board.grants_per_s(NOW + 60) == 0


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_shows_who_is_inside_and_who_is_next(board: Board, width: int) -> None:
    scene = Scene(board, {"bot-1": "killed", "bot-2": "working", "bot-3": "working"}, now=NOW + 1.5)
    console = Console(width=width, record=True, force_terminal=True, file=None, quiet=True)
    lines = "".join(
        segment.text for segment in console.render(picture(scene, width, 24), console.options.update(width=width))
    ).splitlines()
    row = next(line for line in lines if "user-01" in line).split()
    assert row[:6] == ["user-01", "bot-1", "(killed)", "1", "1.5", "s"]
    assert row[6:9] == (["2", "bot-2", "bot-3"] if width == 120 else ["2", "2", "3"])
    assert all(len(line) <= width for line in lines)


def test_a_table_higher_than_the_terminal_shows_the_busiest(board: Board) -> None:
    for number in range(2, 40):
        board.hear(event("granted", 1, conversation=f"user-{number:02}"), NOW)
    board.hear(event("granted", 2, conversation="user-39"), NOW)
    console = Console(width=80)
    lines = console.render_lines(picture(Scene(board, {"bot-1": "working"}, now=NOW), 80, 24))
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert len(lines) <= 24
    assert "user-39" in text
    assert "and 27 quieter conversations" in text


def test_without_a_terminal_one_line_says_it(board: Board) -> None:
    board.hear(event("granted", 3, "bot-3/1"), NOW)
    assert plain(Scene(board, {}, now=NOW)) == (
        "2 grants, 1/s, wait p50 20 ms | user-01: bot-1 #1 and bot-3 #3 inside, 1 waiting"
    )
