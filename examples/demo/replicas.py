"""The replicas, each a process of its own, and what is done to them."""

import asyncio
import os
import sys
from pathlib import Path

from examples.demo.options import Options
from examples.demo.records import Record, Recorder, What, now
from harness.process import Command, Process

__all__ = ["HURT", "LEASE_S", "WORKING", "Troupe"]

WORKING, KILLED, STOPPED, FINISHING, DONE = "working", "killed", "stopped", "finishing", "done"
HURT = (KILLED, STOPPED)

LEASE_S = 2.0
MESSAGES_PER_S = 120.0  # to all replicas together
GRACE_S = 15.0  # for a replica to finish what it has begun

_CHECKOUT = Path(__file__).resolve().parents[2]


class Troupe:
    """The replicas of one run. What is done to them is recorded, because the verdict must know."""

    def __init__(self, folder: Path, records: Path, options: Options) -> None:
        self._folder = folder
        self._records = records
        self._options = options
        self._diary = Recorder(records / "conductor.jsonl")
        self._processes: dict[str, Process] = {}
        self.states: dict[str, str] = {}

    def start(self, url: str) -> None:
        """Start all replicas, on the broker at this address."""
        for number in range(1, self._options.replicas + 1):
            name = f"bot-{number}"
            self._processes[name] = Process(self._command(name, url))
            self.states[name] = WORKING

    def _command(self, name: str, url: str) -> Command:
        what = {
            "--name": name,
            "--url": url,
            "--conversations": str(self._options.conversations),
            "--rate": str(MESSAGES_PER_S / self._options.replicas),
            "--lease": str(LEASE_S),
            "--records": str(self._records / f"{name}.jsonl"),
        }
        return Command(
            name=name,
            argv=(sys.executable, "-m", "examples.demo.replica", *(word for pair in what.items() for word in pair)),
            folder=self._folder,
            log=self._folder / f"{name}.log",
            env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        )

    async def kill(self, name: str) -> None:
        """End a replica in the middle of its work."""
        self._note(What.KILLED, name, KILLED)
        await self._processes[name].kill()

    def stop(self, name: str) -> None:
        """Stop a replica in its tracks."""
        self._note(What.STOPPED, name, STOPPED)
        self._processes[name].pause()

    def let_go_on(self, name: str) -> None:
        """Let a stopped replica go on, as if nothing had been."""
        self._processes[name].resume()
        self._note(What.CONTINUED, name, WORKING)

    def check(self) -> None:
        """Raise ProcessFailedError if a replica has ended on its own."""
        for name, process in self._processes.items():
            if self.states[name] == WORKING and not process.running:
                raise process.failure(f"ended with exit code {process.exit_code}")

    async def finish(self) -> None:
        """Have all replicas finish what they have begun. Raises ProcessFailedError if one fails at it."""
        working = [name for name, state in self.states.items() if state == WORKING]
        for name in working:
            self.states[name] = FINISHING
        codes = await asyncio.gather(*(self._processes[name].stop(GRACE_S) for name in working))
        for name, code in zip(working, codes, strict=True):
            if code:
                raise self._processes[name].failure(f"ended with exit code {code}")
            self.states[name] = DONE

    async def break_off(self) -> None:
        """End whatever runs, at once."""
        self._note(What.BROKEN_OFF)
        await asyncio.gather(*(process.kill() for process in self._processes.values()))

    def _note(self, what: What, name: str = "", state: str = "") -> None:
        self._diary.write(Record(what=what, at=now(), replica=name))
        if name:
            self.states[name] = state

    def close(self) -> None:
        """Close the diary."""
        self._diary.close()
