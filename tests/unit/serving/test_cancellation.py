"""A part of a session that is cancelled ends as cancelled, and at once, whichever step of the event loop it is at."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ConnectionClosed
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from daemon.broker.connection import or_lost
from daemon.config.settings import Settings
from daemon.serving.announcer import Announcer
from daemon.serving.consumer import QueueConsumer
from daemon.serving.deadlines import Withdrawals
from daemon.serving.decoder import Decoder
from daemon.serving.dispatcher import Dispatcher
from daemon.serving.first_contacts import FirstContacts
from daemon.serving.pipeline import Pipeline
from daemon.serving.runtime import Runtime, create_runtime
from daemon.serving.sweeper import Sweeper
from lockstore.amqp.publisher import Outgoing, Publisher
from lockstore.core.commands import Command
from lockstore.errors import BrokerLostError, StoreUnavailableError
from lockstore.protocol.naming import Names
from lockstore.stores.memory import InMemoryLockStore
from lockstore.stores.results import Outcome, Patrol, Shard
from lockstore.util.cancellation import CancelRequest, keep_cancellation, try_within
from lockstore.util.task_group import TaskGroup

STEPS = [*range(40), *range(40, 201, 16)]
PROMPT = 60  # steps within which a cancelled part is at its end


async def steps(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


class Store(InMemoryLockStore):
    """Takes some steps for each call. `kind`: what it makes of a cancellation."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self.applied = 0

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        self.applied += len(commands)
        await self._pass()
        return await super().apply(commands)

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        await self._pass()
        return await super().patrol(shards, age_ms)

    async def _pass(self) -> None:
        try:
            await steps(3)
        except asyncio.CancelledError:
            if self._kind == "fails":
                raise StoreUnavailableError("the connection was broken off") from None
            if self._kind != "swallows":
                raise


class Broker:
    """What a publisher uses of aiormq's channel. Confirms everything three steps later."""

    def __init__(self) -> None:
        self.number, self.max_content_size, self.delivery_tag = 1, 100_000, 0
        self.confirmations: dict[int, Any] = {}
        self.message_id_delivery_tag: dict[str, int] = {}
        self.is_closed = False
        self.write_queue = self
        self._futures: list[asyncio.Future[None]] = []

    def create_future(self) -> asyncio.Future[None]:
        self._futures.append(asyncio.get_running_loop().create_future())
        return self._futures[-1]

    def full(self) -> bool:
        return False

    def put_nowait(self, _: object) -> None:
        asyncio.get_running_loop().call_soon(self._later, 2)

    def _later(self, left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(self._later, left - 1)
        else:
            for tag in list(self.confirmations):
                self.confirmations.pop(tag).set_result(None)

    def end(self) -> None:
        """End as aiormq's channel does: all that waits is failed."""
        self.is_closed = True
        for future in self._futures:
            if not future.done():
                future.set_exception(ConnectionClosed(320, "CONNECTION_FORCED"))


class Queue:
    """A partition on which a message arrives every other step; whatever is acknowledged takes a step."""

    number = 0

    def __init__(self) -> None:
        self.tag = 0

    async def take(self, _: int) -> list[DeliveredMessage]:
        await steps(2)
        self.tag += 1
        body = {"type": "request", "request_id": f"r{self.tag}", "conversation_id": f"c{self.tag % 3}"}
        properties = Basic.Properties(reply_to="bot", correlation_id=f"r{self.tag}", message_type="request")
        delivery = Basic.Deliver("tag", self.tag, exchange="", routing_key="")
        written = json.dumps(body).encode()
        return [DeliveredMessage(delivery, ContentHeader(0, len(written), properties), written, cast("Channel", None))]

    def check(self) -> None:
        """Is always ours."""

    async def acknowledge(self, _: int) -> None:
        await steps(1)


class Scene:
    def __init__(self, kind: str) -> None:
        self.broker = Broker()
        self.store = Store(kind)
        self.runtime: Runtime = create_runtime(Settings(), self.store)
        contacts = FirstContacts(Publisher(cast("Channel", self.broker)), self._open_none)
        self.dispatcher = Dispatcher(self.runtime.outstanding, 30.0, 100, contacts)
        self.withdrawals = Withdrawals(self.runtime.deadlines.wakeup)
        self.sweeper = Sweeper(self.runtime, self.dispatcher, self.withdrawals)
        channel = cast("Channel", self.broker)
        self.announcer = Announcer(channel, channel, Names("n"), self.dispatcher, self.withdrawals.add)

    async def _open_none(self, _: Publisher | None) -> None:
        """Open no further channel."""

    async def sweep(self) -> None:
        await self.sweeper.run(self.announcer)

    async def pipe(self) -> None:
        reader = Decoder(self.runtime.settings.daemon.bounds, 0, 1)
        queue = cast("QueueConsumer", Queue())
        await Pipeline(self.runtime, queue, reader, self.announcer, self.withdrawals, self.sweeper.progress).run(10)

    async def both(self) -> None:
        async with TaskGroup() as tasks:
            for part in (self.sweep, self.pipe, self.dispatcher.run):
                tasks.create_task(or_lost(part))


Part = Callable[[Scene], Coroutine[Any, Any, None]]
PARTS: list[Part] = [Scene.sweep, Scene.pipe, Scene.both]


async def cancelled_at(step: int, scene: Scene, part: Part, end: str) -> None:
    task = asyncio.create_task(or_lost(part, scene))
    await steps(step)
    assert not task.done()
    if end == "before":
        scene.broker.end()
    task.cancel()
    if end == "after":
        scene.broker.end()
    taken = 0
    while not task.done() and taken < PROMPT:
        taken += 1
        await asyncio.sleep(0)
    assert task.done(), f"cancelled at step {step}, and goes on"
    assert task.cancelled(), f"cancelled at step {step}, and ended with {task.exception()!r}"
    assert asyncio.all_tasks() == {asyncio.current_task()}, f"cancelled at step {step}, and left a task"


@pytest.mark.parametrize("end", ["never", "before", "after"])
@pytest.mark.parametrize("kind", ["plain", "fails", "swallows"])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
async def test_a_part_that_is_cancelled_at_any_step_ends_as_cancelled(part: Part, kind: str, end: str) -> None:
    for step in STEPS:
        scene = Scene(kind)
        await cancelled_at(step, scene, part, end)
    assert part is Scene.sweep or scene.store.applied > 10  # none was refused: all steps were passed through


async def test_answers_that_are_waited_for_are_given_up_by_whoever_is_cancelled_while_the_channel_ends() -> None:
    async def publish(broker: Broker, ask: Callable[[asyncio.Task[Any]], None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        ask(task)  # a cancellation that this task has not heard of yet
        await Publisher(cast("Channel", broker)).publish([Outgoing(b"{}", Basic.Properties(), "q")])

    for step in range(8):
        broker = Broker()
        task = asyncio.create_task(publish(broker, lambda _: None))
        await steps(step)
        broker.end()
        is_late = task.done()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or is_late or task.exception() is None
    early = asyncio.create_task(publish(Broker(), lambda task: cast("None", task.cancel())))
    await asyncio.wait([early])
    assert early.cancelled()


async def test_what_somebody_else_cancelled_is_the_end_of_the_connection() -> None:
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(or_lost(lambda: waiting))
    await steps(2)
    waiting.cancel()
    await asyncio.wait([task])
    assert isinstance(task.exception(), BrokerLostError)


async def test_a_group_with_a_task_that_fails_just_then_does_not_keep_the_cancellation_to_itself() -> None:
    async def fail(now: asyncio.Event) -> None:
        await now.wait()
        raise BrokerLostError("gone")

    async def work(now: asyncio.Event) -> None:
        async with TaskGroup() as tasks:
            tasks.create_task(fail(now))

    now = asyncio.Event()
    task = asyncio.create_task(keep_cancellation(lambda: BrokerLostError("closed"), work, now))
    await steps(3)
    now.set()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_request_to_end_is_seen_by_whoever_began_before_it_was_heard() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    request = CancelRequest()
    assert request.is_made
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert not CancelRequest().is_made  # that one has been heard
    task.uncancel()


async def test_a_farewell_that_heeds_nothing_is_not_waited_for() -> None:
    over = asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(20):
        assert not await try_within(0.01, stubborn())
        assert await try_within(20, asyncio.sleep(0))
    over.set()
    await steps(3)
