"""Every error that lockstore raises, its remedy, and what the daemon does with it.

LockstoreError
├── ConfigError                 the configuration names something impossible      daemon: refuses to start, exit code 2
├── StoreError
│   ├── StoreUnavailableError   the store did not answer, or cannot serve now     daemon: keeps the batch and tries again
│   │   └── StoreFullError      it is full: releases go on, and requests cannot     daemon: rejects the requests
│   ├── ConversationError       one conversation's data cannot be worked on       daemon: parks that one message
│   └── EventLoopError          the store is in use in another event loop         never raised by the daemon
├── MessageError                a message breaks docs/protocol.md                      daemon: answers `rejected`, or parks it
├── BrokerLostError             the connection or channel to RabbitMQ is gone     daemon: connects again
└── LockError                   the lock was not obtained, or not kept            never raised by the daemon
    ├── BusyError               `wait=0`, and someone holds the conversation      ask again later
    ├── WaitExpiredError        the wait ended before the turn came               ask again, or wait longer
    ├── RefusedError            the daemon rejected the request                   read `reason` and `detail`
    └── LockLostError           the lease ended, or may have, inside the body     stop writing; the next holder is on
"""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "BrokerLostError",
    "BusyError",
    "ConfigError",
    "ConversationError",
    "EventLoopError",
    "LockError",
    "LockLostError",
    "LockstoreError",
    "MessageError",
    "RefusedError",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "WaitExpiredError",
]


class LockstoreError(Exception):
    """Catch this to catch everything that lockstore raises on purpose."""


class ConfigError(LockstoreError):
    """Mend the configuration: the message names the field and the rule that it breaks."""


class StoreError(LockstoreError):
    """Catch this for any failure of a lock store."""


class StoreUnavailableError(StoreError):
    """Try again: the store is away, restarting, or refuses all work for now. Nothing can be said about the last call."""


class StoreFullError(StoreUnavailableError):
    """Give the store memory: it refused what needs some. What gives memory back, releases and expiries, has taken effect.

    Where commands were applied, `outcomes` has what came of each: a request that found no room has been refused.
    """

    outcomes: Sequence[Any] | None = None


class ConversationError(StoreError):
    """Look at this conversation's data: the store works, but not on it (another program wrote its keys, for example)."""


class EventLoopError(StoreError):
    """Close the store in the event loop that it was used in, or create one for each; nothing was done in this one."""


class MessageError(LockstoreError):
    """Mend the message: `reason` is one of docs/protocol.md's words, `detail` names the field and the rule."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BrokerLostError(LockstoreError):
    """Connect again: the channel or connection to RabbitMQ ended. What was not confirmed may not have arrived."""


class LockError(LockstoreError):
    """The ticket is gone: the lock was not obtained, or is not held any more."""


class BusyError(LockError):
    """Someone holds the conversation, and the request would not wait."""


class WaitExpiredError(LockError):
    """The wait deadline came before the turn."""


class RefusedError(LockError):
    """The daemon rejected the request; `reason` and `detail` are its words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class LockLostError(LockError):
    """The lease ended, or may end before the next renewal can: someone else may hold the conversation from now on."""
