"""The rights at RabbitMQ that docs/operations.md names are enough for the daemon, for the client and for a follower."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import aio_pika
import pytest
from aiormq.exceptions import ChannelAccessRefused

from harness import RabbitMQ
from lockstore.client import LockClient
from tests.conftest import DaemonMaker
from tests.docs.pages import CHECKOUT, blocks
from tests.support.bot import PATIENCE_S

PAGE = CHECKOUT / "docs" / "operations.md"
_COMMAND = re.compile(r"rabbitmqctl set_permissions -p / (\S+) '(.*?)' '(.*?)' '(.*?)'")
_USERS = [found.groups() for block in blocks("sh", PAGE) for found in _COMMAND.finditer(block.text)]

Allow = Callable[[str], Awaitable[str]]


@pytest.fixture
def allow(rabbitmq: RabbitMQ, namespace: str) -> Allow:
    """Make a user with the rights that the page gives it, in this test's namespace, and give the URL to connect with."""
    rights = {user: patterns for user, *patterns in _USERS}

    async def make(user: str) -> str:
        name = f"{namespace}-{user}"
        patterns = [pattern.replace("lockstore", namespace) for pattern in rights[user]]
        await rabbitmq.ctl("add_user", name, "secret")
        await rabbitmq.ctl("set_permissions", "-p", "/", name, *patterns)
        return rabbitmq.url.replace("guest:guest", f"{name}:secret")

    return make


async def test_with_the_rights_of_the_page_a_daemon_serves_and_clients_lock_and_follow(
    config: dict[str, Any], namespace: str, allow: Allow, start_daemon: DaemonMaker
) -> None:
    config["broker"]["url"] = await allow("lockstore")
    await start_daemon(config)
    async with (
        LockClient(await allow("bot"), namespace=namespace) as locks,
        LockClient(await allow("follower"), namespace=namespace) as followers,
    ):

        async def first_heard() -> str | None:
            async with aclosing(followers.events("released")) as events:
                return (await anext(events)).conversation_id

        hearing = asyncio.create_task(first_heard())
        async with asyncio.timeout(PATIENCE_S):
            while not hearing.done():  # it may have to subscribe first
                async with locks.lock("user-42", wait=10):
                    pass
        assert await hearing == "user-42"


@pytest.mark.parametrize("user", ["bot", "follower"])
async def test_they_let_nobody_else_read_requests(
    user: str, config: dict[str, Any], namespace: str, allow: Allow, start_daemon: DaemonMaker
) -> None:
    await start_daemon(config)
    async with await aio_pika.connect(await allow(user)) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(f"{namespace}.requests.0", ensure=False)
        with pytest.raises(ChannelAccessRefused):
            await queue.get(fail=False)
