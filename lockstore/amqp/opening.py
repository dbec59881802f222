"""aiormq's connection, protected from malformed messages, and with the broker's reason if it refuses to open."""

import asyncio
from typing import Any, cast

import aiormq
import pamqp.frame
from aiormq.connection import FrameReceiver, ReceivedFrame, exception_by_code
from aiormq.exceptions import AMQPConnectionError, ProbableAuthenticationError
from pamqp.base import Frame
from pamqp.commands import Connection as Methods
from pamqp.common import FieldTable
from pamqp.frame import FrameTypes
from yarl import URL

from lockstore.amqp.address import BrokerAddress
from lockstore.amqp.compat import close_abandoned_socket
from lockstore.amqp.frame_filter import FrameFilter
from lockstore.amqp.hosts import Endpoint

__all__ = ["OpeningConnection"]

_ACCESS_REFUSED = 403


class _RefusalReader(FrameReceiver):
    """Reads one answer of the broker while a connection is being opened, and raises its reason for closing it."""

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


def _give_substitutes(receiver: FrameReceiver, frames: FrameFilter) -> None:
    """Have a receiver go on where a frame that a publisher has a hand in cannot be decoded: it gives another in its place."""
    read = receiver.get_frame

    async def get_frame() -> ReceivedFrame:
        try:
            return await read()
        except (AMQPConnectionError, OSError, EOFError, StopAsyncIteration):
            raise
        except Exception as error:
            substitute = frames.substitute(error)
            if substitute is None:
                raise
            return pamqp.frame.unmarshal(substitute)

    receiver.get_frame = get_frame  # type: ignore[method-assign]  # of this receiver alone


class OpeningConnection(aiormq.Connection):
    """aiormq's Connection. Its `connect` raises the broker's reason, and a FrameFilter precedes its reader."""

    def __init__(self, url: str | URL, *, body_limit: int, endpoint: Endpoint | None = None, **kwargs: Any) -> None:
        """Accept aiormq's arguments, and the body size above which only a prefix is read.

        `endpoint`: the address that the URL was made from, if any.
        """
        super().__init__(url, **kwargs, **(endpoint.tls_name if endpoint is not None else {}))
        self.address = endpoint.address if endpoint is not None else BrokerAddress.of(str(url))
        self._body_limit = body_limit
        self._socket: asyncio.StreamWriter | None = None
        self.frames: FrameFilter | None = None  # since the broker's greeting

    async def connect(self, client_properties: FieldTable | None = None) -> bool:
        """Connect. Raises errors that `broker_errors` translates."""
        try:
            return cast("bool", await super().connect(client_properties))
        except BaseException as error:
            close_abandoned_socket(error)
            raise

    def abort(self) -> None:
        """Close the socket now, whatever has not been sent. It may be closed already."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _rpc(  # type: ignore[override]  # aiormq's is static, and called on the connection
        self, request: Frame, writer: asyncio.StreamWriter, frame_receiver: FrameReceiver, *args: Any, **kwargs: Any
    ) -> FrameTypes | None:
        self._socket = writer
        # aiormq has no better hook. Only the broker's greeting was read before, which no publisher can influence.
        if not isinstance(frame_receiver.reader, FrameFilter):
            self.frames = FrameFilter(frame_receiver.reader, self._body_limit)
            frame_receiver.reader = cast("asyncio.StreamReader", self.frames)  # it has all that aiormq uses of one
            _give_substitutes(frame_receiver, self.frames)
        return await super()._rpc(request, writer, _RefusalReader(frame_receiver), *args, **kwargs)
