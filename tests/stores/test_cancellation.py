"""A direct caller is cancelled after any step of the event loop: nobody stays in line, no task is left, nothing is lost."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from lockstore.stores.base import LockStore
from tests.stores.conftest import OpenStore

STEPS = 200
KINDS = [
    "in_memory",
    "redis",
    "concurrent_redis",
    "concurrent_redis-cluster",
    "custom",
    "custom_async",
    "custom_sqlite",
]

pytestmark = pytest.mark.parametrize("kind", KINDS)


def after_steps(steps: int, action: Callable[[], object]) -> None:
    """Act after so many iterations of the event loop."""
    if steps == 0:
        action()
    else:
        asyncio.get_running_loop().call_soon(after_steps, steps - 1, action)


@pytest_asyncio.fixture(autouse=True)
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """Collect what the event loop complains of, such as exceptions that nobody retrieved."""
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    yield heard
    gc.collect()
    assert heard == []


@pytest_asyncio.fixture
async def used(open_store: OpenStore) -> LockStore:
    """Give a store that listens to hints already, so that its own task does not count as one that is left."""
    store = await open_store()
    await store.listen("c")
    return store


class Visit:
    """One caller, and what its body saw."""

    def __init__(self, store: LockStore, body: Callable[[], Awaitable[object]]) -> None:
        self.entered = False
        self.ended = False
        self.cancelled = False
        self._body = body
        self.task = asyncio.create_task(self._run(store))

    async def _run(self, store: LockStore) -> None:
        async with store.lock("c", 3600, wait_time_in_seconds=0.01):
            self.entered = True
            try:
                await self._body()
                self.ended = True
            except asyncio.CancelledError:
                self.cancelled = True
                raise


async def nothing_is_left(store: LockStore, before: set[asyncio.Task[Any]]) -> None:
    assert not await store.is_someone_waiting("c")
    for _ in range(3):
        await asyncio.sleep(0)  # a task whose end was awaited is counted until the next step
    assert asyncio.all_tasks() - before == set()


async def test_a_caller_that_would_hold_for_ever_leaves_at_once(used: LockStore) -> None:
    before = asyncio.all_tasks()
    for steps in range(STEPS):
        visit = Visit(used, asyncio.Event().wait)
        after_steps(steps, visit.task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await visit.task
        assert visit.cancelled == visit.entered, steps
        await nothing_is_left(used, before)


async def test_a_caller_that_gives_back_leaves_nothing(used: LockStore) -> None:
    before = asyncio.all_tasks()
    outcomes = set()
    for steps in range(STEPS):
        visit = Visit(used, lambda: asyncio.sleep(0))
        after_steps(steps, visit.task.cancel)
        await asyncio.wait({visit.task})
        outcomes.add(visit.task.cancelled())
        assert visit.task.cancelled() or visit.ended, steps
        await nothing_is_left(used, before)
    assert True in outcomes  # and how many came too late is the machine's affair


async def test_a_caller_that_waits_in_line_leaves_it(used: LockStore) -> None:
    before = asyncio.all_tasks()
    for steps in range(STEPS):
        async with used.lock("c", 3600):
            visit = Visit(used, asyncio.Event().wait)
            after_steps(steps, visit.task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await visit.task
            assert not visit.entered
        await nothing_is_left(used, before)


async def test_a_caller_whose_turn_comes_as_it_is_cancelled_does_not_run_on(used: LockStore) -> None:
    before = asyncio.all_tasks()
    for steps in range(0, STEPS, 2):
        release = asyncio.Event()
        holder = Visit(used, release.wait)
        while not holder.entered:
            await asyncio.sleep(0)
        visit = Visit(used, asyncio.Event().wait)
        while len((await used.get_or_create_lock("c")).tickets) < 2:
            await asyncio.sleep(0)
        release.set()
        after_steps(steps, visit.task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await visit.task
        assert visit.cancelled == visit.entered, steps
        await holder.task
        await nothing_is_left(used, before)


async def test_a_sibling_that_waits_behind_a_holder_that_fails_never_runs_to_its_end(used: LockStore) -> None:
    before = asyncio.all_tasks()

    async def fail() -> None:
        while len((await used.get_or_create_lock("c")).tickets) < 2:
            await asyncio.sleep(0)
        raise ZeroDivisionError

    for _ in range(20):
        visits: list[Visit] = []
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:

                async def hold() -> None:
                    async with used.lock("c", 3600):
                        await fail()

                async def wait(visits: list[Visit] = visits) -> None:
                    visits.append(Visit(used, lambda: asyncio.sleep(0.2)))
                    try:
                        await asyncio.shield(visits[0].task)
                    except asyncio.CancelledError:
                        visits[0].task.cancel()
                        await asyncio.wait({visits[0].task})
                        raise

                group.create_task(hold())
                await asyncio.sleep(0)
                group.create_task(wait())
        assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
        assert not visits[0].ended
        await nothing_is_left(used, before)


async def test_a_caller_that_is_cancelled_twice_leaves_nothing(used: LockStore) -> None:
    before = asyncio.all_tasks()
    for steps in range(0, STEPS, 4):
        for between in (0, 1, 3, 10):
            visit = Visit(used, asyncio.Event().wait)
            after_steps(steps, visit.task.cancel)
            after_steps(steps + between, visit.task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await visit.task
            async with asyncio.timeout(60):  # what the second one broke off goes on in the background
                while await used.is_someone_waiting("c") or asyncio.all_tasks() - before:
                    await asyncio.sleep(0)


async def test_a_time_limit_is_told_as_one(used: LockStore) -> None:
    before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    for steps in range(0, STEPS, 4):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                after_steps(steps, lambda limit=limit: limit.reschedule(loop.time()))  # type: ignore[misc]
                async with used.lock("c", 3600):
                    await asyncio.Event().wait()
        await nothing_is_left(used, before)


async def test_issue_ticket_that_is_cancelled_leaves_no_ticket(used: LockStore) -> None:
    before = asyncio.all_tasks()
    for steps in range(STEPS):
        task = asyncio.create_task(used.issue_ticket("c", 3600))
        after_steps(steps, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            await used.finish_serving("c", task.result())
        await nothing_is_left(used, before)


async def test_a_caller_that_swallowed_a_cancellation_still_waits_for_its_turn(used: LockStore) -> None:
    inside = asyncio.Event()

    async def visit() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            async with used.lock("c", 3600, wait_time_in_seconds=0.001):
                inside.set()

    async with used.lock("c", 3600):
        task = asyncio.create_task(visit())
        await asyncio.sleep(0)
        task.cancel()
        while len((await used.get_or_create_lock("c")).tickets) < 2:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not task.done()
    await task
    assert inside.is_set()


async def test_nobody_stays_when_every_task_of_the_event_loop_is_cancelled(used: LockStore) -> None:
    """As `asyncio.run` does at its end, which waits for those that it has cancelled, and for no others."""
    before = asyncio.all_tasks()
    for steps in [*range(1, 30), *range(30, 120, 6)]:
        visits = [Visit(used, asyncio.Event().wait) for _ in range(2)]
        for _ in range(steps):
            await asyncio.sleep(0)
        running = asyncio.all_tasks() - before
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert all(visit.task.cancelled() for visit in visits), steps
        assert not await used.is_someone_waiting("c"), steps
        await nothing_is_left(used, before)


async def test_a_lock_that_was_entered_in_a_task_that_has_ended_is_given_back_by_another(used: LockStore) -> None:
    before = asyncio.all_tasks()
    stack = AsyncExitStack()
    await asyncio.create_task(stack.enter_async_context(used.lock("c", 3600)))
    assert await used.is_someone_waiting("c")
    await stack.aclose()
    await nothing_is_left(used, before)
