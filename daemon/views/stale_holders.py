"""Finds holders whose reply queue is gone: their lease is not renewed, and the tickets behind them wait in vain."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

from daemon.views.findings import Finding, check_damage, check_holder
from daemon.views.lines import ConversationFacts, LineFacts, LinesFacts, holder_of
from lockstore.errors import ConversationError

__all__ = ["find_stale_holders", "waited_for"]

SUSPECTS_MOST = 20
"""Lines examined together, those with the longest wait first."""


class ConversationReader(Protocol):
    """Where conversations are read."""

    async def conversation(self, conversation_id: str) -> ConversationFacts:
        """Return one line and its history. Raises ConversationError or StoreUnavailableError."""


def waited_for(lines: LinesFacts) -> list[str]:
    """Return the conversations with waiting tickets, longest wait first. A stuck line need not be a long one."""
    waited = [line for line in lines.lines if line.waiting and line.state == "held"]
    waited.sort(key=lambda line: -(line.waiting_longest_ms or 0))
    first = [] if lines.waiting_longest_in is None else [lines.waiting_longest_in]
    return list(dict.fromkeys([*first, *(line.conversation_id for line in waited)]))


async def find_stale_holders(
    source: ConversationReader,
    read_queues: Callable[[Iterable[str]], Awaitable[Mapping[str, bool]]],
    pages: Sequence[LinesFacts],
    most: int = SUSPECTS_MOST,
) -> list[Finding]:
    """Find stale holders among these lines, and in the line with the longest wait, which may be on none of the pages.

    `read_queues` returns which queues exist. Raises as the two readers do.
    """
    findings: list[Finding] = []
    held: list[LineFacts | ConversationFacts] = []
    shown = {line.conversation_id: line for page in pages for line in page.lines}
    for name in islice(dict.fromkeys(name for page in pages for name in waited_for(page)), most):
        try:
            held.append(shown.get(name) or await source.conversation(name))
        except ConversationError as error:
            findings.append(check_damage(name, str(error)))
    exists = await read_queues([holder.reply_to for line in held if (holder := holder_of(line)) is not None])
    return findings + [finding for line in held for finding in check_holder(line, exists)]
