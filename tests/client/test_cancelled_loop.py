"""Every task of the event loop is cancelled, as `asyncio.run` does at its end: nobody stays in line."""

import asyncio
import signal
import sys
from typing import Any

import pytest

from harness import RabbitMQ
from lockstore.client import LockClient
from lockstore.errors import LockError
from tests.client.fake_broker import FakeBroker, steps
from tests.client.stand_in import StandIn

STEPS = [*range(1, 60), *range(60, 200, 10)]
SETTLED = 60  # steps in which everything that is on its way arrives


async def hold(locks: LockClient) -> None:
    async with locks.lock("talk", wait=30):
        await asyncio.Event().wait()


async def hold_in_a_client_of_its_own() -> None:
    async with LockClient("amqp://localhost/") as locks, asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(locks))
        tasks.create_task(hold(locks))


async def cancel_all_but(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Do what `asyncio.run` does: cancel those that are there now, and wait for them."""
    tasks = list(asyncio.all_tasks() - before)
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks, return_exceptions=True)
    return tasks


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[FakeBroker]:
    made: list[FakeBroker] = [FakeBroker()]

    def open_connection(*given: Any) -> Any:
        return made[0].open(*given)

    monkeypatch.setattr("lockstore.client.reconnect.open_connection", open_connection)
    monkeypatch.setattr("lockstore.client.reconnect.RECONNECT_FIRST_S", 0.0)
    return made


@pytest.mark.parametrize("how", ["open", "with"])
async def test_nobody_stays_in_line_whichever_step_it_is(fakes: list[FakeBroker], how: str) -> None:
    before = asyncio.all_tasks()
    for step in STEPS:
        fakes[0] = broker = FakeBroker()
        locks = LockClient("amqp://localhost/")
        if how == "open":
            await locks.open()
            started = [asyncio.create_task(hold(locks)) for _ in range(2)]
        else:
            started = [asyncio.create_task(hold_in_a_client_of_its_own())]
        await steps(step)
        ended = await cancel_all_but(before)
        assert set(started) <= set(ended)
        assert all(task.cancelled() for task in started), step
        await steps(SETTLED)
        assert broker.line == [], f"cancelled at step {step}"
        if how == "open":
            with pytest.raises(LockError, match="cancelled from outside"):
                await hold(locks)
            await locks.close()
        assert asyncio.all_tasks() == before


async def test_without_a_broker_it_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstore.client.registry.GIVE_BACK_LIMIT_S", 0.1)
    before = asyncio.all_tasks()
    locks = LockClient("amqp://127.0.0.1:1/")
    await locks.open()
    asyncio.create_task(hold(locks))  # noqa: RUF006 - found again by `all_tasks`
    await steps(5)
    await cancel_all_but(before)
    assert asyncio.all_tasks() == before


PROGRAM = """
import asyncio, sys
from lockstore.client import LockClient

async def hold(locks, name):
    async with locks.lock(name, wait=60):
        print("holds", flush=True)
        await asyncio.Event().wait()

async def main():
    locks = LockClient(sys.argv[1], namespace=sys.argv[2])
    await locks.open()
    tasks = [asyncio.create_task(hold(locks, name)) for name in ("held", "waited")]
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_program_that_is_interrupted_gives_back_what_it_holds_and_waits_for(
    rabbitmq: RabbitMQ, namespace: str
) -> None:
    async with StandIn(rabbitmq.url, namespace) as daemon:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, rabbitmq.url, namespace, stdout=asyncio.subprocess.PIPE
        )
        try:
            asked = {}
            for _ in range(2):
                request = await daemon.take("request")
                asked[request["conversation_id"]] = request
            await daemon.grant(asked["held"])
            assert program.stdout is not None
            assert await program.stdout.readline() == b"holds\n"
            program.send_signal(signal.SIGINT)
            released = [await daemon.take("release") for _ in range(2)]
            assert {each["request_id"] for each in released} == {each["request_id"] for each in asked.values()}
            async with asyncio.timeout(30):
                assert await program.wait() != 0  # KeyboardInterrupt
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()
