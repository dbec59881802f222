"""`lockstore watch`: what happens is printed as it happens, and only what was asked for."""

import asyncio
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import yaml

from harness import RabbitMQ
from tests.commands.conftest import LIMIT_S, Place
from tests.support.proxy import Proxy

FOLLOWING = "lockstore watch: following events\n"


def started(place: Place, *argv: str, **options: Any) -> subprocess.Popen[str]:
    """Start it, and come back when it follows."""
    watching = place.start("watch", *argv, **options)
    assert watching.stderr is not None
    assert watching.stderr.readline() == FOLLOWING
    return watching


async def lock(place: Place, conversation: str, holder: str | None = None) -> int:
    async with place.client() as locks, locks.lock(conversation, holder=holder) as ticket:
        return ticket.number


async def test_events_are_printed_for_scripts_as_they_are_on_the_wire_until_it_is_told_to_stop(place: Place) -> None:
    watching = started(place, "followed", "--json")
    await lock(place, "other")
    number = await lock(place, "followed", "bot-3")
    assert watching.stdout is not None
    granted, released = (json.loads(watching.stdout.readline()) for _ in range(2))
    assert granted.keys() == {"type", "conversation_id", "ticket_number", "request_id", "holder", "at"} | {
        "expires_at",
        "waited",
        "behind",
    }
    assert (granted["type"], granted["conversation_id"], granted["ticket_number"]) == ("granted", "followed", number)
    assert (released["type"], released["reason"]) == ("released", "holder")
    watching.send_signal(signal.SIGINT)
    assert watching.communicate(timeout=LIMIT_S) == ("", "")
    assert watching.returncode == 0


async def test_people_get_a_line_of_each_event_of_the_types_that_they_ask_for(place: Place) -> None:
    watching = started(place, "--type", "granted", "--type", "expired")
    assert watching.stdout is not None
    first = await lock(place, "seen", "\u202e[red]")
    second = await lock(place, "seen too")
    lines: list[str] = []
    while sum("seen" in line for line in lines) < 2:
        lines.append(watching.stdout.readline())
    watching.send_signal(signal.SIGTERM)
    assert watching.communicate(timeout=LIMIT_S)[1] == ""
    at = r"\d\d:\d\d:\d\d\.\d{3}  "
    assert all(re.match(rf"{at}(granted|expired) ", line) for line in lines)
    one, two = (line for line in lines if "seen" in line)
    assert re.fullmatch(rf"{at}granted    seen +#{first}  \\u202e\[red\] +after [\d.]+ m?s, 0 behind\n", one)
    assert re.fullmatch(rf"{at}granted    seen too +#{second}  \S+@\S+:\d+ +after [\d.]+ m?s, 0 behind\n", two)


async def test_it_goes_on_after_its_connection_was_lost(place: Place, rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    async with Proxy(rabbitmq.host, rabbitmq.port) as proxy:
        file = tmp_path / "elsewhere.yml"
        file.write_text(yaml.safe_dump(place.config | {"broker": place.config["broker"] | {"url": proxy.url}}))
        watching = await asyncio.to_thread(
            started, place, "after that", "--json", "--count", "1", "--config", str(file)
        )
        assert watching.stderr is not None
        proxy.cut()
        lost = "lockstore watch: the connection to RabbitMQ was lost, reconnecting\n"
        assert [await asyncio.to_thread(watching.stderr.readline) for _ in range(2)] == [lost, FOLLOWING]
        await lock(place, "after that")
        out, _ = await asyncio.to_thread(watching.communicate, timeout=LIMIT_S)
    assert json.loads(out)["conversation_id"] == "after that"


async def test_where_no_daemon_has_ever_been_it_says_what_is_missing(
    place: Place, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "empty.yml"
    file.write_text(yaml.safe_dump({"broker": place.config["broker"] | {"namespace": namespace}}))
    watching = place.start("watch", "--config", str(file))
    assert watching.stderr is not None
    said = watching.stderr.readline()
    assert said.startswith("lockstore watch: cannot subscribe to events yet, retrying (")
    assert said.endswith("a daemon declares the exchange: lockstore serve\n")
    watching.send_signal(signal.SIGTERM)
    assert watching.communicate(timeout=LIMIT_S) == ("", "")
    assert watching.returncode == 0


async def test_a_reader_that_has_seen_enough_ends_it_in_silence(place: Place) -> None:
    watching = started(place, "piped")
    assert watching.stdout is not None
    watching.stdout.close()
    while watching.poll() is None:
        await lock(place, "piped")
    assert watching.stderr is not None
    assert watching.stderr.read() == ""
    watching.stderr.close()
    assert watching.returncode == 1


def test_public_events_that_are_switched_off_are_told_with_the_remedy(place: Place, tmp_path: Path) -> None:
    said = place.changed(tmp_path, daemon={"events": False}).refusal("watch")
    assert said.startswith("daemon.events: is false, so the daemons publish no events; set it to true (")
