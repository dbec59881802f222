"""The error map of AMQP connections: which errors mean the end of a connection, and a one-sentence description of each.

All other errors are programming errors, and are never reported as an unreachable broker.
"""

import asyncio
import builtins
import errno
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError
from typing import Any, NamedTuple

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

from lockstore.amqp.address import BrokerAddress
from lockstore.amqp.compat import FRAME_ERRORS
from lockstore.errors import BrokerLostError, LockstoreError
from lockstore.util.cancellation import CancelRequest
from lockstore.util.tls import causes, certificate_fault

__all__ = [
    "CONNECTION_ERRORS",
    "Description",
    "broker_errors",
    "describe_error",
    "innermost",
]

_AIORMQ_ERRORS = (AMQPError, ChannelInvalidStateError, *FRAME_ERRORS)
CONNECTION_ERRORS = (BrokerLostError, *_AIORMQ_ERRORS, ConnectionError, OSError, TimeoutError, asyncio.TimeoutError)
"""Raised when a connection has ended, or cannot be opened at the moment."""

if sys.version_info >= (3, 11):
    _GROUPS: tuple[type[Any], ...] = (builtins.BaseExceptionGroup,)
else:
    _GROUPS: tuple[type[Any], ...] = ()
_GREETING_MAX = 100_000  # bytes; frames before the tuning are shorter, so a longer one is not AMQP
_TLS_ALERT = range(0x20200, 0x20300)  # the seven bytes of a TLS alert, read as the size of a frame
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EACCES)


class Description(NamedTuple):
    """A problem with a connection, and the remedy; None: contained in the description, or unknown."""

    what: str
    remedy: str | None = None


def innermost(error: BaseException) -> BaseException:
    """Unwrap exception groups; of several errors, return the first that is more specific than a closed channel."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if not isinstance(leaf, ChannelInvalidStateError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, _GROUPS):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def describe_error(error: BaseException, address: BrokerAddress) -> Description:  # noqa: PLR0911 - one return for each kind of error
    """Describe in one sentence what ended a connection or prevents it, and the remedy."""
    error = innermost(error)
    if (fault := certificate_fault(error)) is not None:
        return Description(fault.what, fault.remedy)
    match error:  # specific errors first
        case LockstoreError():
            cause = error.__cause__  # as raised by `broker_errors`
            known = None if cause is None or isinstance(cause, LockstoreError) else describe_error(cause, address)
            return Description(str(error), known.remedy if known is not None and known.what == str(error) else None)
        case ProbableAuthenticationError() | AuthenticationError():
            return _of_login(address)
        case ConnectionClosed():
            return _of_close(_reply(error), address)
        case ChannelAccessRefused():
            return _of_missing_right(_reply(error), address)
        case ChannelNotFoundEntity():
            return Description(f"RabbitMQ has {_reply(error)}", "the daemon declares it again")
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
        f"RabbitMQ rejected the credentials of user {address.user}",
        "correct broker.url; the user guest may only connect from RabbitMQ's own host",
    )


def _of_missing_right(reply: str, address: BrokerAddress) -> Description:
    return Description(
        f"user {address.user} lacks a permission on RabbitMQ: {reply}",
        f"rabbitmqctl set_permissions -p {address.vhost} {address.user} ...",
    )


_CLOSED = "RabbitMQ closed the connection"
_CLOSES: tuple[tuple[str, str, str | None], ...] = (  # pattern of RabbitMQ's message, description, remedy
    (
        r"limit .*reached|reached the maximum allowed",  # of connections or channels; for a virtual host, a user or the node
        "RabbitMQ refuses the connection, because a limit is reached: {reply}",
        "raise the limit, or close other connections: rabbitmqctl list_connections user vhost name",
    ),
    (
        r"^vhost .* not found|^no access to this vhost",
        "the virtual host {vhost} does not exist",
        "rabbitmqctl add_vhost {vhost}",
    ),
    (r"vhost '.*' is (down|deleted)", "the virtual host {vhost} was deleted, or is down", "rabbitmqctl list_vhosts"),
    (
        "^access to vhost .* refused",
        "user {user} has no access to the virtual host {vhost}",
        "rabbitmqctl set_permissions -p {vhost} {user} ...",
    ),
    ("^user .* is deleted", _CLOSED + ": its user {user} was deleted", "add the user {user} again"),
    ("with reason 'shutdown'", _CLOSED + ": it is shutting down", "start RabbitMQ again"),
)


def _of_close(reply: str, address: BrokerAddress) -> Description:
    """Interpret the reason with which RabbitMQ closes or refuses a connection."""
    known = {"reply": reply, "vhost": address.vhost, "user": address.user}
    for words, what, remedy in _CLOSES:
        if re.search(words, reply):
            return Description(what.format(**known), remedy and remedy.format(**known))
    return Description(f"{_CLOSED}: {reply}")


def _of_transport(error: BaseException, address: BrokerAddress) -> Description:  # noqa: PLR0911 - one return for each kind of error
    place = address.place
    for cause in causes(error):
        if (found := _of_cause(cause, address)) is not None:
            return found
    if isinstance(error, (IncompatibleProtocolError, ProtocolSyntaxError, *FRAME_ERRORS)):
        return _of_stranger(place)
    match error:
        case TimeoutError() | asyncio.TimeoutError():  # two classes on Python 3.10
            what = f"no answer from {place}: it hangs, or it does not speak AMQP"
            return Description(what, "check RabbitMQ's log on this host")
        case ConnectionResetError() | BrokenPipeError():
            return Description(f"the connection to {place} was reset by the other side")
        case StopAsyncIteration() | AMQPConnectionError():
            return Description(f"the connection to {place} was closed by the other side")
        case OSError():
            return Description(f"{place} cannot be reached: {error.strerror or error}")
        case _:
            return Description(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _of_cause(cause: BaseException, address: BrokerAddress) -> Description | None:  # noqa: PLR0911 - one return for each kind of error
    place = address.place
    match cause:
        case socket.gaierror():
            return Description(f"the host {address.host} is unknown", "correct the host's name in broker.url")
        case ConnectionRefusedError():
            return Description(f"nothing listens at {place}: connection refused", f"is RabbitMQ running at {place}?")
        case SSLError() if cause.reason in _NO_TLS:
            return Description(f"{place} does not speak TLS", "use amqp://, or RabbitMQ's TLS port")
        case SSLError():
            return Description(f"TLS with {place} failed: {cause.reason or cause}")
        case asyncio.IncompleteReadError() if (cause.expected or 0) - 1 in _TLS_ALERT:
            return Description(f"{place} accepts only TLS", "use amqps:// in broker.url")
        case asyncio.IncompleteReadError() if (cause.expected or 0) > _GREETING_MAX:
            return _of_stranger(place)
        case OSError() if cause.errno in _UNREACHABLE:
            return Description(f"{place} cannot be reached: {os.strerror(cause.errno or 0)}")
        case _:
            return None


def _of_stranger(place: str) -> Description:
    return Description(f"the server at {place} does not speak AMQP 0-9-1", "use RabbitMQ's AMQP port, usually 5672")


def _reply(error: BaseException) -> str:
    """Return the broker's reason, without the name of its code: `NOT_FOUND - no exchange ...`."""
    text = str(error.args[-1]) if error.args and error.args[-1] is not None else str(error)
    return re.sub(r"^[A-Z_]+ - ", "", text) or "without a reason"


@contextmanager
def broker_errors(address: BrokerAddress, *ends: AbstractBase) -> Iterator[None]:
    """Translate errors caused by the end of a connection into BrokerLostError; programming errors propagate.

    When a connection ends, aiormq fails pending calls with the cause: one of CONNECTION_ERRORS, a bare Exception, whatever
    its reader raised, or even a CancelledError although nothing was cancelled. `ends`: the channel or connection in use.
    """
    request = CancelRequest()
    try:
        yield  # a cancellation that the body swallowed is for its caller: what it has opened would stay open here
    except LockstoreError:
        raise
    except asyncio.CancelledError:
        if request.is_made:
            raise
        raise BrokerLostError(_ended_by(ends, address)) from None
    except CONNECTION_ERRORS as error:
        request.check(error)  # aiormq sometimes raises the connection's end instead of a cancellation
        raise BrokerLostError(describe_error(error, address).what) from error
    except Exception as error:
        if not _is_end(error, ends):
            raise
        request.check(error)
        raise BrokerLostError(_ended_by(ends, address)) from error


def _is_end(error: Exception, ends: tuple[AbstractBase, ...]) -> bool:
    """Return whether aiormq reports the end of a channel or connection with this error."""
    if type(error) is Exception or isinstance(error, StopAsyncIteration):
        return True  # raised in pending calls without a known cause, or when a server hangs up during the greeting
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
            return f"the connection to {address.place} timed out (missed heartbeats)"
        if cause is not None:
            return f"the connection failed while reading a frame: {type(cause).__name__}: {cause}"
    return "the connection was closed"
