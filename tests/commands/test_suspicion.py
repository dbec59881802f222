"""Whose holder is looked for: that of the longest wait first, though its line be far down among the others."""

from dataclasses import replace

from daemon.views.lines import LineFacts, LinesFacts
from daemon.views.stale_holders import waited_for

LINE = LineFacts("long", 9, 1, "bot", "held", 1000, 1000, 1000, 8, 5000, None)
LINES = LinesFacts(0, 900, 2000, 1100, 90_000, "stuck far down", complete=True, start=0, most=50, lines=())


def test_the_line_with_the_longest_wait_of_all_is_the_first_that_is_looked_at() -> None:
    older = replace(LINE, conversation_id="older", waiting_longest_ms=6000)
    others = [
        replace(LINE, conversation_id="nobody waits", waiting=0, waiting_longest_ms=None),
        replace(LINE, conversation_id="direct", state="direct"),
    ]
    assert waited_for(replace(LINES, lines=(LINE, older, *others))) == ["stuck far down", "older", "long"]


def test_it_is_looked_at_once_where_it_is_among_the_longest_too() -> None:
    here = replace(LINES, waiting_longest_in="long", lines=(LINE,))
    assert waited_for(here) == ["long"]
    assert waited_for(replace(LINES, waiting_longest_in=None)) == []
