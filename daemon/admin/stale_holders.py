"""Holders that nobody hears of any more: their reply queue is gone, so nobody renews, and those behind wait in vain."""

from itertools import islice
from typing import TYPE_CHECKING

from daemon.admin.broker_state import read_queues
from daemon.admin.findings import Finding, check_conversation, check_damage
from daemon.admin.line_reader import LineReader
from lockstore.errors import ConversationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aio_pika.abc import AbstractConnection

    from daemon.views.lines import ConversationFacts, LinesFacts

__all__ = ["find_stale_holders", "waited_for"]

SUSPECTS_MOST = 20
"""Lines that are looked at in one go, those with the longest wait first."""


def waited_for(lines: "LinesFacts") -> list[str]:
    """Give the conversations in which somebody waits, the longest wait first. A line that is stuck need not be a long one."""
    waited = [line for line in lines.lines if line.waiting and line.state == "held"]
    waited.sort(key=lambda line: -(line.waiting_longest_ms or 0))
    first = [] if lines.waiting_longest_in is None else [lines.waiting_longest_in]
    return list(dict.fromkeys([*first, *(line.conversation_id for line in waited)]))


async def find_stale_holders(
    connection: "AbstractConnection", source: LineReader, names: "Iterable[str]", most: int = SUSPECTS_MOST
) -> list[Finding]:
    """Look for the holders of lines in which somebody waits, and say whose is gone. Raises as `LineReader` and `read_queues`."""
    troubles: list[Finding] = []
    held: list[ConversationFacts] = []
    for name in islice(names, most):
        try:
            held.append(await source.conversation(name))
        except ConversationError as error:
            troubles.append(check_damage(name, str(error)))
    stands = await read_queues(connection, filter(None, (line.tickets[0].reply_to for line in held if line.tickets)))
    return troubles + [trouble for line in held for trouble in check_conversation(line, stands)]
