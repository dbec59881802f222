"""`lockstore repartition`: nothing lost and order kept, with publishers running, broken off anywhere, and run again."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from harness import RabbitMQ
from lockstore.client import LockClient
from tests.conftest import DaemonMaker
from tests.partitions.command import repartition, with_partitions
from tests.partitions.talk import Talk, conversations
from tests.partitions.test_number import stands
from tests.support.bot import Bot

FAILING = ("-m", "tests.partitions.failing_repartition")
BACKLOG = 600


class Callers:
    """Tasks that hold locks one after the other through the client, and who was inside when."""

    def __init__(self, url: str, namespace: str, partitions: int) -> None:
        self._locks = LockClient(url, namespace=namespace, partitions=partitions)
        self.numbers: dict[str, list[int]] = defaultdict(list)
        self._inside: set[str] = set()
        self._stopping = False

    async def run(self, callers: int) -> None:
        async with self._locks:
            await asyncio.gather(*(self._call(f"caller-{place % 5}") for place in range(callers)))

    def stop(self) -> None:
        self._stopping = True

    async def _call(self, conversation: str) -> None:
        while not self._stopping:
            # A lease that no busy machine outlasts: nobody is to lose one here. A release that got lost would show as well.
            async with self._locks.lock(conversation, wait=90, lifetime=60) as ticket:
                assert conversation not in self._inside
                self._inside.add(conversation)
                self.numbers[conversation].append(ticket.number)
                await asyncio.sleep(0.01)
                self._inside.discard(conversation)

    def check(self) -> None:
        for numbers in self.numbers.values():
            assert numbers == sorted(set(numbers))


async def ask_on(talk: Talk, names: list[str], stop: asyncio.Event) -> None:
    """Ask in each of these conversations, always waiting to be heard: so it is known what comes after what."""

    async def one(name: str) -> None:
        while not stop.is_set():
            await talk.ask_and_hear(name)

    await asyncio.gather(*map(one, names))


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), [(2, 5), (4, 1)])
async def test_the_number_changes_with_publishers_running_nothing_is_lost_and_order_is_kept(
    old: int,
    new: int,
    rabbitmq: RabbitMQ,
    config: dict[str, Any],
    start_daemon: DaemonMaker,
    bot: Bot,
    namespace: str,
    tmp_path: Path,
) -> None:
    daemon = await start_daemon(with_partitions(config, old))
    callers = Callers(rabbitmq.url, namespace, old)
    calling = asyncio.create_task(callers.run(10))
    async with Talk(bot, old, new) as talk, asyncio.timeout(300):
        stop = asyncio.Event()
        asking = asyncio.create_task(ask_on(talk, [f"asker-{place}" for place in range(10)], stop))
        await asyncio.sleep(0.5)
        await daemon.stop()
        names = conversations(old, each=10)
        for place in range(BACKLOG):  # they wait in the old queues, in this order
            await talk.ask(names[place % len(names)])
        changed = await repartition(with_partitions(config, new), tmp_path, "--yes", "--json")
        assert changed.exit_code == 0, changed.error
        assert changed.told["partitions"] == old
        assert changed.told["changed"]
        assert changed.told["drained"] >= BACKLOG
        daemon.config = with_partitions(config, new)
        await daemon.start()
        await asyncio.sleep(1)
        stop.set()
        callers.stop()
        await asking
        await calling
        await talk.until_over()
        talk.check()
        callers.check()
        assert talk.unroutable, "nothing was published while it changed: the test showed less than it should"
    assert await stands(rabbitmq, namespace, range(8)) == list(range(new))


@pytest.mark.slow
@pytest.mark.timeout(400)  # it starts a process for each step
async def test_killed_between_any_two_steps_it_goes_on_when_it_is_run_again(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str, tmp_path: Path
) -> None:
    daemon = await start_daemon(with_partitions(config, 4))
    await daemon.stop()
    async with Talk(bot, 4, 2) as talk:
        names = conversations(4, each=3)
        for place in range(120):
            await talk.ask(names[place % len(names)])
        wanted = with_partitions(config, 2)
        for point, left in [
            ("unbound", [0, 1, 2, 3]),
            ("drained", [0, 1, 2, 3]),
            ("deleted", [0, 1, 2]),
            ("deleted", [0, 1]),  # which looks as if nothing were left to do, but for the bindings
            ("declared", [0, 1]),
        ]:
            broken = await repartition(wanted, tmp_path, point, program=FAILING)
            assert broken.exit_code == -9, broken.error
            assert await stands(rabbitmq, namespace, range(8)) == left
        finished = await repartition(wanted, tmp_path, "--yes", "--json")
        assert finished.exit_code == 0, finished.error
        daemon.config = wanted
        await daemon.start()
        for name in names:
            await talk.ask(name)
        await talk.until_over()
        talk.check()


async def test_broken_off_before_anything_is_deleted_a_daemon_with_the_old_number_goes_on(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    daemon = await start_daemon(with_partitions(config, 4))
    await daemon.stop()
    broken = await repartition(with_partitions(config, 2), tmp_path, "unbound", program=FAILING)
    assert broken.exit_code == -9
    await daemon.start()
    async with Talk(bot, 4) as talk:
        for name in conversations(4, each=1):
            await talk.ask(name)
        await talk.until_over()
        talk.check()
        assert talk.unroutable == 0


async def test_while_daemons_serve_it_is_refused_and_they_are_named(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, tmp_path: Path
) -> None:
    daemons = [await start_daemon(with_partitions(config, 2)) for _ in range(2)]
    refused = await repartition(with_partitions(config, 3), tmp_path, "--yes", "--json")
    assert refused.exit_code == 1
    assert refused.told["error"].startswith("2 daemons serve this namespace")
    assert {word["pid"] for word in refused.told["daemons"]} == {daemon.pid for daemon in daemons}
    assert all(f"(pid {daemon.pid})" in refused.told["error"] for daemon in daemons)
    assert not refused.told["changed"]
    settled = await repartition(with_partitions(config, 2), tmp_path, "--yes")
    assert settled.exit_code == 0
    assert "There is nothing to change" in settled.said
    await bot.lock(conversations(2, each=1)[0])


async def test_without_yes_it_only_looks(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot, namespace: str, tmp_path: Path
) -> None:
    nothing = await repartition(with_partitions(config, 2), tmp_path, "--yes")
    assert (nothing.exit_code, await stands(rabbitmq, namespace, range(3))) == (0, [])
    assert "has no request queues" in nothing.said
    daemon = await start_daemon(with_partitions(config, 2))
    await daemon.stop()
    await bot.request("c", "r")
    looked = await repartition(with_partitions(config, 1), tmp_path)
    assert looked.exit_code == 0
    assert "Nothing was changed" in looked.said
    told = json.loads((await repartition(with_partitions(config, 1), tmp_path, "--json")).said)
    assert (told["partitions"], told["wanted"], sum(told["messages"].values())) == (2, 1, 1)
    assert await stands(rabbitmq, namespace, range(3)) == [0, 1]


async def test_a_daemon_that_is_started_meanwhile_waits_for_the_end(
    rabbitmq: RabbitMQ, config: dict[str, Any], start_daemon: DaemonMaker, namespace: str
) -> None:
    from daemon.broker import request_queues as layout
    from daemon.broker.connection import connect
    from daemon.config.settings import BrokerSettings
    from lockstore.protocol.naming import Names

    async with connect(BrokerSettings.model_validate({"url": rabbitmq.url})) as connection:
        async with layout.topology_lock(connection, Names(namespace)):
            starting = asyncio.create_task(start_daemon(config))
            await asyncio.sleep(2)
            assert not starting.done()
            assert await stands(rabbitmq, namespace, range(1)) == []
        await starting


def test_a_bad_configuration_is_refused(tmp_path: Path) -> None:
    from subprocess import run
    from sys import executable

    file = tmp_path / "bad.yml"
    file.write_text("broker: {partitions: 0}")
    refused = run(
        [executable, "-m", "daemon", "repartition", "--config", str(file)], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "broker.partitions" in refused.stderr
    assert "Traceback" not in refused.stderr
