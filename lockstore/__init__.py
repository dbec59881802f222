"""Ticket locks for conversations: first in, first out, with fencing tokens. See ARCHITECTURE.md for the map."""

from lockstore.errors import LockError, LockstoreError
from lockstore.memory import InMemoryLockStore
from lockstore.store import LOCK_LIFETIME_S, LockStore
from lockstore.ticket import Ticket, TicketLock

__all__ = [
    "LOCK_LIFETIME_S",
    "InMemoryLockStore",
    "LockError",
    "LockStore",
    "LockstoreError",
    "Ticket",
    "TicketLock",
]
