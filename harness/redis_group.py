"""What a Redis Cluster and a Redis with Sentinels have in common: several servers, one folder, one state to wait for."""

import asyncio
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic

from redis.exceptions import RedisError

from harness.context import StartedContext
from harness.process import ProcessFailedError
from harness.redis_server import RedisServer
from harness.server import Server

Complaint = Callable[[], Awaitable[str]]

POLL_INTERVAL_S = 0.1
TAIL_LINES = 8  # of each server

REPLICATION_OPTIONS = {
    "repl-diskless-sync-delay": "0",  # Redis waits 5 s for more replicas
    "shutdown-on-sigterm": "force",  # a replica that still writes what it got would refuse, and be killed
}


class RedisGroup(StartedContext):
    """Several private servers that serve together: `async with` starts them all, and ends them with all that they left.

    Each server is a `Server` of its own, so that a test can kill, pause or start one. With a `folder` of the caller's, that
    folder and what is in it stay.
    """

    # A Sentinel on a machine that hung for 2 s does nothing for 30 s (TILT), and only then begins a failover.
    settle_limit_s = 100.0

    def __init__(self, name: str, folder: Path | None) -> None:
        self.name = name
        self._folder = folder
        self._own_folder: Path | None = None

    @property
    @abstractmethod
    def members(self) -> Sequence[Server]:
        """All processes of this group."""

    @abstractmethod
    async def start(self) -> None:
        """Start every member that does not run, on the data that are there, and wait until all is in order."""

    @abstractmethod
    async def _disorder(self) -> str:
        """Say what is not in order among the members that are awake; nothing if all is."""

    @property
    def folder(self) -> Path:
        """Where the members' folders are; made when first asked for."""
        if self._folder is not None:
            return self._folder
        if self._own_folder is None:
            self._own_folder = Path(tempfile.mkdtemp(prefix=f"lockstore-{self.name}-"))
        return self._own_folder

    async def settle(self) -> None:
        """Wait until all is in order again among those that run and are not paused, after one was killed, paused or came back.

        Raises ProcessFailedError, with what is still wrong and the tails of the logs, after `settle_limit_s`.
        """
        await self._until(self._disorder)

    async def stop(self) -> None:
        """End all members with SIGTERM; they keep their data and ports, and `start` goes on with them."""
        await _all(member.stop for member in self.members if member.running)

    async def close(self) -> None:
        """End all members and remove the temporary folder; may be called again."""
        try:
            await _all(member.close for member in self.members)
        finally:
            if self._own_folder is not None:
                shutil.rmtree(self._own_folder, ignore_errors=True)

    async def _until(self, complaint: Complaint) -> None:
        deadline = monotonic() + self.settle_limit_s
        while trouble := await _told(complaint):
            if monotonic() > deadline:
                raise self._failure(f"{self.name} is not in order after {self.settle_limit_s:g} s: {trouble}")
            await asyncio.sleep(POLL_INTERVAL_S)

    def _failure(self, what: str) -> ProcessFailedError:
        lines = [what]
        for member in self.members:
            state = "runs" if member.running else "does not run"
            lines.append(f"{member.name} {state}; the last lines of its log:")
            if member.log.exists():
                lines.extend(member.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
        return ProcessFailedError("\n".join(lines))


def awake(server: Server) -> bool:
    """Tell whether it runs and is not paused, so that it can be expected to answer."""
    # The state is the first field after the command name, which may hold anything but ends with the last parenthesis.
    return (
        server.running
        and Path(f"/proc/{server.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "T"
    )


async def start_all(servers: Sequence[Server]) -> None:
    """Start those that do not run, at one time."""
    await _all(server.start for server in servers if not server.running)


async def out_of_sync(primary: RedisServer, replicas: Sequence[RedisServer]) -> str:
    """Say which replica is not in sync with its primary, by the word of either; nothing if all are."""
    said = await primary.replication()
    if said["role"] != "master":
        return f"{primary.name} is not a primary"
    linked = [value for key, value in said.items() if key.startswith("slave")]
    for replica in replicas:
        own = await replica.replication()
        if own.get("master_port") != str(primary.port) or own.get("master_link_status") != "up":
            return f"{replica.name} is not in sync with {primary.name}"
        if not any(f"port={replica.port}," in value and "state=online" in value for value in linked):
            return f"{primary.name} does not have {replica.name} online"
        if "aof_rewrite_in_progress:0" not in await replica.admin("INFO", "persistence"):
            return f"{replica.name} has not written yet what it got from {primary.name}"
    return ""


async def _all(actions: Iterable[Callable[[], Awaitable[object]]]) -> None:
    # All come to their end before the first error is told: nothing goes on in the background.
    results = await asyncio.gather(*(action() for action in actions), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _told(complaint: Complaint) -> str:
    try:
        return await complaint()
    except (OSError, RedisError) as error:  # it starts, ends or hangs
        return f"{type(error).__name__}: {error}"
