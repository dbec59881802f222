"""The rules spoken to in the words of the transcripts, without a loop."""

from lockstore.core.line import Limits
from lockstore.core.rules import apply
from lockstore.core.ticket import TicketLock
from tests.rules.transcript import Said
from tests.rules.words import Words


class Talk:
    """One conversation's line under the bare rules. Each command leaves the given lock as it was, and that is checked."""

    def __init__(self, **limits: int) -> None:
        self.lock = TicketLock("c")
        self.limits = Limits(**limits)
        self.now_ms = 0
        self.words = Words()

    def say(self, *texts: str) -> list[str]:
        """Apply commands, and give what was told of all of them."""
        return [told for text in texts for told in self._say(text)]

    def _say(self, text: str) -> list[str]:
        before, copy = self.lock, TicketLock.from_dict(self.lock.as_dict())
        after, events = apply(before, Said.of(text).command("c", 0), self.now_ms, self.limits)
        assert before == copy
        self.lock = after
        return [self.words.of(event) for event in events]

    def after(self, ms: int) -> None:
        self.now_ms += ms

    @property
    def line(self) -> str:
        return self.words.line(self.lock)
