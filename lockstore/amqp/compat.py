"""What differs between the versions of aiormq that we support: 6.8 and 6.9, which bring pamqp 3.3, and 7, which brings pamqp 4.

Each difference stands here once, and works on one connection or channel: aiormq itself stays as it is for other users of it
in the process. `tests/architecture/test_library_internals.py` lists what else of aiormq is used beyond its documented API.
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
"""What aiormq 6 raises where the broker's frames make no sense. aiormq 7 turns it into errors of its own."""


def on_consumer_cancel(channel: Channel, callback: Callable[[], None]) -> None:
    """Call back when the broker cancels a consumer of this channel. Say so before there is one.

    aiormq 6 has no place for such a callback, so the frames are looked at on their way to the channel's reader.
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

    aiormq 6 forgets it where the broker's first frame does not come: it is only a variable of the function that failed.
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
