"""Daemons that die, hang, stop and come all the while."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from harness import DEBUG, DaemonProcess, RedisServer
from tests.support.brittle_daemon import FLAG, STEPS

HEARTBEAT_S = 1  # of the daemons' connections to the broker
LIFE_S = (0.3, 4.0)  # between a daemon's start and what befalls it
VISIT_S = (2.0, 8.0)  # of one that comes in addition, and of its absence
ABSENCE_S = (0.0, 1.0)  # between a daemon's end and its next start
SHORT_PAUSE_S = (0.1, 0.8)
LONG_PAUSE_S = (3.5 * HEARTBEAT_S, 6.0 * HEARTBEAT_S)  # the broker gives up a connection that is silent for so long
ADDITIONS = 2  # daemons at most beside the fleet

BRITTLE = "tests.support.brittle_daemon"
HANG_MS = 400  # of the store; from a second of silence on the daemons would look for another server
STEP_S = 2.0  # for the step to come at which a daemon is to die; an idle one is killed then

MISHAPS = {"kill": 5, "terminate": 3, "pause": 2, "long pause": 2}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run takes place: the daemons' configuration, the servers of their store, a folder for their logs.

    `module` is what to run; None: the real daemon and the brittle one by turns.
    """

    config: dict[str, Any]
    stores: Sequence[RedisServer]
    folder: Path
    module: str | None = None


@dataclass(slots=True)
class Toll:
    """What befell the daemons. `surprises` are what nobody did to them: exits, and stops that were not clean."""

    counts: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)


class Chaos:
    """A fleet, and what befalls each of its daemons by the seed. In what moment it does, the machine decides."""

    def __init__(self, site: Site, size: int, seed: int) -> None:
        self.toll = Toll()
        self.daemons: list[DaemonProcess] = []
        self._brittle: set[DaemonProcess] = set()
        for place in range(size + ADDITIONS):
            module = site.module or (BRITTLE if place % 2 else "daemon")
            name = f"daemon-{place + 1}"
            folder = site.folder / name
            argv = DEBUG if module == "daemon" else ()  # the others tell all by themselves
            self.daemons.append(DaemonProcess(site.config, name=name, argv=argv, module=module, folder=folder))
            if module == BRITTLE:
                self._brittle.add(self.daemons[-1])
        self._stores = site.stores
        self._size = size
        self._seed = seed

    @property
    def running(self) -> int:
        """How many daemons there are, those that hang included."""
        return sum(daemon.running for daemon in self.daemons)

    async def open(self) -> None:
        """Start the fleet."""
        async with asyncio.TaskGroup() as tasks:
            for daemon in self.daemons[: self._size]:
                tasks.create_task(daemon.start())

    async def run(self, over: asyncio.Event) -> None:
        """Let things happen until it is over; then the fleet runs, and nobody else."""
        async with asyncio.TaskGroup() as tasks:
            for place, daemon in enumerate(self.daemons):
                live = self._live if place < self._size else self._visit
                tasks.create_task(live(daemon, random.Random(f"{self._seed}/{place}"), over))

    async def kill_in_turn(self, every_s: float, over: asyncio.Event) -> None:
        """Kill one daemon after the other, and start it again at once; the time of a start is part of the pause."""
        began = time.monotonic()
        for number, daemon in enumerate(cycle(self.daemons[: self._size]), start=1):
            if await _rest(max(0.0, began + number * every_s - time.monotonic()), over):
                return
            self._look(daemon)
            self.toll.counts["kill"] += 1
            await daemon.kill()
            await daemon.start()

    async def close(self) -> None:
        """Stop all, as an operator does."""
        for daemon in self.daemons[: self._size]:
            self._look(daemon)
        await asyncio.gather(*(self._stop(daemon) for daemon in self.daemons if daemon.running))

    async def remove(self) -> None:
        """End all, whatever state they are in."""
        await asyncio.gather(*(daemon.close() for daemon in self.daemons))

    async def _live(self, daemon: DaemonProcess, chance: random.Random, over: asyncio.Event) -> None:
        while True:
            if not daemon.running:
                await _rest(chance.uniform(*ABSENCE_S), over)
                await daemon.start()
            if await _rest(chance.uniform(*LIFE_S), over):
                return
            self._look(daemon)
            if daemon.running:
                await self._befall(daemon, chance, over)

    async def _visit(self, daemon: DaemonProcess, chance: random.Random, over: asyncio.Event) -> None:
        while not await _rest(chance.uniform(*VISIT_S), over):
            await daemon.start()
            self.toll.counts["addition"] += 1
            await _rest(chance.uniform(*VISIT_S), over)
            self._look(daemon)
            if daemon.running:
                await (self._kill(daemon, chance) if chance.random() < 0.5 else self._terminate(daemon))

    async def _befall(self, daemon: DaemonProcess, chance: random.Random, over: asyncio.Event) -> None:
        mishap = chance.choices(list(MISHAPS), list(MISHAPS.values()))[0]
        if mishap == "kill":
            await self._kill(daemon, chance)
        elif mishap == "terminate":
            await self._terminate(daemon)
        else:
            self.toll.counts[mishap] += 1
            daemon.pause()
            try:
                await _rest(chance.uniform(*(SHORT_PAUSE_S if mishap == "pause" else LONG_PAUSE_S)), over)
            finally:
                daemon.resume()

    async def _kill(self, daemon: DaemonProcess, chance: random.Random) -> None:
        """Kill a daemon: at any moment, while the store keeps it waiting, or (a brittle one) between two steps of its work."""
        step, hangs = chance.choice(STEPS), chance.random() < 0.35
        if hangs:
            self.toll.counts["kill before the store's step"] += 1
            for store in self._stores:
                await store.admin("CLIENT", "PAUSE", HANG_MS)
            await asyncio.sleep(HANG_MS / 2000)
            await daemon.kill()
        elif daemon in self._brittle and await _dies_at(step, daemon):
            self.toll.counts["kill between steps"] += 1
        else:
            self.toll.counts["kill"] += 1
            await daemon.kill()

    async def _terminate(self, daemon: DaemonProcess) -> None:
        self.toll.counts["terminate"] += 1
        await self._stop(daemon)

    async def _stop(self, daemon: DaemonProcess) -> None:
        code = await daemon.stop()
        if code != 0:
            self.toll.surprises.append(str(daemon.process.failure(f"was stopped, and its exit code was {code}")))

    def _look(self, daemon: DaemonProcess) -> None:
        if not daemon.running:
            self.toll.surprises.append(
                str(daemon.process.failure(f"ended by itself with exit code {daemon.exit_code}"))
            )


async def _dies_at(step: str, daemon: DaemonProcess) -> bool:
    """Have a brittle daemon die after a step of its work, and tell whether it did."""
    flag = daemon.folder / FLAG
    flag.write_text(step)
    try:
        async with asyncio.timeout(STEP_S):
            while daemon.running:
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    finally:
        flag.unlink()
    return True


async def _rest(seconds: float, over: asyncio.Event) -> bool:
    """Wait for a while, and tell whether it is over."""
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        return False
    return True
