"""Ticket locks for conversations: first in, first out, with fencing tokens.

    LockClient               take locks through the daemon, over RabbitMQ (`lockstore.client`)
    HeldTicket               what the body of a lock is given
    LockStore                the base class of every lock store; derive from it for a store of your own
    InMemoryLockStore        the store of this process, and the rules in their simplest setting
    create_store             from a `lock_store` section to a store; the Redis stores need the extra `redis`
    Ticket, TicketLock       what stores keep of a conversation
    LockstoreError           the root of all errors: `lockstore.errors` has the tree, and what to do about each

Packages, each of which depends only on those below it:

    client, factory          the client; building a store from its section
    stores, amqp, protocol   where tickets are kept; what is shared of AMQP; the wire format
    core                     values and rules: tickets, commands, events, and `apply`. No I/O
    util, errors             backoff, TLS, text; the errors

Names are loaded when they are used: who takes a store imports no AMQP library, and who takes the client no Redis.
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
    """Load what is asked for, from the module where it is at home. Raises AttributeError for any other name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "lockstore.errors")), name)


def __dir__() -> list[str]:
    """Name what can be asked for."""
    return sorted({*globals(), *__all__})
