"""The board as people see it: a live table on a terminal, a line every second elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo.board import Board, Line
from examples.demo.replicas import HURT, WORKING
from examples.demo.verdict import percentile

__all__ = ["Scene", "Screen"]

TICK_S = 0.125  # between two pictures of the table
PLAIN_EVERY_S = 1.0

_ROWS_BESIDES = 12  # of the terminal's: titles, borders, totals, and a few of the lines above the table
_ROWS_LEAST = 3
_LONG_S = 0.5  # a lock held so long strikes the eye
_WIDE = 100  # columns

# Colours that a terminal's own theme makes legible on light and on dark.
_COLOURS = ("cyan", "magenta", "green", "blue")
_IDLE = "-"


@dataclass(slots=True)
class Scene:
    """All that is shown at one moment."""

    board: Board
    replicas: Mapping[str, str]  # replica -> how it is: working, killed, stopped
    at_s: float = 0.0  # since the start
    now: float = 0.0  # on the board's clock
    handoffs_ms: list[float] = field(default_factory=list)  # the latest, as the replicas recorded them

    def colour(self, replica: str) -> str:
        """Give a replica's colour; one that does not work is red."""
        if self.replicas.get(replica) in HURT:
            return "red"
        return _COLOURS[list(self.replicas).index(replica) % len(_COLOURS)] if replica in self.replicas else ""


class Screen:
    """Shows scenes, and says things above them."""

    def __init__(self, console: Console, started_at: float) -> None:
        self.console = console
        self._started_at = started_at
        self._live: Live | None = None
        self._plain_at_s = 0.0

    def say(self, now: float, text: str, style: str = "") -> None:
        """Print a line that stays, with the time since the start."""
        line = Text.assemble((f"{now - self._started_at:6.1f} s  ", "dim"), (text, style))
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def show(self, scene: Scene) -> None:
        """Show the present scene, if it is time for the next one."""
        if not self.console.is_terminal:
            if scene.board.grants and scene.at_s >= self._plain_at_s + PLAIN_EVERY_S:
                self._plain_at_s = scene.at_s
                self.say(scene.now, plain(scene))
            return
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(picture(scene, self.console.width, self.console.height), refresh=True)

    def clear(self) -> None:
        """Take the table away; what was said stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def plain(scene: Scene) -> str:
    """Tell the scene in one line: the totals, and the longest line."""
    text = totals(scene)
    if scene.board.lines:
        name, line = max(scene.board.lines.items(), key=lambda item: len(item[1].waiting))
        holders = " and ".join(f"{seat.replica} #{number}" for number, seat in sorted(line.holders.items()))
        text += f" | {name}: {holders or 'nobody'} inside, {len(line.waiting)} waiting"
    return text


def picture(scene: Scene, width: int, height: int) -> RenderableType:
    """Draw the table, the totals and the replicas."""
    is_wide = width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    table.add_column("conversation", no_wrap=True, width=13 if is_wide else 12)
    table.add_column("inside", no_wrap=True, width=16 if is_wide else 15)
    table.add_column("ticket", justify="right", no_wrap=True, width=7)
    table.add_column("for", justify="right", no_wrap=True, width=6)
    table.add_column("waiting", justify="right", no_wrap=True, width=7)
    table.add_column("next in line" + ("" if is_wide else ", bot"), no_wrap=True, overflow="ellipsis", ratio=1)
    if is_wide:
        table.add_column("grants", justify="right", no_wrap=True, width=7)
    shown = _shown(scene.board, max(_ROWS_LEAST, height - _ROWS_BESIDES))
    for name in shown:
        cells = _cells(scene, name, scene.board.lines[name], "" if is_wide else "bot-")
        table.add_row(*cells[: len(table.columns)])
    hidden = len(scene.board.lines) - len(shown)
    more = [Text(f"and {hidden} quieter conversations", "dim")] if hidden else []
    return Group(table, *more, _replicas(scene), Text(totals(scene), "bold"))


def totals(scene: Scene) -> str:
    """Count what the board has seen, and the hand-off that the replicas measured."""
    board = scene.board
    parts = [f"{board.grants:,} grants", f"{board.grants_per_s(scene.now):.0f}/s"]
    if board.waits_s:
        parts.append(f"wait p50 {percentile(sorted(board.waits_s), 0.5) * 1000:.0f} ms")
    if scene.handoffs_ms:
        parts.append(f"hand-off p50 {percentile(sorted(scene.handoffs_ms), 0.5):.1f} ms")
    return ", ".join(parts)


def _shown(board: Board, most: int) -> list[str]:
    """Choose the conversations that fit, the busiest, and leave them in the order of their names."""
    busiest = sorted(board.lines, key=lambda name: board.lines[name].grants, reverse=True)[:most]
    return sorted(busiest)


def _cells(scene: Scene, name: str, line: Line, unsaid: str) -> list[Text | str]:
    if not line.holders:
        inside, ticket, held = Text(_IDLE, "dim"), Text(""), Text("")
    else:
        seats = sorted(line.holders.items())
        inside = Text(" + ").join(
            Text(_with_state(scene, seat.replica), scene.colour(seat.replica)) for _, seat in seats
        )
        ticket = Text("+").join(Text(f"{number}") for number, _ in seats)
        held = _duration(scene.now - min(seat.since for _, seat in seats))
    if len(line.holders) > 1:
        inside.stylize("bold red")
        ticket.stylize("bold red")
    waiting = line.in_line()
    queue = Text(" ").join(Text(replica.removeprefix(unsaid), scene.colour(replica)) for replica in waiting)
    return [name, inside, ticket, held, str(len(waiting) or ""), queue, f"{line.grants:,}"]


def _duration(seconds: float) -> Text:
    return Text(f"{seconds:.1f} s", "bold red") if seconds >= _LONG_S else Text(f"{seconds * 1000:.0f} ms")


def _replicas(scene: Scene) -> Text:
    names = [Text(_with_state(scene, name), scene.colour(name)) for name in scene.replicas]
    return Text(" ").join([Text("bots:"), *names])


def _with_state(scene: Scene, replica: str) -> str:
    state = scene.replicas.get(replica, WORKING)
    return replica if state == WORKING else f"{replica} ({state})"
