"""`QueueLockStore`, created by Rasa's own factory, with a real daemon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from lockstore.client import LockClient
from lockstore.errors import BusyError
from lockstore.errors import LockError as OurLockError
from tests.conftest import DaemonMaker
from tests.rasa.conftest import Rasa

LIMIT_S = 90.0


@pytest_asyncio.fixture
async def section(rasa: Rasa, config: dict[str, Any], start_daemon: DaemonMaker) -> AsyncIterator[dict[str, Any]]:
    """Start a daemon, and return the section of a bot of its."""
    await start_daemon(config)
    broker = config["broker"]
    yield {"type": "lockstore.rasa.QueueLockStore", "url": broker["url"], "namespace": broker["namespace"]}
    from lockstore.rasa.shared import close_all

    await close_all()


async def test_messages_of_one_conversation_are_handled_one_by_one_in_the_order_of_their_arrival(
    rasa: Rasa, section: dict[str, Any]
) -> None:
    stores = [rasa.create(section) for _ in range(2)]  # the second one as after `PUT /model`
    inside: list[int] = []
    numbers: list[int] = []

    async def handle(message: int) -> None:
        async with stores[message % 2].lock("user-42") as lock:
            inside.append(message)
            assert not lock.is_locked(lock.number)
            await asyncio.sleep(0.005)
            assert inside[-1] == message
            numbers.append(lock.now_serving)

    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(handle(message) for message in range(20)))
    assert inside == list(range(20))
    assert numbers == sorted(set(numbers))


async def test_a_lock_that_is_not_obtained_or_lost_is_rasas_lock_error_and_errors_of_the_body_stay_their_own(
    rasa: Rasa, section: dict[str, Any]
) -> None:
    rasas_error = rasa.lock_store.LockError
    store, impatient = rasa.create(section), rasa.create({**section, "wait": "0"})
    nobody = rasa.create({**section, "namespace": f"{section['namespace']}x", "wait": 0.05})
    async with asyncio.timeout(LIMIT_S):
        async with store.lock("user-42"):
            with pytest.raises(rasas_error, match=r"user-42.*held") as caught:
                await impatient.lock("user-42").__aenter__()
            assert isinstance(caught.value.__cause__, BusyError)
        with pytest.raises(rasas_error, match="no daemon has declared it"):
            await nobody.lock("user-42").__aenter__()
        for error in (KeyError("slot"), OurLockError("another lock of the body's")):
            with pytest.raises(type(error)) as kept:
                async with store.lock("user-42"):
                    raise error
            assert kept.value is error
        async with LockClient(section["url"], namespace=section["namespace"]) as locks:
            with pytest.raises(rasas_error, match="lease ended"):
                async with store.lock("user-42") as lock:
                    await _take_away(lock)
            async with locks.lock("user-42", wait=LIMIT_S):
                pass  # nothing is left of it


async def _take_away(lock: Any) -> None:
    """Let the client find that the lease has ended, as it does when it could not be renewed."""
    lock.ticket._call.lose("it expired")
    lock.ticket._call.ends_at = 0.0
    await asyncio.sleep(0)


async def test_any_sender_has_a_lock_of_its_own(rasa: Rasa, section: dict[str, Any]) -> None:
    store = rasa.create(section)
    odd = ["", "x" * 5000, "x" * 5001, "\u00fc" * 101, "line\nend", "\x00", "\x9f", "\ud800", "a b:{c}*", "\U0001f600"]
    async with asyncio.timeout(LIMIT_S), AsyncExitStack() as all_at_once:
        for sender_id in odd:
            lock = await all_at_once.enter_async_context(store.lock(sender_id))
            assert lock.conversation_id == sender_id


async def test_the_lease_is_the_variables_and_the_wait_the_daemons_unless_they_are_named(
    rasa: Rasa, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKET_LOCK_LIFETIME", "37")
    of_variable = rasa.create(section)
    of_section = rasa.create({**section, "lifetime": "41", "holder": "bot-3"})
    monkeypatch.setenv("TICKET_LOCK_LIFETIME", "0")
    of_daemon = rasa.create(section)

    holders: list[str | None] = []

    async def lease(store: Any, **arguments: float) -> float:
        async with store.lock("user-42", **arguments) as lock:
            granted = lock.ticket._call.granted
            assert lock.ticket._call.params.wait is None
            holders.append(granted.holder)
            return float(round(granted.expires_at - granted.at, 3))

    async with asyncio.timeout(LIMIT_S):
        assert await lease(of_variable) == 37
        assert await lease(of_section) == 41
        assert await lease(of_daemon) == 60
        assert await lease(of_variable, lock_lifetime=43, wait_time_in_seconds=1) == 43
    assert holders[1] == "bot-3"


async def test_stores_of_one_loop_and_address_share_a_client_which_closes_when_it_is_not_used_and_opens_again(
    rasa: Rasa, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = rasa.create(section), rasa.create({**section, "wait": 20})
    opened: list[LockClient] = []
    open_ = LockClient.open

    async def noted(client: LockClient) -> None:
        opened.append(client)
        await open_(client)

    monkeypatch.setattr(LockClient, "open", noted)
    async with asyncio.timeout(LIMIT_S):
        async with first.lock("a"), second.lock("b"):
            assert len(opened) == 1
            closing = asyncio.create_task(first.close())
            await asyncio.sleep(0)
            assert not closing.done()
        await closing
        async with second.lock("a"):
            assert len(opened) == 2
