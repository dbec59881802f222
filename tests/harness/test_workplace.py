import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import RedisServer, workplace
from tests.harness.helpers import is_alive, pids_in

CHECKOUT = Path(__file__).parents[2]


async def test_a_server_starts_once_however_many_ask() -> None:
    async with workplace() as place:
        one, other = await asyncio.gather(place.redis(), place.redis())
        assert one is other
        daemon = await place.daemon({"any": "thing"}, module="tests.harness.fake_daemon")
        pids, folder = [one.pid, daemon.pid], place.folder
    assert not any(is_alive(pid) for pid in pids)
    assert not folder.exists()


async def test_it_ends_all_when_the_work_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        async with workplace() as place:
            first, second = await place.redis(), await place.add(RedisServer())
            raise ZeroDivisionError
    assert not first.running
    assert not second.running
    assert not place.folder.exists()


WORKER = """
import asyncio, sys
import uvloop
from harness import workplace

async def main():
    async with workplace() as place:
        await place.redis()
        print(place.folder, flush=True)
        await asyncio.sleep(60)

{"asyncio": asyncio, "uvloop": uvloop}[sys.argv[1]].run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_it_ends_all_on_a_signal(number: signal.Signals, exit_code: int, loop: str) -> None:
    argv = [sys.executable, "-c", WORKER, loop]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        folder = Path(worker.stdout.readline().strip())
        assert pids_in(folder)
        worker.send_signal(number)
    assert worker.returncode == exit_code
    assert not folder.exists()
    assert not pids_in(folder)
