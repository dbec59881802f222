"""The same as test_cancellation, as a sample, with the real broker and the real daemon."""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import aclosing
from typing import Any

from harness import RabbitMQ
from lockstore.client import LockClient
from tests.client.stand_in import LIMIT_S, StandIn
from tests.conftest import DaemonMaker
from tests.support.proxy import Proxy

PATIENCE_S = 60.0


@types.coroutine
def acting_at(step: int, act: Callable[[], object], work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run a coroutine, and act before it takes this step of its own."""
    resume: Callable[[Any], Any] = work.send
    value: Any = None
    number = 0
    while True:
        if number == step:
            act()
        number += 1
        try:
            waits_for = resume(value)
        except StopIteration as end:
            return end.value
        try:
            value = yield waits_for
            resume = work.send
        except BaseException as error:  # noqa: BLE001 - it goes to the coroutine
            value, resume = error, work.throw


async def use(locks: LockClient) -> None:
    async with locks.lock("talk", wait=PATIENCE_S, lifetime=PATIENCE_S * 10):
        for _ in range(3):
            await asyncio.sleep(0.001)


def tasks() -> set[asyncio.Task[Any]]:
    """Give all tasks but those in which aiormq up to 6.6 reads, a new one for each part of a frame."""
    return {task for task in asyncio.all_tasks() if "readexactly" not in repr(task.get_coro())}


async def cancelled_at(step: int, locks: LockClient) -> bool:
    """Tell whether the call took so many steps."""

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        await acting_at(step, task.cancel, use(locks))

    task = asyncio.create_task(run())
    await asyncio.wait({task})
    return task.cancelled()


async def test_a_cancellation_at_any_step_of_the_task_frees_the_lock(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient, rabbitmq: RabbitMQ
) -> None:
    await start_daemon(config)
    async with LockClient(rabbitmq.url, namespace=config["broker"]["namespace"]) as others, asyncio.timeout(PATIENCE_S):
        await use(others)
        await use(locks)
        await asyncio.sleep(0.1)
        before = tasks()
        step = 0
        while await cancelled_at(step, locks):
            await use(others)  # long before any lease could end
            while not tasks() <= before:  # an answer to a release has a task for a moment
                await asyncio.sleep(0.001)
            step += 1
        print(f"{step} steps")
        assert step >= 5


async def test_a_client_that_is_closed_while_it_connects_leaves_no_task(proxy: Proxy, namespace: str) -> None:
    before = tasks()
    for step in range(40):
        async with asyncio.timeout(PATIENCE_S), LockClient(proxy.url, namespace=namespace):
            for _ in range(step):
                await asyncio.sleep(0.0002)
        serving = {task for task in tasks() if "_serve" in repr(task) or "_pump" in repr(task)}
        assert tasks() - serving <= before


async def test_a_reader_of_events_that_stops_leaves_no_task(daemon: StandIn, locks: LockClient) -> None:
    async with asyncio.timeout(LIMIT_S):
        await locks._opened().reconnector.wait_connected()
    before = tasks()
    for step in range(30):

        async def read(step: int = step) -> None:
            task = asyncio.current_task()
            assert task is not None
            async with aclosing(locks.events()) as events:
                await acting_at(step, task.cancel, anext(events))

        reader = asyncio.create_task(read())
        async with asyncio.timeout(LIMIT_S):
            while not reader.done():
                await daemon.announce("expired", "talk", phase="held", ticket_number=1)
                await asyncio.sleep(0.005)
        await asyncio.sleep(0)
        assert tasks() <= before
