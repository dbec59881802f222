"""Differences between the supported versions of aiormq: 6.8 and 6.9 with pamqp 3.3, and 7 with pamqp 4.

Each difference is handled here, per connection or channel: aiormq is not modified for its other users in the process.
`tests/architecture/test_library_internals.py` lists what else we use of aiormq beyond its documented API.
"""

import asyncio
import traceback
from collections.abc import Callable

from aiormq import Connection
from aiormq.abc import FrameType
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException

__all__ = ["FRAME_ERRORS", "close_abandoned_socket", "on_consumer_cancel"]

FRAME_ERRORS = (PAMQPException,)
"""Raised by aiormq 6 on malformed frames of the broker. aiormq 7 has errors of its own for them."""


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
    cause: BaseException | None = error
    while cause is not None:
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            writer = frame.f_locals.get("writer") if frame.f_code is code else None
            if isinstance(writer, asyncio.StreamWriter):
                writer.transport.abort()
        cause = cause.__cause__
