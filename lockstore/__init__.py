"""Ticket locks for conversations: first in, first out, with fencing tokens.

    LockClient               take locks through the daemon, over RabbitMQ (`lockstore.client`)
    HeldTicket               the ticket inside the body of a lock
    LockStore                the base class of every lock store; subclass it for a store of your own
    InMemoryLockStore        a store in this process's memory
    create_store             creates a store from a `lock_store` section; Redis stores need the extra `redis`
    Ticket, TicketLock       a ticket, and the line of a conversation
    LockstoreError           the base class of all errors; `lockstore.errors` lists them with their remedies

Packages, each of which depends only on those below it:

    rasa                     lock stores for an unchanged Rasa server (docs/rasa.md)
    client, factory          the client; creating stores
    stores, amqp, protocol   lock stores; AMQP helpers; the wire format
    core                     tickets, commands, events and rules. No I/O
    util, errors             backoff, TLS, text; the errors

Names are imported on first use: using a store does not import an AMQP library, and using the client does not import Redis.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstore.client import HeldTicket, LockClient
    from lockstore.core.ticket import Ticket, TicketLock
    from lockstore.errors import (
        BrokerLostError,
        BusyError,
        ConfigError,
        ConversationError,
        EventLoopError,
        LockError,
        LockLostError,
        LockstoreError,
        MessageError,
        RefusedError,
        StoreError,
        StoreFullError,
        StoreUnavailableError,
        WaitExpiredError,
    )
    from lockstore.factory import create_store
    from lockstore.stores.base import LOCK_LIFETIME_S, LockStore
    from lockstore.stores.memory import InMemoryLockStore

__all__ = [
    "LOCK_LIFETIME_S",
    "BrokerLostError",
    "BusyError",
    "ConfigError",
    "ConversationError",
    "EventLoopError",
    "HeldTicket",
    "InMemoryLockStore",
    "LockClient",
    "LockError",
    "LockLostError",
    "LockStore",
    "LockstoreError",
    "MessageError",
    "RefusedError",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "Ticket",
    "TicketLock",
    "WaitExpiredError",
    "create_store",
]

_HOMES = {
    "HeldTicket": "lockstore.client",
    "InMemoryLockStore": "lockstore.stores.memory",
    "LOCK_LIFETIME_S": "lockstore.stores.base",
    "LockClient": "lockstore.client",
    "LockStore": "lockstore.stores.base",
    "Ticket": "lockstore.core.ticket",
    "TicketLock": "lockstore.core.ticket",
    "create_store": "lockstore.factory",
}


def __getattr__(name: str) -> Any:
    """Import a name on first access. Raises AttributeError if it is unknown."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "lockstore.errors")), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})
