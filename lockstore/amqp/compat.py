"""Differences between the supported versions of aiormq: 6.4 to 6.9 with pamqp 3, and 7 with pamqp 4.

Each difference is handled here, per connection or channel: aiormq is not modified for its other users in the process.
`tests/architecture/test_library_internals.py` lists what else we use of aiormq beyond its documented API.
"""

import asyncio
import inspect
import traceback
from collections.abc import Callable
from dataclasses import replace
from ssl import SSLContext
from typing import Any

import pamqp.frame
from aiormq import Connection
from aiormq.abc import ChannelFrame, FrameType
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from pamqp.heartbeat import Heartbeat

from lockstore.util.tls import causes

__all__ = [
    "FRAME_ERRORS",
    "TAKES_SERVER_NAME",
    "close_abandoned_socket",
    "named_context",
    "on_consumer_cancel",
    "to_write",
    "without_payload",
    "written",
]

FRAME_ERRORS = (PAMQPException,)
"""Raised by aiormq 6 on malformed frames of the broker. aiormq 7 has errors of its own for them."""


TAKES_SERVER_NAME = any(
    each.kind is inspect.Parameter.VAR_KEYWORD for each in inspect.signature(Connection.__init__).parameters.values()
)
"""Whether a connection takes `server_hostname`. Up to aiormq 6.6 it takes none; `named_context` has the same effect."""

_KEEPS_FRAMES = not hasattr(ChannelFrame, "marshall")  # up to aiormq 6.6: they are encoded only when they are written


class _Encoded(Heartbeat):
    """Frames that are encoded already. pamqp asks a heartbeat alone for its bytes."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def marshal(self) -> bytes:  # type: ignore[override]  # a class method there
        return self._payload


def to_write(number: int, payload: bytes) -> ChannelFrame:
    """Return encoded frames of a channel as what a connection writes."""
    if _KEEPS_FRAMES:
        return ChannelFrame(channel_number=number, frames=[_Encoded(payload)])  # type: ignore[call-arg]
    return ChannelFrame(payload=payload, should_close=False)


def written(frame: ChannelFrame) -> bytes:
    """Return the bytes of what a connection is about to write."""
    if _KEEPS_FRAMES:
        old: Any = frame
        return b"".join(pamqp.frame.marshal(each, old.channel_number) for each in old.frames)
    return frame.payload


def without_payload(frame: ChannelFrame) -> ChannelFrame:
    """Return the same with nothing in it, for who waits until it is written."""
    if _KEEPS_FRAMES:
        old: Any = frame
        emptied: ChannelFrame = old._replace(frames=())
        return emptied
    return replace(frame, payload=b"")


def named_context(connection: Any, name: str) -> SSLContext:
    """Return a TLS context for a connection that verifies certificates for this name, whatever address it goes to."""
    context: SSLContext = connection._get_ssl_context()  # noqa: SLF001 - as aiormq up to 6.6 makes it itself
    wrap = context.wrap_bio

    def wrap_named(*args: Any, **kwargs: Any) -> Any:
        return wrap(*args, **kwargs | {"server_hostname": name})

    context.wrap_bio = wrap_named  # type: ignore[method-assign]  # of this context alone
    return context


def on_consumer_cancel(channel: Channel, callback: Callable[[], None]) -> None:
    """Register a callback for the cancellation of this channel's consumer by the broker. Call it before consuming.

    aiormq 6 has no such callback, so the frames are inspected on their way to the channel's reader.
    """
    if hasattr(channel, "on_consumer_cancel_callbacks"):
        channel.on_consumer_cancel_callbacks.add(lambda _: callback())
        return
    get_frame = channel._get_frame  # noqa: SLF001 - see above

    async def get_noticing() -> FrameType:
        frame = await get_frame()
        if isinstance(frame, Basic.Cancel):
            callback()
        return frame

    channel._get_frame = get_noticing  # type: ignore[method-assign]  # noqa: SLF001 - on this channel alone


def close_abandoned_socket(error: BaseException) -> None:
    """Close the socket of a connection that failed to open.

    aiormq 6 leaks it if the broker's first frame does not arrive: it is only a local variable of the failed function.
    """
    connect = getattr(Connection.connect, "__wrapped__", None)
    code = getattr(connect, "__code__", None)
    for cause in causes(error):
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            writer = frame.f_locals.get("writer") if frame.f_code is code else None
            if isinstance(writer, asyncio.StreamWriter):
                writer.transport.abort()
