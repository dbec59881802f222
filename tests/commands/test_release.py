"""`lockstore release --force`: it asks, takes what it has shown, and everybody is told who did it."""

import asyncio
import getpass
import json
import shlex
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness import RabbitMQ
from tests.commands.conftest import LIMIT_S, Place
from tests.commands.terminal import Terminal
from tests.support.bot import Bot

US = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest_asyncio.fixture
async def bot(rabbitmq: RabbitMQ, place: Place) -> AsyncIterator[Bot]:
    async with Bot(rabbitmq.url, place.config["broker"]["namespace"]) as connected:
        yield connected


async def released(place: Place, *argv: str, exit_code: int = 0) -> dict[str, Any]:
    ran = await asyncio.to_thread(place.run, "release", *argv, "--json")
    assert (ran.returncode, ran.stderr) == (exit_code, "")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


async def test_the_lease_is_taken_the_next_one_has_its_turn_and_both_are_told(place: Place, bot: Bot) -> None:
    held = await bot.lock("taken", holder="bot-1", lifetime=600)
    waiting = await bot.request("taken", holder="bot-2", wait=600)
    await bot.expect("queued", request_id=waiting)
    told = await released(place, "taken", "--force", "--yes")
    forced = await bot.expect("released", ticket_number=held["ticket_number"])
    assert (forced["reason"], forced["by"]) == ("forced", US)
    assert told == {
        "conversation_id": "taken",
        "by": US,
        "stood": held["ticket_number"],
        "taken": forced,
        "interrupted": False,
        "error": None,
    }
    await bot.expect("granted", request_id=waiting)


async def test_a_ticket_is_taken_out_of_the_line_by_its_number(place: Place, bot: Bot) -> None:
    await bot.lock("numbered", lifetime=600)
    waiting = await bot.request("numbered", wait=600)
    number = (await bot.expect("queued", request_id=waiting))["ticket_number"]
    told = await released(place, "numbered", "--force", "--yes", "--ticket", str(number), "--by", "on call")
    cancelled = await bot.expect("cancelled", request_id=waiting)
    assert (cancelled["reason"], cancelled["by"]) == ("forced", "on call")
    assert told["taken"] == cancelled
    await place.stand_in_line("numbered", 1)
    missing = await released(place, "numbered", "--force", "--yes", "--ticket", str(number), exit_code=1)
    assert (missing["stood"], missing["taken"]) == (None, None)


async def test_a_person_is_shown_who_has_it_and_asked(place: Place, bot: Bot) -> None:
    await bot.lock("asked", holder="bot-7", lifetime=600)
    line = place.argv("release", "asked", "--force")
    with Terminal(line) as terminal:
        await asyncio.to_thread(
            terminal.expect, r"Release ticket \d+ of asked from bot-7, which has held the lock for [\d.]+ s"
        )
        terminal.type("n\n")
        assert "Nothing was done." in await asyncio.to_thread(terminal.rest)
        assert terminal.process.wait(LIMIT_S) == 1
    await place.stand_in_line("asked", 1)
    with Terminal(line) as terminal:
        await asyncio.to_thread(terminal.expect, r"\[y/N\]")
        terminal.type("y\n")
        rest = await asyncio.to_thread(terminal.rest)
        assert terminal.process.wait(LIMIT_S) == 0
    assert f"by force, by {US}" in rest
    await place.stand_in_line("asked", 0)


async def test_what_nobody_holds_is_free_already(place: Place) -> None:
    told = await released(place, "free", "--force", "--yes")
    assert (told["stood"], told["taken"]) == (None, None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param((), "only the holder can release its lock", id="without force"),
        pytest.param(
            ("--force",),
            "cannot ask for confirmation, because standard input is not a terminal; add --yes",
            id="nobody",
        ),
        pytest.param(("--force", "--yes", "--by", "a\nb"), "--by: must be 1 to 128 printable", id="no name"),
    ],
)
def test_what_it_does_not_do_is_told_with_the_remedy(argv: tuple[str, ...], said: str, place: Place) -> None:
    assert said in place.refusal("release", "c", *argv)


def test_tickets_in_memory_are_not_taken_from_outside(place: Place, tmp_path: Path) -> None:
    said = place.changed(tmp_path, lock_store=None).refusal("release", "c", "--force", "--yes")
    assert "an in_memory store is only accessible to its daemon" in said


async def test_a_command_whose_lock_is_taken_is_ended(place: Place) -> None:
    running = place.start("exec", "executed", "--", "sh", "-c", "echo $$; exec sleep 60")
    assert running.stdout is not None
    await asyncio.to_thread(running.stdout.readline)
    await released(place, "executed", "--force", "--yes", "--by", "on call")
    _, said = await asyncio.to_thread(running.communicate, timeout=LIMIT_S)
    assert running.returncode == 75
    assert "it was released (forced by on call); the command was terminated" in said


def test_the_command_line_that_a_trouble_names_is_one_that_a_shell_takes() -> None:
    from daemon.views.findings import check_conversation
    from daemon.views.lines import ConversationFacts, TicketFacts

    name = "it's $(odd)"
    head = TicketFacts(1, "holds", "bot", "r", 1000, 1000, 1000, "queue")
    facts = ConversationFacts(name, 0, 0, 1, 1, (head,), None, ())
    (trouble,) = check_conversation(facts, {"queue": False})
    words = shlex.split(trouble.remedy.partition(": ")[2])
    assert words == ["lockstore", "release", name, "--force"]
