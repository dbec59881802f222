"""A real systemd starts, feeds, restarts and stops the installed service, in its sandbox.

One machine, one installation and one daemon for all: each test leaves it serving.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml

from harness import RabbitMQ, RedisServer
from harness.ports import free_port
from tests.conftest import shared_config
from tests.support.bot import Bot
from tests.systemd.machine import CHECKOUT, Machine, why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]
IN_ITS_LOOP = pytest.mark.asyncio(loop_scope="module")

UNIT = "lockstore.service"
CONFIG = "/etc/lockstore/lockstore.yml"
NAMESPACE = f"t{uuid.uuid4().hex[:12]}"


class Host(Machine):
    """A machine with the service installed, and its configuration."""

    config: dict[str, Any]
    port = free_port()

    def configure(self, path: str = CONFIG, **daemon: Any) -> None:
        """Write a configuration, in which the broker's URL is a credential."""
        config = self.config | {"daemon": {"http": f"127.0.0.1:{self.port}", **daemon}}
        self.write(path, yaml.safe_dump(config), mode="640")
        self.run("chgrp", "lockstore", path)

    def pid(self, unit: str = UNIT) -> int:
        """Give the main process, by the number that it has there."""
        return int(self.property_of(unit, "MainPID"))

    def status_of(self, pid: int) -> dict[str, str]:
        """Read what the kernel says of a process."""
        lines = self.run("cat", f"/proc/{pid}/status").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def inside(self, pid: int, *argv: str) -> tuple[int, str]:
        """Run a command with the files, processes and users that a service sees."""
        done = self.ran("nsenter", "--target", str(pid), "--mount", "--pid", "--", *argv, check=False)
        return done.returncode, done.stdout + done.stderr

    async def reload(self) -> None:
        """Have the file read again, and wait until it is in force."""
        before = self.journal(UNIT).count("daemon.ready")
        self.run("systemctl", "reload", UNIT)
        end = time.monotonic() + 60
        while self.journal(UNIT).count("daemon.ready") == before:
            assert time.monotonic() < end, self.journal(UNIT)
            await asyncio.sleep(0.05)

    async def becomes(self, name: str, value: str, unit: str = UNIT) -> None:
        """Wait until systemd says this of a unit."""
        end = time.monotonic() + 60
        while (seen := self.property_of(unit, name)) != value:
            assert time.monotonic() < end, f"{name} is {seen}:\n{self.journal(unit)}"
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(
    rabbitmq: RabbitMQ, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Host]:
    """Boot, install, and start the service."""
    machine = Host(tmp_path_factory.mktemp("machine"))
    await machine.start()
    try:
        said = machine.run(str(CHECKOUT / "scripts" / "install"))
        assert "systemctl enable --now lockstore" in said
        machine.config = shared_config(rabbitmq, redis_server, NAMESPACE)
        machine.write("/etc/credstore/lockstore.broker_url", machine.config["broker"]["url"] + "\n", mode="600")
        machine.config["broker"]["url"] = "${credential:lockstore.broker_url}"
        machine.configure()
        # The shortest patience that a busy machine can keep; the unit's own would make the tests wait for half a minute.
        machine.write(f"/etc/systemd/system/{UNIT}.d/test.conf", "[Service]\nWatchdogSec=5\nRestartSec=0\n")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", UNIT)
        yield machine
    finally:
        await machine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(rabbitmq: RabbitMQ) -> AsyncIterator[Bot]:
    async with Bot(rabbitmq.url, NAMESPACE) as connected:
        yield connected


async def serves(bot: Bot) -> int:
    """Take and give back a lock, and give the ticket's number."""
    number: int = (await bot.lock("c"))["ticket_number"]
    await bot.release("c", ticket_number=number)
    await bot.expect("released", ticket_number=number)
    return number


@IN_ITS_LOOP
async def test_the_start_is_over_when_it_serves_and_its_status_says_what_it_does(host: Host, bot: Bot) -> None:
    assert host.property_of(UNIT, "SubState") == "running"
    assert "serving" in host.property_of(UNIT, "StatusText") or "standing by" in host.property_of(UNIT, "StatusText")
    assert await serves(bot) == 1


def test_it_is_a_user_without_rights_behind_a_filter(host: Host) -> None:
    user = host.run("id", "--user", "lockstore").strip()
    status = host.status_of(host.pid())
    assert set(status["Uid"].split()) == {user}
    assert user != "0"
    rights = {name: status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert set(rights.values()) == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_it_sees_its_program_and_its_configuration_and_can_write_nowhere(host: Host) -> None:
    pid = host.pid()
    assert host.inside(pid, "test", "-r", CONFIG)[0] == 0
    for place in ("/", "/etc/lockstore", "/opt/lockstore", "/var/lib", "/usr"):
        code, said = host.inside(pid, "touch", f"{place}/written")
        assert (code, "Read-only file system" in said) == (1, True), place
    assert host.inside(pid, "ls", "/root")[1].strip() in ("", "ls: cannot open directory '/root': Permission denied")
    assert "disk" not in host.inside(pid, "ls", "-l", "/dev")[1]


@IN_ITS_LOOP
async def test_its_metrics_tell_of_the_process_though_it_is_walled_in(host: Host) -> None:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{host.port}/metrics") as answer:
        told = await answer.text()
    assert {"process_start_time_seconds", "process_cpu_seconds_total"} <= {
        line.split(" ")[0] for line in told.splitlines()
    }


def test_the_secret_is_in_no_place_where_others_look(host: Host, rabbitmq: RabbitMQ) -> None:
    assert rabbitmq.url not in host.journal(UNIT)
    assert rabbitmq.url not in host.run("cat", f"/proc/{host.pid()}/environ", f"/proc/{host.pid()}/cmdline")
    assert rabbitmq.url not in host.run("systemctl", "show", UNIT)


@IN_ITS_LOOP
async def test_killed_it_is_started_again_and_numbers_go_on(host: Host, bot: Bot) -> None:
    before, pid = int(host.property_of(UNIT, "NRestarts")), host.pid()
    number = await serves(bot)
    host.run("kill", "-KILL", str(pid))
    await host.becomes("NRestarts", str(before + 1))
    await host.becomes("SubState", "running")
    assert host.pid() != pid
    assert await serves(bot) == number + 1


@IN_ITS_LOOP
async def test_one_that_hangs_is_ended_by_the_watchdog_and_started_again(host: Host, bot: Bot) -> None:
    before, pid = int(host.property_of(UNIT, "NRestarts")), host.pid()
    host.run("kill", "-STOP", str(pid))
    await host.becomes("NRestarts", str(before + 1))
    await host.becomes("SubState", "running")
    assert "Watchdog timeout" in host.journal(UNIT)
    assert "Fatal Python error: Aborted" in host.journal(UNIT)  # and where each thread was
    await serves(bot)


@IN_ITS_LOOP
async def test_a_reload_takes_what_has_changed_and_keeps_the_process(host: Host, bot: Bot) -> None:
    pid = host.pid()
    host.configure(max_waiting=1)
    await host.reload()
    held = await bot.lock("full")
    await bot.request("full", "too-many")
    assert (await bot.expect("rejected", request_id="too-many"))["reason"] == "line_full"
    await bot.release("full", ticket_number=held["ticket_number"])
    host.configure()
    await host.reload()
    assert host.pid() == pid


@IN_ITS_LOOP
async def test_a_wrong_configuration_is_told_and_not_tried_again(host: Host, bot: Bot) -> None:
    host.configure(lifetme=3)
    assert host.ran("systemctl", "restart", UNIT, check=False).returncode != 0
    assert host.property_of(UNIT, "ActiveState") == "failed"
    assert host.property_of(UNIT, "ExecMainStatus") == "2"
    assert "daemon.lifetme" in host.journal(UNIT)
    host.configure()
    host.run("systemctl", "start", UNIT)
    await serves(bot)


@IN_ITS_LOOP
async def test_a_second_daemon_has_its_own_configuration_port_and_credential(host: Host, bot: Bot) -> None:
    secret = host.run("cat", "/etc/credstore/lockstore.broker_url")
    host.write("/etc/credstore/lockstore.blue.broker_url", secret, mode="600")
    host.config["broker"]["url"] = "${credential:lockstore.blue.broker_url}"
    host.configure("/etc/lockstore/blue.yml", http=f"127.0.0.1:{free_port()}")
    host.config["broker"]["url"] = "${credential:lockstore.broker_url}"
    host.run("systemctl", "start", "lockstore@blue")
    assert host.property_of("lockstore@blue", "SubState") == "running"
    host.run("systemctl", "stop", UNIT)  # blue stood by, and has all of it now
    await serves(bot)
    host.run("systemctl", "start", UNIT)
    host.run("systemctl", "stop", "lockstore@blue")
    assert host.property_of("lockstore@blue", "Result") == "success"
    await serves(bot)


def test_uninstalling_stops_it_and_leaves_what_the_operator_made(host: Host) -> None:
    pid = host.pid()
    script = str(CHECKOUT / "scripts" / "install")
    host.run("systemctl", "enable", UNIT)
    host.run(script, "uninstall", "--purge")
    assert host.ran("test", "-e", f"/proc/{pid}", check=False).returncode == 1
    assert "Deactivated successfully" in host.journal(UNIT).rpartition("Stopping lockstore.service")[2]
    left = host.run("find", "/etc", "/opt", "/usr/local", "/var/lib", "-name", "*lockstore*").split()
    ours = {"/etc/lockstore", "/etc/credstore/lockstore.broker_url", "/etc/credstore/lockstore.blue.broker_url"}
    assert set(left) <= ours | {f"/etc/systemd/system/{UNIT}.d"}
    assert host.run("ls", "/etc/lockstore").split() == ["blue.yml"]
    assert host.ran("id", "lockstore", check=False).returncode == 1
