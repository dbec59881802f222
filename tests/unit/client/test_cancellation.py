"""A cancellation, a lost connection or a close at any step of the event loop leaves nobody in line, and no task behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lockstore.client import LockClient
from lockstore.errors import LockError
from lockstore.util.cancellation import cancelling
from tests.client.fake_broker import FakeBroker, steps

STEPS = 200
SETTLED = 60  # steps in which everything that is on its way arrives


class Body:
    """Takes the lock and works for some steps; notes how that went."""

    def __init__(self, locks: LockClient) -> None:
        self._locks = locks
        self.entered = self.ended = self.stopped = False

    async def run(self) -> None:
        async with self._locks.lock("talk", wait=30):
            self.entered = True
            try:
                await steps(20)
                self.ended = True
            finally:
                self.stopped = not self.ended

    @property
    def place(self) -> str:
        return "after" if self.ended else "inside" if self.entered else "before"

    def check_stopped(self, place: str) -> None:
        """After a cancellation at this place, the body does not begin any more, and does not come to its end."""
        match place:
            case "before":
                assert not self.entered
            case "inside":
                assert self.stopped


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Callable[[], FakeBroker]:
    def make() -> FakeBroker:
        made = FakeBroker()
        monkeypatch.setattr("lockstore.client.reconnect.open_connection", made.open)
        monkeypatch.setattr("lockstore.client.reconnect.RECONNECT_FIRST_S", 0.0)
        return made

    return make


@asynccontextmanager
async def tidy(broker: FakeBroker) -> AsyncIterator[LockClient]:
    """A client; at the end nobody is in line, no task is left, and no exception was never retrieved."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    async with LockClient("amqp://localhost/") as locks:
        yield locks
        if locks._registry is not None:
            async with asyncio.timeout(10):
                await locks._registry.releases.emptied()
        await steps(SETTLED)
        assert [request_id for request_id in broker.line if request_id != "stranger"] == []
    await steps(3)
    assert asyncio.all_tasks() <= before
    if complaints:
        gc.collect()
    assert complaints == []


async def settled(*tasks: asyncio.Task[Any]) -> list[Any]:
    async with asyncio.timeout(10):
        return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("is_busy", [False, True], ids=["free", "busy"])
@pytest.mark.parametrize("again", [None, 1, 2, 4, 7], ids=lambda again: f"again={again}")
async def test_a_cancellation_at_any_step_gives_everything_back(
    broker: Callable[[], FakeBroker], *, is_busy: bool, again: int | None
) -> None:
    """Also where a second one comes some steps after it, into the clean-up."""
    for step in range(STEPS if again is None else STEPS // 2):
        fake = broker()
        async with tidy(fake) as locks:
            leave = fake.occupy() if is_busy else None
            body = Body(locks)
            task = asyncio.create_task(body.run())
            for number in range(step):
                if leave and number == 20:
                    leave()
                await asyncio.sleep(0)
            place = body.place
            is_late = task.done()
            task.cancel()
            if again is not None:
                await steps(again)
                task.cancel()
            [end] = await settled(task)
            assert is_late or isinstance(end, asyncio.CancelledError)
            body.check_stopped(place)


async def test_a_grant_in_the_same_step_as_the_cancellation_is_given_back(broker: Callable[[], FakeBroker]) -> None:
    for order in ("before", "after"):
        fake = broker()
        async with tidy(fake) as locks:
            body = Body(locks)
            task = asyncio.create_task(body.run())
            while fake.current is None:
                await asyncio.sleep(0)
            heard = fake.current.on_reply

            def hear(message: Any, order: str = order, heard: Any = heard, task: asyncio.Task[None] = task) -> None:
                if order == "before":
                    task.cancel()
                heard(message)
                if order == "after":
                    task.cancel()

            fake.current.on_reply = hear
            [end] = await settled(task)
            assert isinstance(end, asyncio.CancelledError)
            assert not body.entered
            await steps(SETTLED)
            assert list(fake.over.values()) == ["released"]


async def test_a_timeout_around_it_at_any_step_is_a_timeout(broker: Callable[[], FakeBroker]) -> None:
    for step in range(STEPS):
        fake = broker()
        async with tidy(fake) as locks:
            body = Body(locks)
            scope = asyncio.timeout(None)

            async def limited(scope: asyncio.Timeout = scope, body: Body = body) -> None:
                async with scope:
                    await body.run()

            task = asyncio.create_task(limited())
            await steps(step + 1)
            place = body.place
            is_late = task.done()
            if not is_late:
                scope.reschedule(0)  # it cancels one step later
            [end] = await settled(task)
            assert is_late or body.ended or isinstance(end, TimeoutError)
            assert body.stopped or not body.entered or body.ended
            assert not (body.ended and place == "before")
            assert cancelling(task) == 0


async def test_a_sibling_that_fails_at_any_step_ends_the_waiting(broker: Callable[[], FakeBroker]) -> None:
    for step in range(STEPS):
        fake = broker()
        async with tidy(fake) as locks:
            fake.occupy()
            body = Body(locks)

            async def fail(step: int = step) -> None:
                await steps(step)
                raise ValueError("sibling")

            with pytest.raises(ExceptionGroup):
                async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                    group.create_task(body.run())
                    group.create_task(fail())
            assert not body.entered


async def test_a_close_at_any_step_stops_what_waits_and_what_holds(broker: Callable[[], FakeBroker]) -> None:
    for step in range(STEPS):
        fake = broker()
        async with tidy(fake) as locks:
            body = Body(locks)
            task = asyncio.create_task(body.run())
            await steps(step + 1)
            place = body.place
            is_late = task.done()
            await locks.close()
            [end] = await settled(task)
            assert is_late or body.ended or isinstance(end, LockError)
            assert not (body.ended and place == "before")
            assert [each for each in fake.line if each != "stranger"] == []


async def test_a_close_that_is_cancelled_at_any_step_is_done_to_its_end(broker: Callable[[], FakeBroker]) -> None:
    for step in range(STEPS // 2):
        fake = broker()
        async with tidy(fake) as locks:
            task = asyncio.create_task(Body(locks).run())
            await steps(14)
            closing = asyncio.create_task(locks.close())
            await steps(step)
            is_late = closing.done()
            closing.cancel()
            await asyncio.sleep(0)
            closing.cancel()
            [_, end] = await settled(task, closing)
            assert is_late or isinstance(end, asyncio.CancelledError)
            assert fake.line == []


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["goes-on", "cancelled"])
async def test_a_connection_lost_at_any_step_leaves_nobody_in_line(
    broker: Callable[[], FakeBroker], *, is_cancelled: bool
) -> None:
    for step in range(STEPS // 2):
        fake = broker()
        async with tidy(fake) as locks:
            body = Body(locks)
            task = asyncio.create_task(body.run())
            await steps(step)
            if fake.current is not None:
                fake.current.mark_failed()
            if is_cancelled:
                task.cancel()
            [end] = await settled(task)
            assert end is None or is_cancelled
            assert body.ended or is_cancelled
