"""Load on a deployment of Redis while its servers come and go, and what must be true of everything afterwards."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from harness import DaemonProcess, RabbitMQ
from lockstore.stores.base import LockStore
from tests.conftest import DaemonMaker
from tests.support.bot import Bot
from tests.support.public import ENDS, Public

CONVERSATIONS = 6
OUTSTANDING = 3  # requests of one conversation, so that batches have several calls of one line
PATIENCE_S = 40.0
LIFETIME_S, FORGOTTEN_S = 60, 0.3
HOLD_S = 0.002
LOOK_S = 0.02  # pause between two looks


@dataclass(eq=False, slots=True)
class Asked:
    """One request, and what was heard of it."""

    conversation: str
    request_id: str
    plan: str
    numbers: set[int] = field(default_factory=set)
    granted: bool = False
    ends: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stay:
    """Somebody's time inside, by this process's monotonic clock."""

    number: int
    entered: float
    left: float


def plan_of(place: int) -> str:
    """Most hold for a moment; some leave the line while they wait, some forget to release. Only the first do anything inside."""
    return {4: "leave", 7: "forget"}.get(place % 12, "hold")


class Load(Bot):
    """A replica that keeps a few requests of each conversation outstanding, all published in a known order.

    With a store, direct callers stand in the same lines.
    """

    def __init__(
        self, url: str, namespace: str, conversations: Sequence[str] = (), store: LockStore | None = None
    ) -> None:
        super().__init__(url, namespace)
        self.conversations = list(conversations) or [f"c{place}" for place in range(CONVERSATIONS)]
        self.stays: dict[str, list[Stay]] = {name: [] for name in self.conversations}
        self.asked: dict[str, list[Asked]] = defaultdict(list)
        self.repeated = 0  # releases that were served already: the store was asked twice, because its answer was lost
        self._requests: dict[str, Asked] = {}
        self._store = store
        self._direct_numbers: dict[str, list[int]] = defaultdict(list)
        self._heard: set[str] = set()
        self._probes: dict[str, float] = {}  # when each was granted
        self._holding: set[asyncio.Task[None]] = set()
        self._places = {name: asyncio.Semaphore(OUTSTANDING) for name in self.conversations}
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Ask and hold until stopped, and then until everything asked for has ended."""
        async with asyncio.TaskGroup() as tasks:
            for conversation in self.conversations:
                tasks.create_task(self._talk(conversation))
                if self._store is not None:
                    tasks.create_task(self._visit(self._store, conversation))
        await self._until_ended()

    async def until(self, entries: int, patience_s: float = PATIENCE_S) -> None:
        """Wait until every conversation was entered that many more times."""
        wanted = {name: len(stays) + entries for name, stays in self.stays.items()}
        try:
            async with asyncio.timeout(patience_s):
                while any(len(self.stays[name]) < least for name, least in wanted.items()):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            short = {name: least - len(self.stays[name]) for name, least in wanted.items()}
            raise AssertionError(f"{self.namespace}: entries that are missing: {short}; {self._open()}") from None

    async def first_grant(self, interval_s: float = 0.05) -> float:
        """Ask in one new conversation after the other, and give the time of the first grant of them."""
        mine: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while not any(name in self._probes for name in mine):
                mine.append(await self.request(f"probe {len(self._requests)}-{len(mine)}", lifetime=FORGOTTEN_S))
                await asyncio.sleep(interval_s)
        return min(self._probes[name] for name in mine if name in self._probes)

    # --- asking ----------------------------------------------------------------------------------------------------------

    async def _talk(self, conversation: str) -> None:
        for place in count():
            await self._places[conversation].acquire()
            if self._stopping:
                return
            asked = Asked(conversation, f"{conversation}/{place}", plan_of(place))
            self.asked[conversation].append(asked)
            self._requests[asked.request_id] = asked
            lifetime = FORGOTTEN_S if asked.plan == "forget" else LIFETIME_S
            await self.request(conversation, asked.request_id, lifetime=lifetime, wait=LIFETIME_S)
            if asked.plan == "leave":
                await self.release(conversation, request_id=asked.request_id)

    async def _visit(self, store: LockStore, conversation: str) -> None:
        while not self._stopping:
            async with store.lock(conversation, LIFETIME_S, 0.1) as lock:
                number, entered = lock.now_serving, time.monotonic()
                self._direct_numbers[conversation].append(number)
                await asyncio.sleep(HOLD_S)
                self.stays[conversation].append(Stay(number, entered, time.monotonic()))
            await asyncio.sleep(HOLD_S)

    # --- hearing ---------------------------------------------------------------------------------------------------------

    async def _on_answer(self, message: AbstractIncomingMessage) -> None:
        answer, name = json.loads(message.body), str(message.message_id)
        if name in self._heard:
            return  # announced once more
        self._heard.add(name)
        asked = self._requests.get(answer["request_id"])
        if asked is None:
            if answer["type"] == "granted":
                self._probes[answer["request_id"]] = time.monotonic()
            return
        self._hear(asked, answer)

    def _hear(self, asked: Asked, answer: dict[str, Any]) -> None:
        kind = answer["type"]
        if kind == "rejected" and answer["reason"] == "finished":
            self.repeated += 1
            return
        if answer["ticket_number"] is not None:
            asked.numbers.add(answer["ticket_number"])
        if kind == "granted" and asked.plan == "hold" and not asked.granted:
            asked.granted = True
            task = asyncio.create_task(self._hold(asked, answer["ticket_number"]))
            self._holding.add(task)
            task.add_done_callback(self._holding.discard)
        elif kind in (*ENDS, "rejected"):
            asked.ends.append(kind if kind != "rejected" else f"rejected: {answer['reason']}")
            if len(asked.ends) == 1:
                self._places[asked.conversation].release()

    async def _hold(self, asked: Asked, number: int) -> None:
        entered = time.monotonic()
        await asyncio.sleep(HOLD_S)
        self.stays[asked.conversation].append(Stay(number, entered, time.monotonic()))
        await self.release(asked.conversation, ticket_number=number)

    async def _until_ended(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._open():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"{self.namespace}: never ended: {self._open()}") from None

    def _open(self) -> list[Asked]:
        return [asked for asked in self._requests.values() if not asked.ends]

    # --- what must be true -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """One outcome for each request, numbers in the order of publishing and never twice, one holder at a time."""
        for conversation in self.conversations:
            requests = self.asked[conversation]
            bad = [asked for asked in requests if len(asked.ends) != 1 or asked.ends[0] not in ENDS]
            assert not bad, f"not exactly one outcome: {bad}"
            assert all(len(asked.numbers) == 1 for asked in requests), f"{conversation}: not one number for each"
            numbers = [number for asked in requests for number in asked.numbers]
            assert numbers == sorted(set(numbers)), f"{conversation}: not in the order of publishing, or given twice"
            everybody = numbers + self._direct_numbers[conversation]
            assert len(set(everybody)) == len(everybody), f"{conversation}: given to a direct caller, too"
            self._check_stays(conversation)

    def _check_stays(self, conversation: str) -> None:
        stays = sorted(self.stays[conversation], key=lambda stay: stay.entered)
        for one, after in pairwise(stays):
            assert one.number < after.number, f"{conversation}: {after} entered after {one}"
            assert one.left <= after.entered, f"{conversation}: {after} overlaps {one}"

    def summary(self) -> str:
        """Say in figures what there was."""
        ends = [asked.ends[0] for asked in self._requests.values()]
        told = ", ".join(f"{ends.count(kind)} {kind}" for kind in ENDS)
        direct = sum(map(len, self._direct_numbers.values()))
        return f"{len(ends)} requests ({told}), {direct} direct locks, {self.repeated} releases asked for twice"


@dataclass(frozen=True, slots=True)
class Served:
    """One daemon on one store, with its load and those who follow its public events."""

    kind: str
    daemon: DaemonProcess
    load: Load
    public: Public
    running: asyncio.Task[None]

    async def finish(self) -> None:
        """End the load and look at everything that happened."""
        self.load.stop()
        await self.running
        self.load.check()
        asked = {asked.request_id for requests in self.load.asked.values() for asked in requests}
        await self.public.until_ended(asked, patience_s=PATIENCE_S)
        self.public.check()
        assert self.daemon.running
        print(f"{self.kind}: {self.load.summary()}")


@asynccontextmanager
async def served(
    rabbitmq: RabbitMQ,
    start_daemon: DaemonMaker,
    section: dict[str, Any],
    *,
    conversations: Sequence[str] = (),
    store: LockStore | None = None,
) -> AsyncIterator[Served]:
    """Start a daemon on a store whose key prefix is its namespace, and put it under load."""
    namespace = str(section["key_prefix"])
    daemon = await start_daemon(
        {"lock_store": section, "broker": {"url": rabbitmq.url, "namespace": namespace}, "daemon": {}},
        name=f"daemon-{section['type']}",
    )
    async with (
        Public(rabbitmq.url, namespace) as public,
        Load(rabbitmq.url, namespace, conversations, store) as load,
        asyncio.TaskGroup() as tasks,  # a load that fails ends its test
    ):
        running = tasks.create_task(load.run())
        yield Served(section["type"], daemon, load, public, running)
        running.cancel()
