"""Which channels of a connection are open, so that none is used once its end was sent: RabbitMQ ends the whole connection for that.

aiormq sends a second Channel.Close when the first is confirmed late or whoever waits for it is cancelled, drops its
Channel.CloseOk when its buffer is full, and gives a channel's number to the next before either has reached the broker.
"""

import asyncio
import struct
from collections.abc import Container

from aiormq.abc import ChannelFrame
from pamqp.commands import Channel
from pamqp.frame import FrameTypes

from lockstore.amqp.compat import without_payload, written

__all__ = ["ChannelNumbers", "WriteQueue"]

_HEAD = struct.Struct(">BHI")  # type, channel, size of the payload
_METHOD = 1
_OPEN, _CLOSE, _CLOSE_OK = (bytes([0, 20, 0, number]) for number in (10, 40, 41))
_NUMBER_MAX = 65535


class ChannelNumbers:
    """The numbers of one connection's channels, in the order of what is written to its socket and read from it."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._closing: set[int] = set()  # until the broker has confirmed the end
        self._last = 0

    def admit(self, frames: bytes) -> bool:
        """Note frames of one channel that are about to be written. False: it is not open, they must not be."""
        kind, number, _ = _HEAD.unpack_from(frames)
        if number == 0:
            return True
        method = frames[_HEAD.size : _HEAD.size + 4] if kind == _METHOD else b""
        if method == _OPEN:
            self._open.add(number)
        elif number not in self._open:
            return False
        elif method in (_CLOSE, _CLOSE_OK):
            self._open.remove(number)
            if method == _CLOSE:
                self._closing.add(number)
        return True

    def receive(self, number: int, frame: FrameTypes) -> bytes:
        """Note a frame that was read, and return what must be written now, before anything else; b"": nothing."""
        if isinstance(frame, Channel.CloseOk):
            self._closing.discard(number)
        if not isinstance(frame, Channel.Close):
            return b""
        # Where both sides close it, RabbitMQ confirms ours too: it has not seen this confirmation yet by then.
        self._open.discard(number)
        return _HEAD.pack(_METHOD, number, len(_CLOSE_OK)) + _CLOSE_OK + b"\xce"

    def is_free(self, number: int) -> bool:
        """Return whether the broker has no channel of this number, or will have none when it reads what is written next."""
        return number not in self._open and number not in self._closing

    def take(self, used: Container[int], most: int) -> int:
        """Return a number that is free, as late as possible after its last use. `most`: the highest one; 0: any.

        Raises RuntimeError if there is none.
        """
        most = most or _NUMBER_MAX
        for step in range(most):
            number = (self._last + step) % most + 1
            if number not in used and self.is_free(number):
                self._last = number
                return number
        raise RuntimeError(f"all {most} channels of the connection are in use")


class WriteQueue(asyncio.Queue[ChannelFrame]):
    """What a connection is about to write. Frames of a channel that is not open come out empty."""

    def __init__(self, maxsize: int, numbers: ChannelNumbers) -> None:
        super().__init__(maxsize)
        self._numbers = numbers

    def _get(self) -> ChannelFrame:
        frame: ChannelFrame = super()._get()
        return frame if self._numbers.admit(written(frame)) else without_payload(frame)
