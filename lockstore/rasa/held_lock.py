"""What `QueueLockStore.lock` yields: the granted ticket, with the names of Rasa's `TicketLock`."""

from lockstore.client.held_ticket import HeldTicket

__all__ = ["HeldLock"]


class HeldLock:
    """The lock of a conversation as its holder sees it. `number` is the fencing token."""

    def __init__(self, conversation_id: str, ticket: HeldTicket) -> None:
        self.conversation_id = conversation_id
        self.ticket = ticket

    @property
    def number(self) -> int:
        """The fencing token: it increases with each ticket of a conversation."""
        return self.ticket.number

    @property
    def now_serving(self) -> int:
        """The number of the ticket that holds the lock: ours."""
        return self.ticket.number

    def is_locked(self, ticket_number: int) -> bool:
        """Return whether this ticket has to wait: every one but ours."""
        return ticket_number != self.ticket.number

    def is_someone_waiting(self) -> bool:
        """Return True: the holder counts, as in Rasa."""
        return True

    def __repr__(self) -> str:
        return f"HeldLock(conversation_id={self.conversation_id!r}, number={self.ticket.number})"
