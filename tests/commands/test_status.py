"""`lockstore status` and `show` where all is well, where a side is away, and where tickets are in a daemon's memory."""

import asyncio
import json
from pathlib import Path
from typing import Any

import yaml

from harness import RabbitMQ
from tests.commands.conftest import Place
from tests.conftest import DaemonMaker
from tests.support.bot import Bot


async def told(place: Place, *argv: str, exit_code: int = 0) -> dict[str, Any]:
    ran = await asyncio.to_thread(place.run, *argv, "--json")
    assert (ran.returncode, ran.stderr) == (exit_code, ""), ran.stdout
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


async def test_where_all_is_well_and_at_work_they_say_so(place: Place) -> None:
    async with place.client() as locks, locks.lock("at work"):
        status, doctor = await asyncio.gather(
            *(asyncio.to_thread(place.run, command) for command in ("status", "doctor"))
        )
    assert (status.returncode, status.stderr) == (0, "")
    assert str(place.daemon.pid) in status.stdout
    assert "1 line with 1 ticket" in status.stdout
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert doctor.stdout.startswith("Looked at 1 line and ")
    for ran in (status, doctor):
        assert ran.stdout.endswith("\nNothing is wrong.\n")


async def test_a_side_that_is_away_is_told_and_the_other_is_shown(place: Place, tmp_path: Path) -> None:
    away = await told(place.changed(tmp_path, lock_store={"port": 1, "password": "hidden"}), "status", exit_code=1)
    assert away["error"].startswith("the lock store: ")
    assert "hidden" not in json.dumps(away)
    assert [word["pid"] for word in away["daemons"]] == [place.daemon.pid]
    assert away["lines"] is None
    url = "amqp://guest:hidden@127.0.0.1:1/"
    away = await told(place.changed(tmp_path, broker={"url": url}), "status", exit_code=1)
    assert away["error"].startswith("RabbitMQ: ")
    assert "hidden" not in json.dumps(away)
    assert away["lines"]["lines_total"] == 0


async def test_tickets_in_memory_are_read_from_their_daemon(
    rabbitmq: RabbitMQ, namespace: str, start_daemon: DaemonMaker, tmp_path: Path
) -> None:
    config: dict[str, Any] = {
        "broker": {"url": rabbitmq.url, "namespace": namespace},
        "daemon": {"http": "127.0.0.1:0"},
    }
    daemon = await start_daemon(config)
    file = tmp_path / "memory.yml"
    address = daemon.http_url.rstrip("/").partition("//")[2]
    file.write_text(yaml.safe_dump(config | {"daemon": {"http": address}}))
    place = Place(daemon, config, file)
    async with Bot(rabbitmq.url, namespace) as bot:
        name = "a/b ?&#%[x]\u202e+"
        number = (await bot.lock(name, holder="bot-1", lifetime=600))["ticket_number"]
        await bot.request(name, wait=600)
        await bot.expect("queued")
        status = await told(place, "status")
        assert status["lock_store"] == "in_memory"
        assert [line["conversation_id"] for line in status["lines"]["lines"]] == [name]
        assert status["backlog"]["overdue"] == 0
        shown = await told(place, "show", name)
        assert [ticket["ticket_number"] for ticket in shown["conversation"]["tickets"]] == [number, number + 1]
        assert [event["type"] for event in shown["conversation"]["history"]] == ["granted", "queued"]
        assert set(shown["reply_queues"].values()) == {True}
        doctor = await told(place, "doctor")
        assert doctor["passed_over"][0].startswith(
            "lines and keys were not audited: the tickets are in a daemon's memory"
        )
        file.write_text(yaml.safe_dump(config | {"daemon": {"http": None}}))
        elsewhere = await told(place, "show", name, "--daemon", daemon.http_url)
        assert elsewhere["conversation"]["tickets_total"] == 2
        refused = await asyncio.to_thread(place.run, "show", name)
        assert refused.returncode == 2
        assert refused.stderr.startswith("lockstore show: daemon.http: is null")
    nobody = await told(place, "show", "c", "--daemon", "http://127.0.0.1:1", exit_code=1)
    assert nobody["error"].startswith("the lock store: no daemon answers at http://127.0.0.1:1 (")
    assert "--daemon URL" in nobody["error"]


async def test_lines_of_a_store_that_cannot_list_them_are_those_that_the_daemon_has_seen(
    rabbitmq: RabbitMQ, namespace: str, start_daemon: DaemonMaker, tmp_path: Path
) -> None:
    config: dict[str, Any] = {
        "lock_store": {"type": "examples.sqlite_lock_store.SqliteLockStore", "path": str(tmp_path / "locks.sqlite")},
        "broker": {"url": rabbitmq.url, "namespace": namespace},
        "daemon": {"http": "127.0.0.1:0"},
    }
    daemon = await start_daemon(config)
    file = tmp_path / "custom.yml"
    address = daemon.http_url.rstrip("/").partition("//")[2]
    file.write_text(yaml.safe_dump(config | {"daemon": {"http": address}}))
    place = Place(daemon, config, file)
    async with Bot(rabbitmq.url, namespace) as bot:
        await bot.lock("seen", lifetime=600)
        status, doctor = await asyncio.gather(told(place, "status"), told(place, "doctor"))
    assert [line["conversation_id"] for line in status["lines"]["lines"]] == ["seen"]
    assert status["lines"]["complete"] is False
    assert doctor["passed_over"][0].startswith("this store cannot list its lines")


async def test_an_empty_line_that_had_tickets_tells_its_last_number(place: Place) -> None:
    async with place.client() as locks:
        async with locks.lock("had tickets"):
            pass
        async with locks.lock("had tickets") as ticket:
            number = ticket.number
    await place.stand_in_line("had tickets", 0)
    ran = await asyncio.to_thread(place.run, "show", "had tickets")
    assert f"had tickets (partition 0): the line is empty; the last number is {number}" in ran.stdout
    never = await asyncio.to_thread(place.run, "show", "never seen")
    assert "never seen (partition 0): the line is empty; no ticket is on record" in never.stdout
