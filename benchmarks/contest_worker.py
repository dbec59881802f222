"""One of the processes that compete for a lock: it plays the parts that standard input names.

`python -m benchmarks.contest_worker PLACES`, where the servers are as JSON: a line of JSON in,
`{"lock": name, "parts": [...]}`; a line out, the stays. It ends with its input.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any, Self

import uvloop

from benchmarks.contest import AsyncHold, Part, Places, Stay, ThreadHold, play_in_tasks, play_in_threads
from benchmarks.locks.catalogue import LOCKS

_REPLY_BYTES_MAX = 2**28  # one line: every stay of some seconds


class Worker:
    """The other end: what a benchmark sees of such a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def play(self, lock: str, parts: list[Part]) -> list[Stay]:
        """Have these parts played, and give what came of them. Raises RuntimeError when the process has ended."""
        if not parts:
            return []
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"lock": lock, "parts": parts}).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process ended while it played {lock}; its error stands above")
        return [Stay(*stay) for stay in json.loads(line)]


@asynccontextmanager
async def workers(count: int, places: Places) -> AsyncIterator[list[Worker]]:
    """Start so many processes; they end with the context, whatever they are at."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "benchmarks.contest_worker", json.dumps(places))
    started: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(count):
            # A session of its own keeps a terminal's Ctrl-C away: they are ended below.
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, limit=_REPLY_BYTES_MAX, start_new_session=True
            )
            started.append(process)
        yield [Worker(process) for process in started]
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*(process.wait() for process in started))


class Stage:
    """Where parts are played: one loop, and the locks that were asked for, for as long as the process lives."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._for_tasks = AsyncExitStack()
        self._for_threads = ExitStack()
        self._task_holds: dict[str, AsyncHold] = {}
        self._thread_holds: dict[str, ThreadHold] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._for_threads.close()
        self._runner.run(self._for_tasks.aclose())
        self._runner.close()

    def play(self, job: dict[str, Any]) -> list[Stay]:
        """Play a job's parts; the lock is opened when it is first asked for."""
        name, parts = job["lock"], [Part(*part) for part in job["parts"]]
        lock = LOCKS[name]
        if not lock.threads:
            return self._runner.run(self._play_in_tasks(name, parts))
        if name not in self._thread_holds:
            self._thread_holds[name] = self._for_threads.enter_context(lock.opened(self._places))
        return play_in_threads(self._thread_holds[name], parts)

    async def _play_in_tasks(self, name: str, parts: list[Part]) -> list[Stay]:
        if name not in self._task_holds:
            self._task_holds[name] = await self._for_tasks.enter_async_context(LOCKS[name].opened(self._places))
        return await play_in_tasks(self._task_holds[name], parts)


def main() -> None:
    """Play until the input ends."""
    with Stage(json.loads(sys.argv[1])) as stage:
        for line in sys.stdin:
            stays = stage.play(json.loads(line))
            sys.stdout.write(json.dumps(stays) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
