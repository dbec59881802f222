"""aiormq's connection as we need it: no publisher can end it, and it says why a broker refused to open it."""

import asyncio
from typing import Any, cast

import aiormq
from aiormq.connection import FrameReceiver, ReceivedFrame, exception_by_code
from aiormq.exceptions import ProbableAuthenticationError
from pamqp.base import Frame
from pamqp.commands import Connection as Methods
from pamqp.common import FieldTable
from pamqp.frame import FrameTypes

from lockstore.amqp.compat import close_abandoned_socket
from lockstore.amqp.frame_filter import FrameFilter

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
    """A connection of aiormq's. Its `connect` raises the broker's own reason, and its reader has a FrameFilter before it."""

    def __init__(self, *args: Any, body_limit: int, **kwargs: Any) -> None:
        """Take what aiormq's takes, and the most bytes that a body may have before only a prefix of it is read."""
        super().__init__(*args, **kwargs)
        self._body_limit = body_limit

    async def connect(self, client_properties: FieldTable | None = None) -> bool:
        """Connect. Raises whatever `broker_errors` knows."""
        try:
            return cast("bool", await super().connect(client_properties))
        except BaseException as error:
            close_abandoned_socket(error)
            raise

    async def _rpc(  # type: ignore[override]  # aiormq's is static, and called on the connection
        self, request: Frame, writer: asyncio.StreamWriter, frame_receiver: FrameReceiver, *args: Any, **kwargs: Any
    ) -> FrameTypes | None:
        # aiormq has no other place. The broker's greeting was read before this, and no publisher has a hand in that.
        if not isinstance(frame_receiver.reader, FrameFilter):
            filtering = FrameFilter(frame_receiver.reader, self._body_limit)
            frame_receiver.reader = cast("asyncio.StreamReader", filtering)  # it has all that aiormq uses of one
        return await super()._rpc(request, writer, _RefusalReader(frame_receiver), *args, **kwargs)
