"""aiormq's connection, protected from malformed messages and late ends of channels, with the broker's reason if it refuses."""

import asyncio
from typing import Any, cast

import aiormq
import pamqp.frame
from aiormq.abc import AbstractChannel
from aiormq.connection import FrameReceiver, ReceivedFrame, exception_by_code
from aiormq.exceptions import AMQPConnectionError, ProbableAuthenticationError
from pamqp.base import Frame
from pamqp.commands import Channel
from pamqp.commands import Connection as Methods
from pamqp.common import FieldTable
from pamqp.frame import FrameTypes
from pamqp.heartbeat import Heartbeat
from yarl import URL

from lockstore.amqp.address import BrokerAddress
from lockstore.amqp.channel_numbers import ChannelNumbers, WriteQueue
from lockstore.amqp.compat import TAKES_SERVER_NAME, close_abandoned_socket, named_context
from lockstore.amqp.frame_filter import FrameFilter
from lockstore.amqp.hosts import Endpoint

__all__ = ["OpeningConnection"]

_ACCESS_REFUSED = 403
_NO_HEARTBEAT_S = 86_400  # aiormq up to 6.6 ends a connection that is silent for longer, with or without heartbeats
_ENDS = (Channel.Close, Channel.CloseOk)
_NOTHING: ReceivedFrame = (0, 0, Heartbeat())  # in place of a frame that is dropped


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


def _empty(frames: "asyncio.Queue[Any]") -> None:
    """Make room for what the connection's reader wants to give a channel: nobody else takes from a closed one, and it would wait."""
    while not frames.empty():
        frames.get_nowait()


class OpeningConnection(aiormq.Connection):
    """aiormq's Connection. Its `connect` raises the broker's reason, a FrameFilter precedes its reader, and its channels end once."""

    def __init__(self, url: str | URL, *, body_limit: int, endpoint: Endpoint | None = None, **kwargs: Any) -> None:
        """Accept aiormq's arguments, and the body size above which only a prefix is read.

        `endpoint`: the address that the URL was made from, if any.
        """
        tls_name = endpoint.tls_name if endpoint is not None else {}
        super().__init__(url, **kwargs, **(tls_name if TAKES_SERVER_NAME else {}))
        self.address = endpoint.address if endpoint is not None else BrokerAddress.of(str(url))
        self.vhost = self.address.vhost  # aiormq up to 6.6 takes %2F literally
        # Up to 6.6 a dead peer is noticed by this, in three times as much.
        self.timeout = self.heartbeat_timeout or _NO_HEARTBEAT_S
        self._server_name: str | None = tls_name.get("server_hostname")
        self._body_limit = body_limit
        self._socket: asyncio.StreamWriter | None = None
        self._numbers = ChannelNumbers()
        self.write_queue = WriteQueue(self.FRAME_BUFFER_SIZE, self._numbers)
        self.frames: FrameFilter | None = None  # since the broker's greeting

    async def connect(self, client_properties: FieldTable | None = None) -> bool:
        """Connect. Raises errors that `broker_errors` translates."""
        try:
            if self._server_name is not None and not TAKES_SERVER_NAME:
                self.ssl_context = await self.loop.run_in_executor(None, named_context, self, self._server_name)
            return cast("bool", await super().connect(client_properties))
        except BaseException as error:
            close_abandoned_socket(error)
            self.abort()
            raise

    async def channel(self, channel_number: int | None = None, *args: Any, **kwargs: Any) -> AbstractChannel:
        """Open a channel, as aiormq does, under a number that is free for the broker too. Raises RuntimeError if there is none."""
        await self.connected.wait()
        if channel_number is None:
            channel_number = self._numbers.take(self.channels, self.connection_tune.channel_max)
        elif not self._numbers.is_free(channel_number):
            raise ValueError(f"channel {channel_number} is not closed yet")
        channel = cast("aiormq.Channel", await super().channel(channel_number, *args, **kwargs))
        channel.closing.add_done_callback(lambda _: _empty(channel.frames))
        return channel

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
            self._filter(frame_receiver)
        return await super()._rpc(request, writer, _RefusalReader(frame_receiver), *args, **kwargs)

    def _filter(self, receiver: FrameReceiver) -> None:
        """Hold what is read from now on against what aiormq can take."""
        frames = FrameFilter(receiver.reader, self._body_limit)
        receiver.reader = cast("asyncio.StreamReader", frames)  # it has all that aiormq uses of one
        read = receiver.get_frame

        async def get_frame() -> ReceivedFrame:
            try:
                received = await read()
            except (AMQPConnectionError, OSError, EOFError, StopAsyncIteration):
                raise
            except Exception as error:
                # One that a publisher has a hand in, and that cannot be decoded: another is given in its place.
                substitute = frames.substitute(error)
                if substitute is None:
                    raise
                received = pamqp.frame.unmarshal(substitute)
            return self._noted(received)

        receiver.get_frame = get_frame  # type: ignore[method-assign]  # of this receiver alone
        self.frames = frames

    def _noted(self, received: ReceivedFrame) -> ReceivedFrame:
        """Answer what cannot wait, and drop what is for a channel that is gone."""
        _, number, frame = received
        channel = self.channels.get(number)
        if not isinstance(frame, _ENDS):  # nearly all frames
            return _NOTHING if channel is not None and channel.is_closed else received
        answer = self._numbers.receive(number, frame)
        if answer and self._socket is not None and not self._socket.is_closing():
            self._socket.write(answer)
        if isinstance(frame, Channel.CloseOk) and channel is None:
            return _NOTHING  # both sides closed it
        return received
