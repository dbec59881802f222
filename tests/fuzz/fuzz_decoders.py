"""Coverage-guided fuzzing of what reads from the broker: content headers, frames, JSON bodies, dead letters. Not part of CI.

    pip install atheris
    python -m tests.fuzz.fuzz_decoders -runs=10000000 [CORPUS_FOLDER]

Arguments are those of libFuzzer. It ends at the first input that raises, and writes that input to a file.
"""

import asyncio
import importlib
import json
import struct
import sys
from datetime import datetime
from typing import Any

try:
    atheris: Any = importlib.import_module("atheris")  # it has no types
except ImportError:
    sys.exit("atheris is not installed: pip install atheris")

with atheris.instrument_imports(include=["lockstore", "daemon.serving.decoder", "daemon.serving.dead_letter", "pamqp"]):
    from aiormq.abc import DeliveredMessage
    from aiormq.connection import FrameReceiver
    from pamqp.commands import Basic
    from pamqp.header import ContentHeader

    from daemon.serving.dead_letter import DeadLetter
    from daemon.serving.decoder import Decoder
    from lockstore.amqp.content_header import readable, take_notes
    from lockstore.amqp.frame_filter import FrameFilter
    from lockstore.protocol.codec import BODY_MAX_BYTES, RequestLimits, encode
    from lockstore.protocol.reading import read_outbound

FRAME_MAX = 131_064
READER = Decoder(RequestLimits(), 0, 1)


def header_is_read(data: bytes) -> None:
    """Whatever the bytes of a content header are, it is decoded, refused or served, and can be parked."""
    written, _ = readable(data, BODY_MAX_BYTES)
    found = ContentHeader()
    found.unmarshal(written)
    dead = DeadLetter(b"", found.properties, take_notes(found), "invalid", "why")
    assert len(ContentHeader(properties=dead.written(FRAME_MAX)).marshal()) <= FRAME_MAX


def frames_are_read(data: bytes) -> None:
    """Whatever the names of a delivery and the bytes of its header are, aiormq's receiver reads both."""
    place = data[0] if data else 0
    exchange, key, header = data[1 : 1 + place], data[1 + place : 1 + 2 * place][:255], data[1 + 2 * place :]
    names = bytes([len(exchange)]) + exchange + bytes([len(key)]) + key
    method = struct.pack(">HH", 60, 60) + b"\1t" + b"\0" * 9 + names
    frames = [(1, method), (2, struct.pack(">HHQ", 60, 0, 0) + header)]
    stream = b"".join(struct.pack(">BHI", kind, 1, len(part)) + part + b"\xce" for kind, part in frames)

    async def read() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(stream)
        reader.feed_eof()
        filtering: Any = FrameFilter(reader, BODY_MAX_BYTES)
        return len([frame async for frame in FrameReceiver(filtering)])

    assert LOOP.run_until_complete(read()) == len(frames)


def body_is_decoded(data: bytes) -> None:
    """Whatever a body is, it becomes a command that can be written anywhere, or a rejection that can be sent."""
    properties = Basic.Properties(message_id="m", reply_to="q")
    delivery = DeliveredMessage(Basic.Deliver(), ContentHeader(properties=properties), data, CHANNEL)
    letter = READER.read(delivery, int(datetime(2026, 11, 28).timestamp()))  # noqa: DTZ001 - any time will do
    assert (letter.command is None) != (letter.rejected is None)
    if letter.rejected is not None:
        assert "cannot be decoded" not in letter.rejected.detail
        read_outbound(encode(letter.rejected))
        letter.as_dead_letter(letter.rejected).written(FRAME_MAX)
    else:
        json.dumps(repr(letter.command)).encode()
        assert letter.command is not None
        letter.command.conversation_id.encode()


TARGETS = (header_is_read, frames_are_read, body_is_decoded)
LOOP = asyncio.new_event_loop()
CHANNEL: Any = None


def one_input(data: bytes) -> None:
    """Give an input to the decoder that its first byte chooses."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
