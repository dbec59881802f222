"""What all servers of the harness have in common: a folder, one process at a time, and ways to hurt it."""

import os
import shutil
import tempfile
from abc import abstractmethod
from pathlib import Path

from harness.context import StartedContext
from harness.process import Command, Process

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s_of(pid: int) -> float:
    """Give the seconds of processor time, user and system, that a running process has used."""
    # The command name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


class Server(StartedContext):
    """A private server: `async with` starts it, and ends it with everything that it left.

    `stop` and `kill` keep its folder and ports, so that `start` goes on with the data; `close` gives up both. With a `folder` of
    the caller's, that folder and what is in it stay.
    """

    start_limit_s = 60.0
    stop_grace_s = 15.0

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self._folder = folder
        self._own_folder: Path | None = None
        self._process: Process | None = None

    @abstractmethod
    def _command(self) -> Command:
        """Write the configuration into the folder, and say what to run."""

    @abstractmethod
    async def _probe(self) -> bool:
        """Tell whether the process just started is ready."""

    @property
    def folder(self) -> Path:
        """Where its data, configuration and log are; made when first asked for."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder
        if self._own_folder is None:
            self._own_folder = Path(tempfile.mkdtemp(prefix=f"lockstore-{self.name}-"))
        return self._own_folder

    @property
    def log(self) -> Path:
        """What the process of each run wrote, one after the other."""
        return self.folder / f"{self.name}.log"

    @property
    def process(self) -> Process:
        """The current run, or the last one."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    @property
    def pid(self) -> int:
        """The process id of the current run, or of the last one."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether its process was started and has not ended."""
        return self._process is not None and self._process.running

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run, negative for a signal, or None while it runs."""
        return self.process.exit_code

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the running process."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE_BYTES

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time, user and system, that the running process has used."""
        return cpu_s_of(self.pid)

    async def start(self) -> None:
        """Start it, on the data that are there, and wait until it is ready.

        Raises ProcessFailedError, with the tail of its log, if it does not get there.
        """
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self._process = Process(self._command())
        await self._process.become_ready(self._probe, self.start_limit_s)

    async def stop(self) -> int:
        """End it with SIGTERM, and with SIGKILL after `stop_grace_s`; gives its exit code."""
        return await self.process.stop(self.stop_grace_s)

    async def kill(self) -> int:
        """End it with SIGKILL; gives its exit code."""
        return await self.process.kill()

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open and nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on after a pause."""
        self.process.resume()

    async def restart(self) -> None:
        """Stop it and start it again, with its data."""
        await self.stop()
        await self.start()

    async def close(self) -> None:
        """End it and remove its temporary folder; may be called again."""
        try:
            if self._process is not None:
                await self.stop()
        finally:
            if self._own_folder is not None:
                shutil.rmtree(self._own_folder, ignore_errors=True)
                self._own_folder = None
