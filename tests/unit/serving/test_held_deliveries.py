"""Deliveries whose answers nobody keeps: what is acknowledged when, and what is not. The test is the broker, and its channel."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon.serving import held_deliveries
from daemon.serving.consumer import QueueConsumer
from daemon.serving.held_deliveries import HeldDeliveries
from daemon.serving.pending_publish import Announcement
from lockstore.core.events import Rejected
from lockstore.util.task_group import TaskGroup

PREFETCH = 20


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


class Channel:
    """Notes what is acknowledged, as RabbitMQ does: a tag may be acknowledged once."""

    def __init__(self, delivered: int) -> None:
        self.open = set(range(1, delivered + 1))

    async def basic_ack(self, tag: int, *, multiple: bool, wait: bool) -> None:
        assert not wait
        assert tag in self.open, "RabbitMQ closes the channel"
        self.open -= {other for other in self.open if other <= tag} if multiple else {tag}
        await asyncio.sleep(0)


class Announcer:
    is_closed = False

    def __init__(self) -> None:
        self.given_up: list[Announcement] = []
        self.dropped: list[Announcement] = []
        self.give_up, self.drop = self.given_up.append, self.dropped.append


class Stage:
    def __init__(self, tasks: TaskGroup, delivered: int) -> None:
        self.channel = Channel(delivered)
        self.partition = QueueConsumer(0, "q", cast("Any", self.channel))
        self.announcer = Announcer()
        broker = SimpleNamespace(prefetch=PREFETCH, confirm_timeout=0.05)
        settings = SimpleNamespace(broker=broker, daemon=SimpleNamespace(dedup_window=300))
        self.outstanding = SimpleNamespace(answers_given_up=0)
        runtime: Any = SimpleNamespace(settings=settings, outstanding=self.outstanding)
        self.held = HeldDeliveries(runtime, self.partition, cast("Any", self.announcer), tasks)

    def hold(self, *tags: int) -> list[Announcement]:
        answers = [_answer(place) for place in range(len(tags))]
        self.held.hold(answers, tags)
        return answers


def _answer(place: int) -> Announcement:
    event = Rejected(
        conversation_id="c",
        number=None,
        request_id=None,
        holder=None,
        at_ms=0,
        reason="busy",
        detail="",
        partitions=None,
    )
    pending: Any = SimpleNamespace(is_over=True)
    return Announcement(event, None, place, pending, open=1)


async def test_only_the_held_ones_are_left_and_each_is_acknowledged_when_it_is_answered() -> None:
    async with TaskGroup() as tasks:
        stage = Stage(tasks, 9)
        two, five = stage.hold(2, 5)
        await stage.partition.acknowledge([1, 2, 3])
        assert stage.channel.open == {2, 4, 5, 6, 7, 8, 9}
        await stage.partition.acknowledge([4, 5, 6])
        assert stage.channel.open == {2, 5, 7, 8, 9}
        two.done()
        await eventually(lambda: stage.channel.open == {5, 7, 8, 9})
        five.done()
        await eventually(lambda: stage.channel.open == {7, 8, 9})
        await stage.partition.acknowledge([7, 8])
        assert stage.channel.open == {9}
        await stage.held.close()
    assert stage.outstanding.answers_given_up == 0


async def test_one_that_is_answered_before_its_batch_is_acknowledged_goes_with_it() -> None:
    async with TaskGroup() as tasks:
        stage = Stage(tasks, 3)
        [two] = stage.hold(2)
        two.done()
        await stage.held.close()
        assert stage.channel.open == {1, 2, 3}
        await stage.partition.acknowledge([1, 2, 3])
    assert not stage.channel.open


async def test_a_message_with_several_answers_waits_for_all_of_them() -> None:
    async with TaskGroup() as tasks:
        stage = Stage(tasks, 1)
        first, second = stage.hold(1, 1)
        await stage.partition.acknowledge([1])
        first.done()
        await asyncio.sleep(0)
        assert stage.channel.open == {1}
        second.done()
        await eventually(lambda: not stage.channel.open)


async def test_beyond_a_share_of_the_prefetch_the_oldest_are_given_up_and_counted() -> None:
    share = PREFETCH // held_deliveries.HELD_SHARE
    async with TaskGroup() as tasks:
        stage = Stage(tasks, 12)
        answers = stage.hold(*range(1, 11))
        await stage.partition.acknowledge(list(range(1, 11)))
        await eventually(lambda: stage.channel.open == {*range(11 - share, 11), 11, 12})
        stage.hold(11)
        await eventually(lambda: len(stage.announcer.given_up) == 11 - share)
        assert stage.announcer.given_up == answers[: 11 - share]
        await stage.held.close()
    assert stage.outstanding.answers_given_up == 11 - share


async def test_after_a_while_one_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_deliveries, "HELD_MOST_S", 0.01)
    async with TaskGroup() as tasks:
        stage = Stage(tasks, 1)
        answers = stage.hold(1)
        await stage.partition.acknowledge([1])
        await eventually(lambda: not stage.channel.open)
    assert stage.announcer.given_up == answers


async def test_at_the_end_what_has_no_answer_stays_unacknowledged_and_is_not_sent_any_more() -> None:
    async with TaskGroup() as tasks:
        stage = Stage(tasks, 2)
        _, second = stage.hold(1, 2)
        await stage.partition.acknowledge([1, 2])
        second.done()
        await stage.held.close()
    assert stage.channel.open == {1}
    assert [answer.place for answer in stage.announcer.dropped] == [0]
    assert stage.outstanding.answers_given_up == 0


async def test_on_a_channel_that_is_lost_nothing_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_deliveries, "HELD_MOST_S", 0.01)
    with pytest.raises(ExceptionGroup, match="unhandled"):
        async with TaskGroup() as tasks:
            stage = Stage(tasks, 1)
            stage.hold(1)
            await stage.partition.acknowledge([1])
            stage.announcer.is_closed = True
            await asyncio.Event().wait()
    assert stage.channel.open == {1}
