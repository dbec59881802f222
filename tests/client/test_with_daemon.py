"""The client and the real daemon together."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from harness import RabbitMQ
from lockstore.client import LockClient
from lockstore.errors import BusyError, LockLostError, WaitExpiredError
from lockstore.protocol.messages import GrantedMessage
from tests.conftest import DaemonMaker
from tests.support.proxy import Proxy

LIMIT_S = 30.0


class Register:
    """Who was inside, in order; two at once are an error."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._inside = 0

    async def visit(self, locks: LockClient, conversation: str = "talk", lifetime: float = 30) -> None:
        async with locks.lock(conversation, wait=LIMIT_S, lifetime=lifetime) as ticket:
            self._inside += 1
            assert self._inside == 1
            self.numbers.append(ticket.number)
            await asyncio.sleep(0.005)
            self._inside -= 1


async def test_twenty_tasks_on_one_conversation_go_one_by_one_in_order(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient
) -> None:
    await start_daemon(config)
    register = Register()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(register.visit(locks) for _ in range(20)))
    assert register.numbers == sorted(set(register.numbers))
    assert len(register.numbers) == 20


async def test_several_clients_share_one_line(
    config: dict[str, Any], start_daemon: DaemonMaker, proxy: Proxy, namespace: str
) -> None:
    await start_daemon(config)
    register = Register()
    async with AsyncExitStack() as stack, asyncio.timeout(LIMIT_S):
        clients = [await stack.enter_async_context(LockClient(proxy.url, namespace=namespace)) for _ in range(4)]
        await asyncio.gather(*(register.visit(client) for client in clients * 5))
    assert register.numbers == sorted(set(register.numbers))


async def test_cut_connections_cost_nobody_the_turn(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient, proxy: Proxy
) -> None:
    await start_daemon(config)
    register = Register()

    async def cut() -> None:
        for _ in range(5):
            await asyncio.sleep(0.1)
            proxy.cut()

    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(cut(), *(register.visit(locks, lifetime=2) for _ in range(60)))
    assert len(register.numbers) == 60
    assert register.numbers == sorted(set(register.numbers))


async def test_a_client_that_expects_too_many_partitions_is_served(
    config: dict[str, Any], start_daemon: DaemonMaker, proxy: Proxy, namespace: str
) -> None:
    config["broker"]["partitions"] = 2
    await start_daemon(config)
    async with LockClient(proxy.url, namespace=namespace, partitions=7) as locks, asyncio.timeout(LIMIT_S):
        for number in range(20):
            await Register().visit(locks, f"talk-{number}")


async def test_a_client_that_expects_one_partition_is_served(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient
) -> None:
    config["broker"]["partitions"] = 3
    await start_daemon(config)
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(Register().visit(locks, f"talk-{number}") for number in range(20)))


async def test_who_will_not_wait_is_told_that_it_is_busy(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient
) -> None:
    await start_daemon(config)
    async with locks.lock("talk", wait=LIMIT_S):
        with pytest.raises(BusyError):
            async with locks.lock("talk", wait=0):
                pytest.fail("nobody else may be inside")
        with pytest.raises(WaitExpiredError):
            async with locks.lock("talk", wait=0.2):
                pytest.fail("nobody else may be inside")


async def test_a_short_lease_is_held_as_long_as_the_body_runs(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient
) -> None:
    await start_daemon(config)
    async with locks.lock("talk", wait=LIMIT_S, lifetime=2) as ticket:
        first_end = ticket.expires_at
        while ticket.expires_at < first_end + 2.5:
            await asyncio.sleep(0.05)


async def test_a_holder_without_a_broker_stops_before_the_next_one_begins(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient, proxy: Proxy, rabbitmq: RabbitMQ
) -> None:
    await start_daemon(config)
    loop = asyncio.get_running_loop()
    entered = asyncio.Event()
    stopped_at = 0.0

    async def cut_off() -> None:
        nonlocal stopped_at
        async with locks.lock("talk", wait=LIMIT_S, lifetime=3):
            proxy.block()
            entered.set()
            try:
                await loop.create_future()
            finally:
                stopped_at = loop.time()

    async with LockClient(rabbitmq.url, namespace=config["broker"]["namespace"]) as others, asyncio.timeout(LIMIT_S):
        task = asyncio.create_task(cut_off())
        await entered.wait()
        async with others.lock("talk", wait=LIMIT_S):
            begun_at = loop.time()
        with pytest.raises(LockLostError):
            await task
    assert 0 < stopped_at < begun_at


async def test_its_own_grants_are_heard_as_public_events(
    config: dict[str, Any], start_daemon: DaemonMaker, locks: LockClient
) -> None:
    await start_daemon(config)
    register = Register()

    async def visit_for_ever() -> None:
        while True:
            await register.visit(locks)

    async with aclosing(locks.events("granted", conversation="talk")) as events, asyncio.timeout(LIMIT_S):
        visiting = asyncio.create_task(visit_for_ever())
        heard = []
        async for event in events:
            assert isinstance(event, GrantedMessage)
            heard.append(event.ticket_number)
            if len(heard) == 10:
                break
        visiting.cancel()
        await asyncio.gather(visiting, return_exceptions=True)
    assert heard == list(range(heard[0], heard[0] + 10))
