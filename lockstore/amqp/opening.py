"""aiormq's connection, which says why a broker refused to open it: aiormq itself forgets the reason."""

import asyncio
from typing import Any

import aiormq
from aiormq.connection import FrameReceiver, ReceivedFrame, exception_by_code
from aiormq.exceptions import ProbableAuthenticationError
from pamqp.base import Frame
from pamqp.commands import Connection as Methods
from pamqp.frame import FrameTypes

__all__ = ["OpeningConnection"]

_ACCESS_REFUSED = 403


class _RefusalReader(FrameReceiver):
    """Reads one answer of the broker's while a connection is opened; that it closes the connection is raised."""

    def __init__(self, inner: FrameReceiver) -> None:
        self._inner = inner

    async def get_frame(self) -> ReceivedFrame:
        received = await self._inner.get_frame()
        frame = received[2]
        if isinstance(frame, Methods.Close):
            if frame.reply_code == _ACCESS_REFUSED:
                raise ProbableAuthenticationError(frame.reply_text)
            raise exception_by_code(frame)
        return received


class OpeningConnection(aiormq.Connection):
    """A connection of aiormq's. Its `connect` raises the broker's own reason."""

    @staticmethod
    async def _rpc(
        request: Frame, writer: asyncio.StreamWriter, frame_receiver: FrameReceiver, *args: Any, **kwargs: Any
    ) -> FrameTypes | None:
        reader = _RefusalReader(frame_receiver)
        return await aiormq.Connection._rpc(request, writer, reader, *args, **kwargs)  # noqa: SLF001 - aiormq has no other place
