"""What a bot's developer reads with plain `logging`: one line for each step, and why there is no connection."""

import asyncio
import logging
import os
import re

import pytest

from lockstore.client import LockClient
from lockstore.errors import BrokerLostError, LockLostError, WaitExpiredError
from tests.client.fake_broker import FakeBroker

URL = "amqp://guest:secret@localhost:5672/"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        re.sub(r"[0-9a-f]{32}", "ID", each.getMessage()) for each in caplog.records if each.name == "lockstore.client"
    ]


async def test_each_step_of_a_call_is_a_debug_line(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "lockstore"):
        async with LockClient(URL) as locks:
            async with locks.lock("user-42"):
                assert locks._registry is not None
                locks._registry.connected()  # it renews at once
                while not any(line.startswith("renewed") for line in lines(caplog)):
                    await asyncio.sleep(0.001)
            broker.lease_s, broker.is_silent = 0.3, True
            with pytest.raises(LockLostError):
                async with locks.lock("user-42"):
                    await asyncio.sleep(3600)
    said = [line for number, line in enumerate(lines(caplog)) if line not in lines(caplog)[:number]]
    assert said == [
        "requested: the lock of 'user-42' (request ID)",
        "granted: the lock of 'user-42', ticket 1, after 0.0 s (request ID)",
        "renewed: the lock of 'user-42', ticket 1 (request ID)",
        "released: the lock of 'user-42' (request ID)",
        "granted: the lock of 'user-42', ticket 2, after 0.0 s (request ID)",
        "lost: the lock of 'user-42': it was not renewed in time (request ID)",
    ]


async def test_a_broker_that_refuses_is_named_with_the_reason_and_the_next_try(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BrokerLostError("RabbitMQ rejected the credentials of user guest")

    monkeypatch.setattr("lockstore.client.reconnect.open_connection", refuse)
    monkeypatch.setattr("lockstore.amqp.hosts.BrokerHosts.has_untried", False)
    with caplog.at_level(logging.WARNING, "lockstore"):
        async with LockClient(URL):
            while not caplog.records:
                await asyncio.sleep(0.001)
    assert re.fullmatch(
        r"cannot connect to localhost:5672 \(vhost /, user guest\): RabbitMQ rejected the credentials of user guest;"
        r" next try in 0\.\d s",
        caplog.records[0].getMessage(),
    )
    assert "secret" not in caplog.text


async def test_a_daemon_that_says_nothing_is_asked_after(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockstore.client.call_state.ANSWER_GRACE_S", 0.1)
    monkeypatch.setattr(broker, "take", lambda *_: None)
    async with LockClient(URL) as locks:
        with pytest.raises(WaitExpiredError, match=r"no daemon has answered; is one running\?"):
            async with locks.lock("user-42", wait=0.1):
                pass


async def test_a_holder_is_named_by_the_call_the_client_or_the_process(broker: FakeBroker) -> None:
    holders: list[str] = []
    take = broker.take

    def note(message: dict[str, str], *rest: object) -> None:
        if message["type"] == "request":
            holders.append(message["holder"])
        take(message, *rest)  # type: ignore[arg-type]

    broker.take = note  # type: ignore[assignment,method-assign]
    async with LockClient(URL, holder="bot-3") as locks:
        async with locks.lock("user-42"):
            pass
        async with locks.lock("user-42", holder="job-7"):
            pass
    async with LockClient(URL) as locks, locks.lock("user-42"):
        pass
    assert holders[:2] == ["bot-3", "job-7"]
    assert re.fullmatch(rf".+@.+:{os.getpid()}", holders[2])
