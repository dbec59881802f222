"""The words, and what the environment asks for."""

import os
import uuid
from pathlib import Path

import pytest

from daemon.systemd.notify import Notifier
from tests.support.manager import Manager


@pytest.mark.parametrize("kind", ["path", "abstract"])
async def test_words_arrive_at_a_socket_of_either_kind(kind: str, tmp_path: Path) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@lockstore-{uuid.uuid4().hex}"
    async with Manager(address) as manager:
        notifier = Notifier.of({"NOTIFY_SOCKET": address})
        notifier.ready()
        notifier.alive()
        notifier.patience(2.5)
        notifier.stopping(10)
        await manager.hears("STOPPING=1")
        notifier.close()
        assert manager.said == [
            "READY=1",
            "WATCHDOG=1",
            "EXTEND_TIMEOUT_USEC=2500000",
            "STOPPING=1",
            "EXTEND_TIMEOUT_USEC=10000000",
        ]


async def test_a_status_is_one_line_of_bounded_length(tmp_path: Path) -> None:
    async with Manager(str(tmp_path / "notify")) as manager:
        notifier = Notifier.of({"NOTIFY_SOCKET": manager.address})
        notifier.status("it says\nREADY=1\n" + "and so on " * 100)
        said = await manager.hears("STATUS=")
        notifier.close()
    assert said.startswith("STATUS=it says READY=1 and so on")
    assert len(said) <= 310
    assert manager.said == [said]


def test_without_a_socket_all_of_it_is_silence(capsys: pytest.CaptureFixture[str]) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": ""}):
        notifier = Notifier.of(environ)
        notifier.ready()
        notifier.close()
    assert capsys.readouterr().out == ""


def test_a_socket_that_is_not_there_is_complained_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    for _ in range(3):
        notifier.ready()
    notifier.close()
    assert capsys.readouterr().out.count("notify.failed") == 1


def test_an_address_of_another_kind_is_complained_of(capsys: pytest.CaptureFixture[str]) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "1000000"})
    notifier.ready()
    assert notifier.watchdog_s is None
    assert "notify.failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_the_one_of_the_environment(
    environ: dict[str, str], seconds: float | None, tmp_path: Path
) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ})
    notifier.close()
    assert notifier.watchdog_s == seconds
