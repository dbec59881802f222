import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.process import TAIL_LINES, Command, Process, ProcessFailedError
from tests.harness.helpers import is_alive, is_gone

CHECKOUT = Path(__file__).parents[2]


def shell(folder: Path, script: str) -> Process:
    return Process(Command(name="sh", argv=("sh", "-c", script), folder=folder, log=folder / "sh.log"))


async def never() -> bool:
    return False


async def wrote(process: Process, text: str) -> None:
    async with asyncio.timeout(5):
        while text not in process.output():
            await asyncio.sleep(0.01)


async def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    process = shell(tmp_path, "seq 1000; echo the reason >&2; exit 3")
    with pytest.raises(ProcessFailedError, match=r"sh ended with exit code 3 .*\n(.*\n)*1000\nthe reason$") as caught:
        await process.become_ready(never, 5)
    assert len(str(caught.value).splitlines()) == 1 + TAIL_LINES


async def test_a_start_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    process = shell(tmp_path, "echo thinking; exec sleep 60")
    with pytest.raises(ProcessFailedError, match=r"was not ready after 0\.2 s(.*\n)+thinking$"):
        await process.become_ready(never, 0.2)
    assert process.exit_code == -signal.SIGKILL


async def test_the_log_of_an_earlier_run_is_kept_but_not_taken_for_this_ones(tmp_path: Path) -> None:
    await shell(tmp_path, "echo first").wait(5)
    second = shell(tmp_path, "echo second")
    await second.wait(5)
    assert second.output() == "second\n"
    assert (tmp_path / "sh.log").read_text() == "first\nsecond\n"


async def test_stop_is_sigterm_first_even_when_paused(tmp_path: Path) -> None:
    process = shell(tmp_path, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    await wrote(process, "ready")
    process.pause()
    assert await process.stop(grace_s=5) == 7


async def test_stop_is_sigkill_after_the_grace(tmp_path: Path) -> None:
    process = shell(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.01; done")
    await wrote(process, "ready")
    assert await process.stop(grace_s=0.2) == -signal.SIGKILL


async def test_what_the_child_started_in_its_group_ends_with_it(tmp_path: Path) -> None:
    process = shell(tmp_path, "sleep 60 & echo $!; wait")
    await wrote(process, "\n")
    helper = int(process.output())
    assert is_alive(helper)
    await process.kill()
    assert await is_gone(helper)


PARENT = """
import asyncio, sys
from pathlib import Path
from harness import RedisServer

async def main():
    server = RedisServer(folder=Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()  # so no finally, atexit or signal handler of it runs
    assert await is_gone(child)
