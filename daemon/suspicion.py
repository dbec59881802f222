"""Holders that nobody hears of any more: their reply queue is gone, so nobody renews, and those behind wait in vain."""

from typing import TYPE_CHECKING

from daemon.estate import standing_of
from daemon.sources import Source
from daemon.troubles import Trouble, of_conversation, of_damage
from lockstore.errors import ConversationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aio_pika.abc import AbstractConnection

    from daemon.page.facts import ConversationFacts, LineFacts

__all__ = ["suspects_of"]

SUSPECTS_MOST = 20
"""Lines that are looked at in one go, those with the longest wait first."""


async def suspects_of(
    connection: "AbstractConnection", source: Source, lines: "Sequence[LineFacts]", most: int = SUSPECTS_MOST
) -> list[Trouble]:
    """Look for the holders of lines in which somebody waits, and say whose is gone. Raises as `Source` and `standing_of`."""
    waited = [line for line in lines if line.waiting and line.state == "held"]
    waited.sort(key=lambda line: -(line.waiting_longest_ms or 0))
    troubles: list[Trouble] = []
    held: list[ConversationFacts] = []
    for line in waited[:most]:
        try:
            held.append(await source.conversation(line.conversation_id))
        except ConversationError as error:
            troubles.append(of_damage(line.conversation_id, str(error)))
    stands = await standing_of(connection, filter(None, (line.tickets[0].reply_to for line in held if line.tickets)))
    return troubles + [trouble for line in held for trouble in of_conversation(line, stands)]
