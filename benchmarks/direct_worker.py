"""One of the processes that `benchmarks.direct` lets compete: it plays the parts that standard input names.

`python -m benchmarks.direct_worker HOST PORT`: a line of JSON in, `{"lock": name, "parts": [...]}`; a line out, the stays.
It ends with its input.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import uvloop

from benchmarks.direct_peers import THREADED, AsyncLocks, Part, Stay, ThreadLocks

_REPLY_BYTES_MAX = 2**27  # one line: every stay of a second or more


class Worker:
    """The other end: what the benchmark sees of such a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def play(self, lock: str, parts: list[Part]) -> list[Stay]:
        """Have these parts played, and give what came of them. Raises RuntimeError when the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"lock": lock, "parts": parts}).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process ended while it played {lock}; its error stands above")
        return [Stay(*stay) for stay in json.loads(line)]


@asynccontextmanager
async def workers(count: int, host: str, port: int) -> AsyncIterator[list[Worker]]:
    """Start so many processes; they end with the context, whatever they are at."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "benchmarks.direct_worker", host, str(port))
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
    """Where parts are played: one loop and one pool of connections for as long as the process lives."""

    def __init__(self, host: str, port: int) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._for_tasks = AsyncLocks(host, port)
        self._for_threads = ThreadLocks(host, port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._for_threads.close()
        self._runner.run(self._for_tasks.close())
        self._runner.close()

    def play(self, job: dict[str, Any]) -> list[Stay]:
        """Play a job's parts."""
        parts = [Part(*part) for part in job["parts"]]
        if job["lock"] in THREADED:
            return self._for_threads.play(job["lock"], parts)
        return self._runner.run(self._for_tasks.play(job["lock"], parts))


def main() -> None:
    """Play until the input ends."""
    with Stage(sys.argv[1], int(sys.argv[2])) as stage:
        for line in sys.stdin:
            stays = stage.play(json.loads(line))
            sys.stdout.write(json.dumps(stays) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
