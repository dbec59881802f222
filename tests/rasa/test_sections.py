"""The section of `endpoints.yml`: what each of the stores takes, and how it refuses."""

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest

from harness import RedisServer
from lockstore.errors import ConfigError
from tests.rasa.conftest import Rasa

QUEUE = "lockstore.rasa.QueueLockStore"
URL = "amqp://guest:secret@localhost/"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "lock_store.url: is required"),
        ({"url": ""}, "lock_store.url: is required"),
        ({"url": "redis://localhost"}, "lock_store.url: "),
        ({"url": URL, "namespaec": "a"}, "lock_store.namespaec: is unknown; did you mean namespace?"),
        ({"url": URL, "host": "a"}, r"lock_store.host: is unknown \(known: url,"),
        ({"url": URL, "wait": "soon"}, "lock_store.wait: must be a number"),
        ({"url": URL, "wait": -1}, "lock_store.wait: must be a number, 0 or more"),
        ({"url": URL, "wait": True}, "lock_store.wait: must be a number"),
        ({"url": URL, "lifetime": 0}, "lock_store.lifetime: must be more than 0"),
        ({"url": URL, "lifetime": "inf"}, "lock_store.lifetime: must be a number, 0 or more, and finite"),
        ({"url": URL, "lifetime": 10**400}, "lock_store.lifetime: must be a number"),
        ({"url": URL, "partitions": 1.5}, "lock_store.partitions: must be a whole number"),
        ({"url": URL, "partitions": 0}, "lock_store.partitions: must be a whole number"),
        ({"url": URL, "connect_timeout": [1]}, "lock_store.connect_timeout: must be a number"),
        ({"url": URL, "namespace": 7}, "lock_store.namespace: must be a text"),
        ({"url": URL, "cafile": "/ca.pem"}, "lock_store.cafile: has no effect here; it belongs into RabbitMQ's URL"),
        ({"url": URL, "basic_auth": {"username": "a"}}, "lock_store.basic_auth: has no effect here"),
    ],
)
def test_a_section_that_cannot_be_is_refused_when_the_server_starts(
    rasa: Rasa, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        rasa.create({"type": QUEUE, **section})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_a_lifetime_variable_that_is_no_number_is_refused(
    rasa: Rasa, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TICKET_LOCK_LIFETIME", value)
    with pytest.raises(ConfigError, match="TICKET_LOCK_LIFETIME in the environment: must be a number"):
        rasa.create({"type": QUEUE, "url": URL})


def test_a_store_is_one_of_rasas_needs_no_event_loop_and_logs_under_rasa(
    rasa: Rasa, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="rasa"):
        store = rasa.create({"type": QUEUE, "url": URL, "partitions": "4", "wait": "2.5"})
        logging.getLogger("lockstore.client.reconnect").info("a line of the client")
    assert isinstance(store, rasa.lock_store.LockStore)
    assert {record.name for record in caplog.records} >= {"rasa.lockstore", "rasa.lockstore.client.reconnect"}
    assert all(record.name.startswith("rasa") for record in caplog.records)
    assert "secret" not in caplog.text
    with pytest.raises(NotImplementedError, match="QueueLockStore has `lock` alone"):
        store.get_lock("user-42")


def test_without_rasa_the_package_is_imported_and_a_store_is_refused_in_one_sentence() -> None:
    program = """
import lockstore.rasa
from lockstore.errors import ConfigError
for name in ("QueueLockStore", "RedisLockStore", "ConcurrentRedisLockStore"):
    try:
        getattr(lockstore.rasa, name)(endpoint_config=None)
    except ConfigError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("is for a Rasa server, and Rasa cannot be imported here" in line for line in lines)


@pytest.mark.parametrize("name", ["RedisLockStore", "ConcurrentRedisLockStore"])
async def test_a_direct_store_takes_turns_in_redis(
    rasa: Rasa, redis_server: RedisServer, namespace: str, name: str
) -> None:
    store = rasa.create(
        {
            "type": f"lockstore.rasa.{name}",
            "url": redis_server.host,
            "port": str(redis_server.port),
            "key_prefix": namespace,
        }
    )
    inside: list[int] = []

    async def handle(message: int) -> None:
        async with store.lock("user\n42"):
            inside.append(message)
            await asyncio.sleep(0.005)
            assert inside[-1] == message

    async with asyncio.timeout(60):
        await asyncio.gather(*(handle(message) for message in range(10)))
        assert inside == list(range(10))
        number = await store.issue_ticket("user\n42", 30)
        assert await store.is_someone_waiting("user\n42")
        if name == "RedisLockStore":  # Rasa's own lock store, on the same server, sees it
            rasas = rasa.create(
                {"type": "redis", "url": redis_server.host, "port": redis_server.port, "key_prefix": namespace}
            )
            assert rasas.get_lock("user\n42").last_issued == number
        with pytest.raises(rasa.lock_store.LockError, match="The lock of conversation"):
            await store.lock("user\n42", lock_lifetime=0.05, wait_time_in_seconds=0.01).__aenter__()
        await store.cleanup("user\n42", number)
        assert await store.get_lock("user\n42") is None
        await store.close()


def test_a_direct_store_beside_an_older_redis_py_says_what_it_needs(
    rasa: Rasa, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lockstore.rasa import direct_stores

    monkeypatch.setattr(direct_stores, "version", lambda _: "4.6.0")
    with pytest.raises(ConfigError, match=r"needs Python 3.11 and redis-py 8.1 or newer.*redis-py 4.6.0"):
        rasa.create({"type": "lockstore.rasa.ConcurrentRedisLockStore", "url": "localhost"})
