"""Calls ask in the order in which they were made, at whatever step of the event loop the connection comes or goes."""

import asyncio
from typing import Any

import pytest

from lockstore.client import LockClient
from lockstore.client.waiting_line import WaitingLine
from tests.client.fake_broker import FakeBroker, steps

STEPS = 12  # until all have asked: the connection comes in the third
LIMIT_S = 60


class Asked(FakeBroker):
    """A broker that notes who asked, in order; what is under way when a connection is lost is lost with it."""

    def __init__(self) -> None:
        super().__init__()
        self.conversations: list[str] = []

    def take(self, message: dict[str, Any], name: str, to: Any) -> None:
        if to.is_lost.is_set():
            return
        if message["type"] == "request":
            self.conversations.append(message["conversation_id"])
        super().take(message, name, to)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr("lockstore.client.reconnect.open_connection", made.open)
    monkeypatch.setattr("lockstore.client.reconnect.RECONNECT_FIRST_S", 0.0)
    return made


async def ask(locks: LockClient, conversation: str) -> None:
    async with locks.lock(conversation, wait=30):
        pass


@pytest.mark.parametrize("step", range(STEPS))
async def test_a_later_call_does_not_overtake_those_that_waited_for_the_connection(broker: Asked, step: int) -> None:
    async with asyncio.timeout(LIMIT_S), LockClient("amqp://fake") as locks, asyncio.TaskGroup() as calls:
        for name in ("first", "second"):
            calls.create_task(ask(locks, name))
        await steps(step)
        calls.create_task(ask(locks, "later"))
    assert broker.conversations == ["first", "second", "later"]


@pytest.mark.parametrize("step", range(STEPS))
async def test_a_connection_that_is_lost_does_not_change_the_order(broker: Asked, step: int) -> None:
    names = [str(number) for number in range(9)]
    async with asyncio.timeout(LIMIT_S), LockClient("amqp://fake") as locks, asyncio.TaskGroup() as calls:
        for name in names:
            calls.create_task(ask(locks, name))
        await steps(step)
        if broker.current:
            broker.current.mark_failed()
    assert list(dict.fromkeys(broker.conversations)) == names


async def test_whoever_leaves_the_line_lets_the_next_one_go_on() -> None:
    line, gone = WaitingLine(), list[str]()

    async def wait(name: str, place: float) -> None:
        await line.wait(place)
        gone.append(name)

    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as waiting:
        tasks = [waiting.create_task(wait(f"{place}", place)) for place in (3.0, 1.0, 2.0, 0.0)]
        await steps(2)
        tasks[2].cancel()
        await steps(2)
        line.open()
        tasks[3].cancel()  # in the moment in which it is its turn
    assert gone == ["1.0", "3.0"]
    assert not line.is_taken
