"""The one error map of AMQP connections: which errors are a connection's end, and what each of them says in one sentence.

Everything that is not in this map is a programming error, and is never reported as a broker that cannot be reached.
"""

import asyncio
import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLError
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from aiormq.abc import AbstractBase
from aiormq.base import Base
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ConnectionClosed,
    DeliveryError,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
    ProtocolSyntaxError,
)

from lockstore.amqp.compat import FRAME_ERRORS
from lockstore.errors import BrokerLostError, LockstoreError
from lockstore.util.tls import causes, certificate_fault

__all__ = [
    "BROKER",
    "CONNECTION_ERRORS",
    "BrokerAddress",
    "Description",
    "broker_errors",
    "describe_error",
    "innermost",
]

_AIORMQ_ERRORS = (AMQPError, ChannelInvalidStateError, *FRAME_ERRORS)
CONNECTION_ERRORS = (BrokerLostError, *_AIORMQ_ERRORS, ConnectionError, OSError, TimeoutError)
"""What a connection that is gone, or cannot be made for now, raises."""

_GREETING_MAX = 100_000  # bytes; no frame before the tuning is longer, so what seems to be is not AMQP
_TLS_ALERT = range(0x20200, 0x20300)  # where a frame has its size, the seven bytes of an alert have this
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EACCES)


class Description(NamedTuple):
    """What is wrong with a connection, and what to do about it; None: the sentence says it, or nobody knows."""

    what: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker's URL leads, without its password."""

    host: str
    port: int
    vhost: str
    user: str

    @classmethod
    def of(cls, url: str) -> "BrokerAddress":
        """Take an AMQP URL apart."""
        parts = urlsplit(url)
        port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
        return cls(parts.hostname or "", port, unquote(parts.path[1:]) or "/", unquote(parts.username or "guest"))

    def __str__(self) -> str:
        return f"{self.place}, virtual host {self.vhost}, user {self.user}"

    @property
    def place(self) -> str:
        """Host and port."""
        if not self.port:
            return self.host
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


BROKER = BrokerAddress("RabbitMQ", 0, "of broker.url", "of broker.url")
"""For who does not know the address."""


def innermost(error: BaseException) -> BaseException:
    """Take an error out of its groups; of several, the first that says more than that a channel was closed."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if not isinstance(leaf, ChannelInvalidStateError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def describe_error(error: BaseException, address: BrokerAddress) -> Description:  # noqa: PLR0911 - a table
    """Say in one sentence what ended a connection, or keeps it from being made, and what to do about it."""
    error = innermost(error)
    if (fault := certificate_fault(error)) is not None:
        return Description(fault.what, fault.remedy)
    match error:  # the order: the special ones before the general
        case LockstoreError():
            cause = error.__cause__  # as `broker_errors` raises it
            known = None if cause is None or isinstance(cause, LockstoreError) else describe_error(cause, address)
            return Description(str(error), known.remedy if known is not None and known.what == str(error) else None)
        case ProbableAuthenticationError() | AuthenticationError():
            return _of_login(address)
        case ConnectionClosed():
            return _of_close(_reply(error), address)
        case ChannelAccessRefused():
            return _of_missing_right(_reply(error), address)
        case ChannelNotFoundEntity():
            return Description(f"RabbitMQ has {_reply(error)}", "the daemon declares again what is missing")
        case ChannelInvalidStateError():
            return Description("the channel to RabbitMQ was closed")
        case ChannelClosed():
            return Description(f"RabbitMQ closed the channel: {_reply(error)}")
        case DeliveryError():
            return Description("RabbitMQ refused the message")
        case _:
            return _of_transport(error, address)


def _of_login(address: BrokerAddress) -> Description:
    return Description(
        f"RabbitMQ does not take user {address.user} with this password",
        "correct both in broker.url; the user guest may only come from RabbitMQ's own machine",
    )


def _of_missing_right(reply: str, address: BrokerAddress) -> Description:
    return Description(
        f"user {address.user} lacks a right at RabbitMQ: {reply}",
        f"rabbitmqctl set_permissions -p {address.vhost} {address.user} ...",
    )


_CLOSED = "RabbitMQ closed the connection"
_CLOSES: tuple[tuple[str, str, str | None], ...] = (  # RabbitMQ's words, what is said, and the remedy
    (
        r"limit .*reached|reached the maximum allowed",  # of connections or channels; of a virtual host, a user or the node
        "RabbitMQ refuses the connection, because a limit is reached: {reply}",
        "raise it, or close others: rabbitmqctl list_connections user vhost name",
    ),
    (
        r"^vhost .* not found|^no access to this vhost",
        "there is no virtual host {vhost}",
        "rabbitmqctl add_vhost {vhost}",
    ),
    (r"vhost '.*' is (down|deleted)", "the virtual host {vhost} was deleted, or is down", "rabbitmqctl list_vhosts"),
    (
        "^access to vhost .* refused",
        "user {user} may not enter the virtual host {vhost}",
        "rabbitmqctl set_permissions -p {vhost} {user} ...",
    ),
    ("^user .* is deleted", _CLOSED + ": its user {user} was deleted", "add the user {user} again"),
    ("with reason 'shutdown'", _CLOSED + ": it is shutting down", "start RabbitMQ again"),
)


def _of_close(reply: str, address: BrokerAddress) -> Description:
    """Read the words with which RabbitMQ closes a connection, or refuses to open one."""
    known = {"reply": reply, "vhost": address.vhost, "user": address.user}
    for words, what, remedy in _CLOSES:
        if re.search(words, reply):
            return Description(what.format(**known), remedy and remedy.format(**known))
    return Description(f"{_CLOSED}: {reply}")


def _of_transport(error: BaseException, address: BrokerAddress) -> Description:  # noqa: PLR0911 - a table
    place = address.place
    for cause in causes(error):
        if (found := _of_cause(cause, address)) is not None:
            return found
    if isinstance(error, (IncompatibleProtocolError, ProtocolSyntaxError, *FRAME_ERRORS)):
        return _of_stranger(place)
    match error:
        case TimeoutError():
            what = f"no answer from {place}: it hangs, or it does not speak AMQP"
            return Description(what, "look at RabbitMQ's log there")
        case ConnectionResetError() | BrokenPipeError():
            return Description(f"the connection to {place} was reset by the other side")
        case StopAsyncIteration() | AMQPConnectionError():
            return Description(f"the connection to {place} was closed by the other side")
        case OSError():
            return Description(f"{place} cannot be reached: {error.strerror or error}")
        case _:
            return Description(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _of_cause(cause: BaseException, address: BrokerAddress) -> Description | None:  # noqa: PLR0911 - a table
    place = address.place
    match cause:
        case socket.gaierror():
            return Description(f"the host {address.host} is not known", "correct the host's name in broker.url")
        case ConnectionRefusedError():
            return Description(f"nothing listens at {place}: connection refused", f"is RabbitMQ running at {place}?")
        case SSLError() if cause.reason in _NO_TLS:
            return Description(f"{place} does not speak TLS", "write amqp://, or name RabbitMQ's port for TLS")
        case SSLError():
            return Description(f"TLS with {place} failed: {cause.reason or cause}")
        case asyncio.IncompleteReadError() if (cause.expected or 0) - 1 in _TLS_ALERT:
            return Description(f"{place} takes only TLS", "write amqps:// in broker.url")
        case asyncio.IncompleteReadError() if (cause.expected or 0) > _GREETING_MAX:
            return _of_stranger(place)
        case OSError() if cause.errno in _UNREACHABLE:
            return Description(f"{place} cannot be reached: {os.strerror(cause.errno or 0)}")
        case _:
            return None


def _of_stranger(place: str) -> Description:
    return Description(f"what answers at {place} does not speak AMQP 0-9-1", "name RabbitMQ's AMQP port, mostly 5672")


def _reply(error: BaseException) -> str:
    """Give the broker's own words, without its code's name: `NOT_FOUND - no exchange ...`."""
    text = str(error.args[-1]) if error.args and error.args[-1] is not None else str(error)
    return re.sub(r"^[A-Z_]+ - ", "", text) or "without a reason"


@contextmanager
def broker_errors(address: BrokerAddress, *ends: AbstractBase) -> Iterator[None]:
    """Turn whatever a connection's end raises in here into BrokerLostError, and let programming errors pass.

    When aiormq closes, it fails what waits with the cause: one of CONNECTION_ERRORS, a bare Exception, whatever its reader
    raised, or even a CancelledError that nobody asked for. `ends`: the channel, or the connection, that is worked on.
    """
    task = asyncio.current_task()
    cancelling = task.cancelling() if task else 0
    try:
        yield
    except LockstoreError:
        raise
    except asyncio.CancelledError:
        # A task may also have been cancelled before it came here, and hear of it only now.
        if task is None or task.cancelling() > cancelling or not (task.cancelling() == 0 or _is_any_closed(ends)):
            raise
        raise BrokerLostError(_ended_by(ends, address)) from None
    except CONNECTION_ERRORS as error:
        if task is not None and task.cancelling() > cancelling:
            raise asyncio.CancelledError from error  # at times aiormq raises the end in place of a cancellation
        raise BrokerLostError(describe_error(error, address).what) from error
    except Exception as error:
        if not _is_end(error, ends):
            raise
        raise BrokerLostError(_ended_by(ends, address)) from error


def _is_any_closed(ends: tuple[AbstractBase, ...]) -> bool:
    return any(end.is_closed for end in ends)


def _is_end(error: Exception, ends: tuple[AbstractBase, ...]) -> bool:
    """Tell whether an error is how aiormq reports the end of a channel or connection."""
    if type(error) is Exception or isinstance(error, StopAsyncIteration):
        return True  # thrown at those who wait, where it knows no cause; a server that hung up during the greeting
    if isinstance(error, RuntimeError) and str(error).endswith(" closed"):
        return True
    return any(error is _cause(end) for end in ends)


def _cause(end: AbstractBase) -> BaseException | None:
    assert isinstance(end, Base)  # noqa: S101 - aiormq has no other kind
    closing = end.closing
    return closing.exception() if closing.done() and not closing.cancelled() else None


def _ended_by(ends: tuple[AbstractBase, ...], address: BrokerAddress) -> str:
    for end in ends:
        cause = _cause(end)
        if isinstance(cause, CONNECTION_ERRORS):
            return describe_error(cause, address).what
        if isinstance(cause, asyncio.CancelledError):
            return f"the connection to {address.place} gave no sign of life (heartbeat)"
        if cause is not None:
            return f"the connection ended while a frame was read: {type(cause).__name__}: {cause}"
    return "the connection was closed"
