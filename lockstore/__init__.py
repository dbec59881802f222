"""Ticket locks for conversations: first in, first out, with fencing tokens. See ARCHITECTURE.md for the map."""

from lockstore.core.ticket import Ticket, TicketLock
from lockstore.errors import LockError, LockstoreError
from lockstore.stores.base import LOCK_LIFETIME_S, LockStore
from lockstore.stores.memory import InMemoryLockStore

__all__ = [
    "LOCK_LIFETIME_S",
    "InMemoryLockStore",
    "LockError",
    "LockStore",
    "LockstoreError",
    "Ticket",
    "TicketLock",
]
