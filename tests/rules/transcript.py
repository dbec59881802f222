"""Scenario transcripts: text files of commands and what came of each, for people to read and for every store to play.

A file has a first paragraph that says what it shows, then paragraphs of commands, a line of dashes, and what was told:

    request a lifetime=1000
    after 300
    release a
    ----
    granted #0 a: until 1000, waited 0, behind 0
    released #0 a: holder, held 300

Commands: `limits max_waiting=N dedup_window_ms=N` · `after MS` · `line` · `request ID` (lifetime, wait, holder, reply_to,
user) · `release`, `renew` (#N and/or ID; lifetime, user) · `expire #N` · `withdraw #N QUEUE` · `issue` (lifetime) ·
`finish #N` · `seize BY` (#N) · `settle`. Absent: lifetime=1000, wait=1000. A line that begins with `#` and a blank is a remark.

After a deliberate change of the rules, write all of them anew, and read the difference: python -m tests.rules.transcript
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lockstore.core.commands import (
    Command,
    Expire,
    Finish,
    ForceRelease,
    Issue,
    Release,
    Renew,
    Request,
    Settle,
    Withdraw,
)
from lockstore.core.events import Event
from lockstore.core.rules import Limits, apply
from lockstore.core.ticket import Sender, TicketLock
from tests.rules.words import Words

FOLDER = Path(__file__).parent / "transcripts"
RULE = "----"


class Table(Protocol):
    """Where a transcript is played: the bare rules, or any lock store with its clock in our hand."""

    words: Words
    conversation_id: str

    async def apply(self, command: Command) -> tuple[Event, ...]: ...

    async def line(self) -> TicketLock | None: ...

    async def after(self, ms: int) -> None: ...

    def limit(self, limits: Limits) -> None: ...


@dataclass
class Rules:
    """The bare rules, with the time in a variable."""

    words: Words = field(default_factory=Words)
    conversation_id: str = "c"
    lock: TicketLock = field(default_factory=lambda: TicketLock("c"))
    limits: Limits = field(default_factory=Limits)
    now_ms: int = 0

    async def apply(self, command: Command) -> tuple[Event, ...]:
        self.lock, events = apply(self.lock, command, self.now_ms, self.limits)
        return events

    async def line(self) -> TicketLock | None:
        return self.lock

    async def after(self, ms: int) -> None:
        self.now_ms += ms

    def limit(self, limits: Limits) -> None:
        self.limits = limits


@dataclass(frozen=True)
class Said:
    """One line of a transcript: its verb, names (`a`), numbers (`#0`) and options (`wait=5`)."""

    verb: str
    names: list[str]
    numbers: list[int]
    options: dict[str, str]

    @classmethod
    def of(cls, text: str) -> "Said":
        verb, *words = text.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        places = [word for word in words if "=" not in word]
        numbers = [int(word[1:]) for word in places if word.startswith("#")]
        return cls(verb, [word for word in places if not word.startswith("#")], numbers, options)

    def number(self, first: int) -> int | None:
        return self.numbers[0] + first if self.numbers else None

    def ms(self, name: str) -> int:
        return int(self.options.get(name, 1000))

    def command(self, conversation_id: str, first: int) -> Command:
        name, number = (self.names[0] if self.names else None), self.number(first)
        sender = Sender(self.options.get("reply_to"), user_id=self.options.get("user"))
        if self.verb == "request":
            holder = self.options.get("holder")
            return Request(conversation_id, name or "", self.ms("lifetime"), self.ms("wait"), holder, sender)
        if self.verb == "renew":
            lease_ms = self.ms("lifetime") if "lifetime" in self.options else None
            return Renew(conversation_id, number, name, lease_ms, sender)
        if self.verb == "seize":
            return ForceRelease(conversation_id, name or "", number)
        commands: dict[str, Command] = {
            "release": Release(conversation_id, number, name, sender),
            "expire": Expire(conversation_id, number or 0),
            "withdraw": Withdraw(conversation_id, number or 0, name or ""),
            "issue": Issue(conversation_id, self.ms("lifetime")),
            "finish": Finish(conversation_id, number or 0),
            "settle": Settle(conversation_id),
        }
        return commands[self.verb]


async def answer(text: str, table: Table) -> list[str]:
    """Do what one line of a transcript says, and give what was told."""
    said = Said.of(text)
    if said.verb == "after":
        await table.after(int(said.names[0]))
        return []
    if said.verb == "limits":
        table.limit(Limits(**{name: int(value) for name, value in said.options.items()}))
        return []
    if said.verb == "line":
        return [table.words.line(await table.line())]
    return table.words.all(await table.apply(said.command(table.conversation_id, table.words.first)))


async def play(text: str, table: Table) -> str:
    """Play a transcript's commands, and give the transcript with what was told this time."""
    title, *paragraphs = text.strip().split("\n\n")
    played = [title]
    for paragraph in paragraphs:
        asked = paragraph.partition(f"\n{RULE}")[0].splitlines()
        told = [words for line in asked if not line.startswith("# ") for words in await answer(line, table)]
        played.append("\n".join([*asked, RULE, *told] if told else asked))
    return "\n\n".join(played) + "\n"


def transcripts() -> dict[str, str]:
    """Give each transcript by its name."""
    return {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.txt"))}


def _write_anew() -> None:
    for name, text in transcripts().items():
        (FOLDER / f"{name}.txt").write_text(asyncio.run(play(text, Rules())))


if __name__ == "__main__":
    _write_anew()
