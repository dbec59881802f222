"""Frames as aiormq's reader gets them: whole, readable, and of a body no more than is wanted."""

import asyncio
import struct
from inspect import signature
from typing import Any

import pamqp.frame
import pytest
from aiormq.connection import FrameReceiver
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from lockstore.amqp.frame_filter import FrameFilter
from tests.support.raw_publisher import short

LIMIT = 5000


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


async def received(data: bytes) -> list[pamqp.frame.FrameTypes]:
    """Have aiormq's own receiver read what a broker sends."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    filtering: Any = FrameFilter(reader, LIMIT)
    limits = [60] if "receive_timeout" in signature(FrameReceiver).parameters else []  # up to aiormq 6.6
    frames = FrameReceiver(filtering, *limits)
    return [found async for _, _, found in frames]


def deliver(exchange: bytes, routing_key: bytes) -> bytes:
    return frame(
        1, struct.pack(">HH", 60, 60) + short(b"tag") + b"\0" * 8 + b"\0" + short(exchange) + short(routing_key)
    )


def header(body_size: int) -> bytes:
    return frame(2, struct.pack(">HHQH", 60, 0, body_size, 0))


async def test_what_is_sound_comes_through_unchanged() -> None:
    properties = Basic.Properties(message_id="m", headers={"a": 1})
    sent = [
        pamqp.frame.marshal(Basic.Deliver("tag", 7, redelivered=False, exchange="ex", routing_key="kéy"), 1),
        pamqp.frame.marshal(ContentHeader(properties=properties, body_size=3), 1),
        pamqp.frame.marshal(ContentBody(b"abc"), 1),
        Heartbeat().marshal(),
    ]
    method, head, body, beat = await received(b"".join(sent))
    assert isinstance(method, Basic.Deliver)
    assert (method.delivery_tag, method.routing_key) == (7, "kéy")
    assert isinstance(head, ContentHeader)
    assert head.properties == properties
    assert isinstance(body, ContentBody)
    assert body.value == b"abc"
    assert isinstance(beat, Heartbeat)


async def test_names_that_are_no_text_are_written_out() -> None:
    [found] = await received(deliver(b"\xff", b"a\xfe" * 120))
    assert isinstance(found, Basic.Deliver)
    assert found.exchange == "\\xff"
    assert found.routing_key == ("a\\xfe" * 120)[:255]
    returned = struct.pack(">HHH", 60, 50, 312) + short(b"NO_\xff") + short(b"") + short(b"\xfe")
    [back] = await received(frame(1, returned))
    assert isinstance(back, Basic.Return)
    assert (back.reply_code, back.reply_text, back.routing_key) == (312, "NO_\\xff", "\\xfe")


async def test_of_a_large_body_a_prefix_comes_and_the_next_message_is_whole() -> None:
    parts = [frame(3, bytes([place]) * 3000) for place in range(4)]
    after = [header(2), frame(3, b"ok")]
    found = await received(b"".join([header(12_000), *parts, *after]))
    bodies = [part.value for part in found if isinstance(part, ContentBody)]
    assert b"".join(bodies[:-1]) == b"\0" * 3000 + b"\1" * 1096
    assert bodies[-1] == b"ok"
    sizes = [part.body_size for part in found if isinstance(part, ContentHeader)]
    assert sizes == [4096, 2]
    assert sum(isinstance(part, Heartbeat) for part in found) == 2  # each dropped frame still says: the broker is there


async def test_bodies_of_two_channels_do_not_mix() -> None:
    sent = [
        frame(2, struct.pack(">HHQH", 60, 0, 9000, 0), channel=1),
        frame(2, struct.pack(">HHQH", 60, 0, 4500, 0), channel=2),
        frame(3, b"a" * 4500, channel=1),
        frame(3, b"b" * 4500, channel=2),
        frame(3, b"a" * 4500, channel=1),
    ]
    bodies = [part.value for part in await received(b"".join(sent)) if isinstance(part, ContentBody)]
    assert bodies == [b"a" * 4096, b"b" * 4500]


async def test_an_empty_part_of_a_body_is_passed_over() -> None:
    found = await received(header(2) + frame(3, b"") + frame(3, b"ok"))
    assert [part.value for part in found if isinstance(part, ContentBody)] == [b"ok"]


async def test_a_broker_of_another_protocol_is_heard() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"AMQP\0\0\x09\x01")
    reader.feed_eof()
    filtering = FrameFilter(reader, LIMIT)
    assert await filtering.readexactly(8) == b"AMQP\0\0\x09\x01"
    assert filtering.at_eof()


async def test_the_end_of_the_stream_is_told_as_a_stream_reader_tells_it() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(header(2)[:9])
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await FrameFilter(reader, LIMIT).readexactly(1)


@given(st.lists(st.tuples(st.sampled_from([deliver, None]), st.binary(max_size=255), st.binary(max_size=255))))
def test_any_names_and_any_headers_are_read(messages: list[tuple[object, bytes, bytes]]) -> None:
    sent = b"".join(
        deliver(one, other) if made else frame(2, struct.pack(">HHQ", 60, 0, 0) + one + other)
        for made, one, other in messages
    )
    assert len(asyncio.run(received(sent))) == len(messages)
