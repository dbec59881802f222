"""What may be written to a connection, channel by channel, and which number the next channel gets."""

import asyncio
from typing import Any

import pytest
from aiormq.abc import ChannelFrame
from pamqp.commands import Basic, Channel, Connection
from pamqp.frame import FrameTypes, marshal
from pamqp.heartbeat import Heartbeat

from lockstore.amqp.channel_numbers import ChannelNumbers, WriteQueue
from lockstore.amqp.compat import to_write, written

CLOSE = Channel.Close(200, "", 0, 0)
ACK = Basic.Ack(1)


def admitted(numbers: ChannelNumbers, *frames: FrameTypes, channel: int = 1) -> list[bool]:
    return [numbers.admit(marshal(frame, channel)) for frame in frames]


def opened(*channels: int) -> ChannelNumbers:
    numbers = ChannelNumbers()
    for channel in channels or (1,):
        admitted(numbers, Channel.Open(), channel=channel)
    return numbers


@pytest.mark.parametrize("end", [CLOSE, Channel.CloseOk()], ids=["closed by us", "closed by the broker"])
@pytest.mark.parametrize(
    "late", [CLOSE, Channel.CloseOk(), ACK, Basic.Consume(queue="q"), Basic.Cancel("t")], ids=lambda frame: frame.name
)
def test_nothing_is_written_on_a_channel_after_its_end_and_all_is_on_others(end: FrameTypes, late: FrameTypes) -> None:
    numbers = opened(1, 2)
    assert admitted(numbers, ACK, end, late, late) == [True, True, False, False]
    assert admitted(numbers, late, channel=2) == [True]


def test_nothing_is_written_on_a_channel_that_was_never_opened() -> None:
    assert admitted(ChannelNumbers(), ACK, CLOSE, Channel.CloseOk()) == [False, False, False]


def test_what_is_for_no_channel_is_always_written() -> None:
    farewell = Connection.Close(200, "", 0, 0)
    assert admitted(ChannelNumbers(), Heartbeat(), farewell, Connection.CloseOk(), channel=0) == [True, True, True]


def test_a_number_is_free_again_when_the_broker_has_confirmed_the_end() -> None:
    numbers = opened(1)
    admitted(numbers, CLOSE)
    assert not numbers.is_free(1)
    assert numbers.receive(1, Channel.CloseOk()) == b""
    assert numbers.is_free(1)
    assert admitted(numbers, Channel.Open(), ACK) == [True, True]


def test_the_brokers_end_of_a_channel_is_confirmed_at_once_and_once() -> None:
    numbers = opened(1)
    assert numbers.receive(1, CLOSE) == marshal(Channel.CloseOk(), 1)
    assert admitted(numbers, Channel.CloseOk(), CLOSE) == [False, False]
    assert numbers.is_free(1)


def test_a_number_of_a_channel_that_both_sides_close_is_free_when_both_ends_are_confirmed() -> None:
    numbers = opened(1)
    admitted(numbers, CLOSE)
    assert numbers.receive(1, CLOSE) == marshal(Channel.CloseOk(), 1)
    assert not numbers.is_free(1)
    numbers.receive(1, Channel.CloseOk())
    assert numbers.is_free(1)


def test_a_number_is_used_again_as_late_as_possible() -> None:
    numbers = ChannelNumbers()
    assert [numbers.take((), 3) for _ in range(5)] == [1, 2, 3, 1, 2]


def test_numbers_that_are_in_use_or_not_yet_free_are_left_out() -> None:
    numbers = opened(1, 2)
    admitted(numbers, CLOSE, channel=2)
    assert numbers.take({3}, 4) == 4
    with pytest.raises(RuntimeError, match="all 4 channels"):
        numbers.take({3, 4}, 4)


async def test_frames_that_must_not_be_written_come_out_empty_and_are_still_answered_for() -> None:
    queue = WriteQueue(10, opened(1))
    drained = asyncio.get_running_loop().create_future()
    make: Any = getattr(ChannelFrame, "marshall", ChannelFrame)  # up to aiormq 6.6 it keeps the frames as they are
    for frame in (make(1, [CLOSE]), make(1, [ACK], drain_future=drained)):
        await queue.put(frame)
    first, second = await queue.get(), await queue.get()
    assert written(first) == marshal(CLOSE, 1)
    assert (written(second), second.drain_future) == (b"", drained)


async def test_frames_that_are_encoded_already_are_written_as_they_are() -> None:
    queue = WriteQueue(10, opened(1))
    await queue.put(to_write(1, marshal(ACK, 1)))
    assert written(await queue.get()) == marshal(ACK, 1)
