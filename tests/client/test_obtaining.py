"""From the question to the turn, against a real RabbitMQ and a daemon played by the test."""

import asyncio

import pytest

from harness import RabbitMQ
from lockstore.client import HeldTicket, LockClient
from lockstore.errors import BusyError, LockError, RefusedError, WaitExpiredError
from tests.client.stand_in import StandIn
from tests.support.proxy import Proxy


async def hold(locks: LockClient, wait: float | None = 30, conversation: str = "talk") -> HeldTicket:
    """Take the lock and give it back at once."""
    async with locks.lock(conversation, wait=wait) as ticket:
        return ticket


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstore.client.call_state.ANSWER_GRACE_S", 0.2)


async def test_a_lock_is_asked_for_granted_and_given_back(daemon: StandIn, locks: LockClient) -> None:
    async def body() -> float:
        async with locks.lock("talk", wait=30, lifetime=60, holder="bot-3") as ticket:
            assert (ticket.number, ticket.conversation_id, ticket.waited) == (7, "talk", 0.0)
            return ticket.expires_at

    task = asyncio.create_task(body())
    request = await daemon.take("request")
    ends_at = await daemon.grant(request)
    assert await task == ends_at
    assert {**request.fields, "request_id": ""} == {
        "type": "request", "conversation_id": "talk", "request_id": "", "wait": 30, "lifetime": 60, "holder": "bot-3",
    }  # fmt: skip
    assert request["request_id"] == request.properties.message_id == request.properties.correlation_id
    assert request.properties.delivery_mode == 2
    assert request.properties.user_id is None
    release = await daemon.take("release")
    assert (release["ticket_number"], release["request_id"]) == (7, request["request_id"])


async def test_each_call_asks_under_an_id_of_its_own(daemon: StandIn, locks: LockClient) -> None:
    tasks = [asyncio.create_task(hold(locks)) for _ in range(3)]
    requests = [await daemon.take("request") for _ in tasks]
    for number, request in enumerate(requests):
        await daemon.grant(request, number)
    tickets = await asyncio.gather(*tasks)
    assert sorted(ticket.number for ticket in tickets) == [0, 1, 2]
    assert len({request["request_id"] for request in requests}) == 3


async def test_a_grant_after_the_caller_was_cancelled_is_given_back(daemon: StandIn, locks: LockClient) -> None:
    task = asyncio.create_task(hold(locks))
    request = await daemon.take("request")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    given_up = await daemon.take("release")
    assert given_up["request_id"] == request["request_id"]
    await daemon.grant(request, number=9)
    again = await daemon.take("release")
    assert (again["request_id"], again["ticket_number"]) == (request["request_id"], 9)


@pytest.mark.usefixtures("short_grace")
async def test_without_an_answer_the_wait_ends_by_the_clients_clock(daemon: StandIn, locks: LockClient) -> None:
    with pytest.raises(WaitExpiredError):
        await hold(locks, wait=0.05)
    request = await daemon.take("request")
    assert (await daemon.take("release"))["request_id"] == request["request_id"]


async def test_a_cut_connection_is_asked_on_again_with_the_same_request_id(
    daemon: StandIn, locks: LockClient, proxy: Proxy
) -> None:
    task = asyncio.create_task(hold(locks))
    first = await daemon.take("request")
    await daemon.say(first, "queued", ticket_number=7, position=1, wait_until=daemon.now + 30)
    proxy.cut()
    second = await daemon.take("request")
    assert second["request_id"] == first["request_id"]
    assert second.properties.reply_to != first.properties.reply_to
    await daemon.grant(second)
    assert (await task).request_id == first["request_id"]


async def all_confirmed(locks: LockClient) -> None:
    """Wait until the broker has confirmed all that the client has published: the other end may see it before."""
    async with asyncio.timeout(20):
        while locks._registry.reconnector.current._channel.confirmations:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_confirmed", [True, False])
async def test_every_waiting_call_asks_again_in_the_order_of_the_first_time(
    daemon: StandIn, locks: LockClient, proxy: Proxy, *, is_confirmed: bool
) -> None:
    tasks = [asyncio.create_task(hold(locks)) for _ in range(5)]
    first = [(await daemon.take("request"))["request_id"] for _ in tasks]
    if is_confirmed:
        await all_confirmed(locks)
    proxy.cut()
    again = [await daemon.take("request") for _ in tasks]
    assert [request["request_id"] for request in again] == first
    for request in again:
        await daemon.grant(request)
    await asyncio.gather(*tasks)


async def test_a_ticket_that_ended_while_the_connection_was_away_is_asked_for_anew(
    daemon: StandIn, locks: LockClient, proxy: Proxy
) -> None:
    task = asyncio.create_task(hold(locks))
    first = await daemon.take("request")
    proxy.cut()
    again = await daemon.take("request")
    await daemon.say(again, "rejected", reason="finished", detail="over", ended="cancelled", ticket_number=7)
    anew = await daemon.take("request")
    assert anew["request_id"] != first["request_id"]
    assert anew["wait"] < 30
    await daemon.grant(anew, number=8)
    assert (await task).number == 8


async def test_another_partition_is_tried_silently_and_remembered(rabbitmq: RabbitMQ, namespace: str) -> None:
    # crc32("talk") mod 4 is 3
    async with (
        StandIn(rabbitmq.url, namespace, partitions=4) as daemon,
        LockClient(rabbitmq.url, namespace=namespace) as locks,
    ):
        task = asyncio.create_task(hold(locks))
        wrong = await daemon.take("request")
        assert wrong.partition == "0"
        await daemon.say(wrong, "rejected", reason="wrong_partition", detail="elsewhere", partitions=4)
        right = await daemon.take("request")
        assert (right.partition, right["request_id"]) == ("3", wrong["request_id"])
        await daemon.grant(right)
        await task
        assert (await daemon.take("release")).partition == "3"
        task = asyncio.create_task(hold(locks))
        request = await daemon.take("request")
        assert request.partition == "3"
        await daemon.grant(request)
        await task


async def test_more_partitions_than_there_are_is_mended_through_the_first(daemon: StandIn, rabbitmq: RabbitMQ) -> None:
    async with LockClient(rabbitmq.url, namespace=daemon.namespace, partitions=4) as locks:
        task = asyncio.create_task(hold(locks))
        request = await daemon.take("request")
        assert request.partition == "0"
        await daemon.grant(request)
        await task
        assert (await daemon.take("release")).partition == "0"


async def test_busy(daemon: StandIn, locks: LockClient) -> None:
    task = asyncio.create_task(hold(locks, wait=0))
    request = await daemon.take("request")
    assert request["wait"] == 0
    await daemon.say(request, "rejected", reason="busy", detail="held", ticket_number=None)
    with pytest.raises(BusyError):
        await task
    assert daemon.untaken("release") == []


async def test_refused(daemon: StandIn, locks: LockClient) -> None:
    task = asyncio.create_task(hold(locks))
    await daemon.say(
        await daemon.take("request"), "rejected", reason="line_full", detail="1000 wait", ticket_number=None
    )
    with pytest.raises(RefusedError) as caught:
        await task
    assert caught.value.reason == "line_full"


async def test_the_daemon_ends_the_wait(daemon: StandIn, locks: LockClient) -> None:
    task = asyncio.create_task(hold(locks))
    await daemon.say(await daemon.take("request"), "expired", phase="waiting", ticket_number=7)
    with pytest.raises(WaitExpiredError):
        await task


async def test_answers_that_nobody_understands_are_skipped(daemon: StandIn, locks: LockClient) -> None:
    task = asyncio.create_task(hold(locks))
    request = await daemon.take("request")
    await daemon.say(request, "sung")
    await daemon.grant(request)
    await task


async def test_a_daemon_that_comes_during_the_wait_is_found(
    rabbitmq: RabbitMQ, namespace: str, locks: LockClient
) -> None:
    task = asyncio.create_task(hold(locks))
    await asyncio.sleep(0.2)
    assert not task.done()
    async with StandIn(rabbitmq.url, namespace) as daemon:
        await daemon.grant(await daemon.take("request"))
        await task
        await daemon.take("release")


async def test_no_daemon_is_said_so(locks: LockClient, namespace: str) -> None:
    with pytest.raises(
        WaitExpiredError,
        match=f"in the namespace '{namespace}': no daemon has declared it, or an exchange or binding was removed",
    ):
        await hold(locks, wait=0)


@pytest.mark.usefixtures("short_grace")
async def test_a_broker_that_is_away_is_said_so_without_the_password(proxy: Proxy, namespace: str) -> None:
    proxy.block()
    url = proxy.url.replace("guest:guest", "guest:s3cret")
    async with LockClient(url, namespace=namespace) as locks:
        assert "s3cret" not in repr(locks)
        with pytest.raises(WaitExpiredError, match="broker") as caught:
            await hold(locks, wait=0.1)
        assert "s3cret" not in str(caught.value)


async def test_closing_fails_what_waits_and_gives_it_up(daemon: StandIn, rabbitmq: RabbitMQ) -> None:
    async with LockClient(rabbitmq.url, namespace=daemon.namespace) as locks:
        task = asyncio.create_task(hold(locks))
        request = await daemon.take("request")
    with pytest.raises(LockError, match="closed"):
        await task
    assert (await daemon.take("release"))["request_id"] == request["request_id"]
    with pytest.raises(LockError, match="the client is closed"):
        await hold(locks)
