"""A line of the `redis` store as three values: Rasa's JSON, the last number, and a memo of what Rasa does not know."""

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

from lockstore.core.ticket import Claim, Ticket, TicketLock
from lockstore.errors import ConversationError

__all__ = ["parsed", "read_of", "written"]


def read_of(conversation_id: str, reply: Any) -> tuple[TicketLock | None, int] | ConversationError:
    """Parse the reply of lua/read_lock.lua into the line, None if empty, and the server's clock in ms."""
    if isinstance(reply, ConversationError):
        return reply
    now_ms, *values = reply
    try:
        return (parsed(conversation_id, values) if any(values) else None), now_ms
    except ConversationError as error:
        return error


def parsed(conversation_id: str, values: Sequence[bytes]) -> TicketLock:
    """Parse a line. Raises ConversationError."""
    lock, last, memo = values
    try:
        data: dict[str, Any] = {}
        if memo:
            data |= json.loads(memo)
        if lock:
            data |= json.loads(lock)
        if last:
            data["last_number"] = int(last)
        data["conversation_id"] = conversation_id
        claims = data.pop("claims", {})
        read = TicketLock.from_dict(data)
        read.tickets = deque(_reclaimed(ticket, claims.get(str(ticket.number))) for ticket in read.tickets)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"its value in Redis is not a lock: {type(error).__name__}: {error}"
        raise ConversationError(message) from error
    return read


def _reclaimed(ticket: Ticket, kept: Any) -> Ticket:
    """Restore a ticket's claim, which a Rasa process has dropped while changing the line."""
    if ticket.claim is not None or kept is None or kept[0] != ticket.expires:
        return ticket  # a different deadline means that a ticket of Rasa has overwritten ours
    return Ticket(ticket.number, ticket.expires, Claim.from_dict(kept[1]))


def written(lock: TicketLock) -> tuple[str, str, str]:
    """Serialize a line; "" stands for an absent value."""
    data = lock.as_dict()
    rasa = {"conversation_id": lock.conversation_id, "tickets": data["tickets"]}
    memo: dict[str, Any] = {name: data[name] for name in ("ended", "outbox", "history") if name in data}
    claims = {str(item.number): [item.expires, item.claim.as_dict()] for item in lock.tickets if item.claim}
    if claims and len(claims) < len(lock.tickets):  # behind a direct ticket, which may belong to a Rasa process
        memo["claims"] = claims
    return (
        json.dumps(rasa) if lock.tickets else "",
        "" if lock.last_number is None else str(lock.last_number),
        json.dumps(memo) if memo else "",
    )
