"""While the lease lasts, and when it is lost, against a real RabbitMQ and a daemon played by the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from harness import RabbitMQ
from lockstore.client import LockClient
from lockstore.errors import LockLostError
from tests.client.stand_in import LIMIT_S, Received, StandIn
from tests.support.proxy import Proxy


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


class Holder:
    """A task that holds the lock and does something there."""

    def __init__(self, locks: LockClient, work: Callable[[], Awaitable[Any]]) -> None:
        self.entered = asyncio.Event()
        self._locks = locks
        self._work = work
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._locks.lock("talk", wait=30) as ticket:
            self.ticket = ticket
            self.entered.set()
            await self._work()

    async def result(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.task


@asynccontextmanager
async def holding(
    daemon: StandIn, locks: LockClient, lease: float = 60, work: Callable[[], Awaitable[Any]] = for_ever
) -> AsyncIterator[tuple[Holder, Received]]:
    holder = Holder(locks, work)
    request = await daemon.take("request")
    await daemon.grant(request, lease=lease)
    await holder.entered.wait()
    yield holder, request
    holder.task.cancel()
    await asyncio.gather(holder.task, return_exceptions=True)


async def test_the_body_is_stopped_before_the_lease_ends(daemon: StandIn, locks: LockClient) -> None:
    stopped_at = 0.0

    async def work() -> None:
        nonlocal stopped_at
        try:
            await for_ever()
        finally:
            stopped_at = daemon.now

    async with holding(daemon, locks, lease=3, work=work) as (holder, request):
        with pytest.raises(LockLostError, match="not renewed in time"):
            await holder.result()
        assert 0 < stopped_at < holder.ticket.expires_at
        # It may not be over by the daemon's clock: giving it back lets the next one in.
        assert (await daemon.take("release"))["request_id"] == request["request_id"]
    assert len(daemon.untaken("renew")) > 1


async def test_a_wait_in_line_leaves_the_whole_lease(daemon: StandIn, locks: LockClient) -> None:
    holder = Holder(locks, for_ever)
    request = await daemon.take("request")
    await daemon.say(request, "queued", ticket_number=7, position=1, wait_until=daemon.now + 30)
    await asyncio.sleep(2.2)
    await daemon.grant(request, lease=2)  # shorter than the wait was
    await holder.entered.wait()
    renewal = await daemon.take("renew")
    await daemon.renew(renewal)
    holder.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder.result()


async def test_renewals_keep_the_body_running(daemon: StandIn, locks: LockClient) -> None:
    async with holding(daemon, locks, lease=3) as (holder, request):
        first_end = holder.ticket.expires_at
        for _ in range(4):  # each after a third of the lease
            renewal = await daemon.take("renew")
            assert (renewal["ticket_number"], renewal["request_id"]) == (7, request["request_id"])
            ends_at = await daemon.renew(renewal, lease=3)
        assert not holder.task.done()
        assert daemon.now > first_end
        while holder.ticket.expires_at < ends_at:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("expired", {"phase": "held"}),
        ("released", {"held": 1.0, "reason": "forced"}),
        ("cancelled", {"reason": "forced"}),
    ],
)
async def test_what_the_daemon_ends_stops_the_body_at_once(
    daemon: StandIn, locks: LockClient, kind: str, fields: dict[str, Any]
) -> None:
    async with holding(daemon, locks) as (holder, request):
        await daemon.say(request, kind, ticket_number=7, **fields)
        with pytest.raises(LockLostError):
            await holder.result()
    assert daemon.untaken("release") == []


async def test_a_renewal_of_a_finished_ticket_stops_the_body(daemon: StandIn, locks: LockClient) -> None:
    async with holding(daemon, locks, lease=3) as (holder, _):
        renewal = await daemon.take("renew")
        await daemon.say(renewal, "rejected", reason="finished", detail="over", ended="expired")
        with pytest.raises(LockLostError, match="finished"):
            await holder.result()


async def test_the_bodys_own_exception_comes_out_as_it_is(daemon: StandIn, locks: LockClient) -> None:
    async def work() -> None:
        raise ValueError("mine")

    async with holding(daemon, locks, work=work) as (holder, _):
        with pytest.raises(ValueError, match="mine"):
            await holder.result()
        await daemon.take("release")


async def test_the_loss_does_not_mask_the_bodys_own_exception(daemon: StandIn, locks: LockClient) -> None:
    async def work() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            raise ValueError("mine") from None

    async with holding(daemon, locks, work=work) as (holder, request):
        await daemon.say(request, "expired", ticket_number=7, phase="held")
        with pytest.raises(ValueError, match="mine"):
            await holder.result()


async def test_a_timeout_of_the_bodys_own_is_not_taken_for_ours(daemon: StandIn, locks: LockClient) -> None:
    async def work() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            raise TimeoutError("mine") from None

    async with holding(daemon, locks, work=work) as (holder, request):
        await daemon.say(request, "expired", ticket_number=7, phase="held")
        with pytest.raises(TimeoutError, match="mine"):
            await holder.result()


async def test_a_broker_that_is_away_does_not_mask_the_bodys_own_exception(
    daemon: StandIn, locks: LockClient, proxy: Proxy
) -> None:
    async def work() -> None:
        proxy.block()
        raise ValueError("mine")

    async with holding(daemon, locks, work=work) as (holder, _):
        with pytest.raises(ValueError, match="mine"):
            await holder.result()


async def test_a_body_that_outlives_its_lease_is_told(daemon: StandIn, locks: LockClient) -> None:
    async def work() -> None:
        with suppress(asyncio.CancelledError):  # ignores the loss, and ends as if nothing had been
            await for_ever()

    async with holding(daemon, locks, work=work) as (holder, request):
        await daemon.say(request, "expired", ticket_number=7, phase="held")
        with pytest.raises(LockLostError):
            await holder.result()


async def test_an_outside_cancellation_stays_one(daemon: StandIn, locks: LockClient) -> None:
    async with holding(daemon, locks) as (holder, _):
        holder.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder.task
        assert holder.task.cancelled()
        await daemon.take("release")


async def test_after_a_reconnect_the_lease_is_renewed_and_then_its_address(
    daemon: StandIn, locks: LockClient, proxy: Proxy
) -> None:
    async with holding(daemon, locks) as (holder, request):
        proxy.cut()
        renewal = await daemon.take("renew")  # long before a third of the lease
        assert renewal.properties.reply_to != request.properties.reply_to
        assert daemon.untaken("request") == []
        await daemon.renew(renewal)
        again = await daemon.take("request")
        assert again["request_id"] == request["request_id"]
        assert again.properties.reply_to == renewal.properties.reply_to
        await daemon.say(again, "expired", ticket_number=7, phase="held")
        with pytest.raises(LockLostError):
            await holder.result()


async def test_a_lock_left_while_the_broker_is_away_is_given_back_later(
    daemon: StandIn, locks: LockClient, proxy: Proxy
) -> None:
    async def work() -> None:
        proxy.block()

    async with holding(daemon, locks, work=work) as (holder, request):
        await holder.result()
        proxy.unblock()
        assert (await daemon.take("release"))["request_id"] == request["request_id"]


async def test_a_cancellation_while_giving_back_does_not_lose_the_release(
    daemon: StandIn, locks: LockClient, proxy: Proxy
) -> None:
    async def work() -> None:
        proxy.cut()  # the client notices only after it has written the release
        asyncio.get_running_loop().call_soon(holder.task.cancel)

    holder = Holder(locks, work)
    request = await daemon.take("request")
    await daemon.grant(request)
    with pytest.raises(asyncio.CancelledError):
        await holder.result()
    assert (await daemon.take("release"))["request_id"] == request["request_id"]


async def test_without_a_broker_the_body_is_stopped_before_the_lease_ends(
    daemon: StandIn, locks: LockClient, proxy: Proxy
) -> None:
    async with holding(daemon, locks, lease=3) as (holder, _):
        proxy.block()
        with pytest.raises(LockLostError):
            await holder.result()
        assert daemon.now < holder.ticket.expires_at


async def test_closing_stops_the_body_and_gives_back(daemon: StandIn, rabbitmq: RabbitMQ) -> None:
    async with LockClient(rabbitmq.url, namespace=daemon.namespace) as locks:
        holder = Holder(locks, for_ever)
        request = await daemon.take("request")
        await daemon.grant(request)
        await holder.entered.wait()
    with pytest.raises(LockLostError, match="closed"):
        await holder.result()
    assert (await daemon.take("release"))["request_id"] == request["request_id"]
