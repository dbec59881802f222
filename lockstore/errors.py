"""Every error that lockstore raises, its remedy, and what the daemon does with it.

LockstoreError
├── ConfigError                 the configuration names something impossible      daemon: refuses to start, exit code 2
├── StoreError
│   ├── StoreUnavailableError   the store did not answer, or cannot serve now     daemon: keeps the batch and retries
│   │   └── StoreFullError      it is full: releases succeed, requests fail         daemon: rejects the requests
│   ├── ConversationError       one conversation's data cannot be processed       daemon: parks that one message
│   └── EventLoopError          the store is in use in another event loop         never raised by the daemon
├── MessageError                a message breaks docs/protocol.md                      daemon: answers `rejected`, or parks it
├── BrokerLostError             the connection or channel to RabbitMQ is closed   daemon: reconnects
└── LockError                   the lock was not obtained, or was lost            never raised by the daemon
    ├── BusyError               `wait=0`, and the conversation is held            retry later
    ├── WaitExpiredError        the wait expired before the grant                 retry, or wait longer
    ├── RefusedError            the daemon rejected the request                   read `reason` and `detail`
    └── LockLostError           the lease ended, or may have, inside the body     stop writing; there may be another holder
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
    """Base class of all errors that lockstore raises deliberately."""


class ConfigError(LockstoreError):
    """Correct the configuration: the message names the field and the rule."""


class StoreError(LockstoreError):
    """Base class of all lock store errors."""


class StoreUnavailableError(StoreError):
    """Retry: the store is unreachable, restarting, or refuses all commands for now. The outcome of the last call is unknown."""


class StoreFullError(StoreUnavailableError):
    """Give the store more memory. It refused commands that need memory; releases and expiries have taken effect.

    If commands were applied, `outcomes` has the outcome of each: requests that found no memory are rejected.
    """

    outcomes: Sequence[Any] | None = None


class ConversationError(StoreError):
    """Inspect this conversation's data: the store works, but not on it, for example because another program wrote its keys."""


class EventLoopError(StoreError):
    """Close the store in the event loop in which it is in use, or create one store per event loop. Nothing was done in this one."""


class MessageError(LockstoreError):
    """Correct the message: `reason` is one of those in docs/protocol.md, `detail` names the field and the rule."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BrokerLostError(LockstoreError):
    """Reconnect: the channel or connection to RabbitMQ was closed. Unconfirmed messages may not have arrived."""


class LockError(LockstoreError):
    """The ticket has ended: the lock was not obtained, or is no longer held."""


class BusyError(LockError):
    """The conversation is held, and the request had `wait=0`."""


class WaitExpiredError(LockError):
    """The wait expired before the ticket was granted."""


class RefusedError(LockError):
    """The daemon rejected the request, with `reason` and `detail`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class LockLostError(LockError):
    """The lease has expired, or may expire before it can be renewed: from now on another holder may exist."""
