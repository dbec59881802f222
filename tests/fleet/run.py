"""One run: a fleet under load while its daemons die, and the judgement on everything that was published and heard."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from harness import DaemonProcess, RabbitMQ
from harness.history import FaultKind, History, Verdict, judge
from tests.fleet.chaos import HEARTBEAT_S, Chaos, Site, Toll
from tests.fleet.hand_offs import hand_offs
from tests.fleet.hostile import PREFIX, HostileSender, Turn
from tests.fleet.load import Publisher, Work
from tests.support.recorder import Follower, Recorder

LOOK_S = 0.5
PROGRESS_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, with how many daemons, by which seed, and what the load is.

    `patience_s` is for everything to come to its end once nothing happens to the daemons any more; in a calm run nothing does.
    """

    seconds: float = 35.0
    seed: int = 1
    daemons: int = 4
    patience_s: float = 120.0
    is_calm: bool = False
    kill_every_s: float | None = None  # in place of chaos: one daemon after the other is killed, and started again
    is_hostile: bool = False  # a hostile sender is there all the while
    hostile_turn_s: float | None = None  # or by turns of so many seconds, so that one run has times with and without it
    work: Work = field(default_factory=Work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to."""

    plan: Plan
    verdict: Verdict
    toll: Toll
    history: History
    hand_overs: int  # a partition was served by another daemon than before
    loaded_s: float  # how long was published
    settled_s: float  # how long it then took until all was over and told
    hostile: Counter[str]  # hostile messages that RabbitMQ took, by kind
    turns: list[Turn]  # when the hostile sender sent, and when it rested
    hand_offs: list[
        tuple[float, float]
    ]  # when each began, and its ms: from sending a release to hearing the next grant

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong, with the history or with the daemons."""
        return self.verdict.is_well and not self.toll.surprises


def configured(rabbitmq: RabbitMQ, namespace: str, store: dict[str, Any], work: Work) -> dict[str, Any]:
    """Configure the daemons of a run."""
    return {
        "lock_store": {"key_prefix": namespace, **store},
        "broker": {
            "url": rabbitmq.url,
            "namespace": namespace,
            "partitions": work.partitions,
            "heartbeat": HEARTBEAT_S,
        },
        "daemon": {},
    }


async def run(site: Site, plan: Plan, tell: Callable[[str], None] = print) -> Outcome:
    """Start a fleet, put it under load, let things happen to it, and judge."""
    url, namespace = site.config["broker"]["url"], site.config["broker"]["namespace"]
    recorder = Recorder(PREFIX)
    chaos = Chaos(site, plan.daemons, plan.seed)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(chaos.remove)
        await chaos.open()
        await stack.enter_async_context(Follower(url, namespace, recorder))
        publishers = [
            await stack.enter_async_context(Publisher(url, namespace, recorder, plan.work, f"p{plan.seed}.{number}"))
            for number in range(plan.work.publishers)
        ]
        sender = HostileSender(url, namespace, plan.work.partitions, plan.hostile_turn_s)
        if plan.is_hostile:
            await stack.enter_async_context(sender)
        started = time.monotonic()
        await _happen(plan, recorder, chaos, [*publishers, *([sender] if plan.is_hostile else [])], tell)
        loaded_s = time.monotonic() - started
        await _settle(plan.patience_s, recorder, publishers, tell)
        settled_s = time.monotonic() - started - loaded_s
        await chaos.close()
        await asyncio.sleep(LOOK_S)  # what they said last arrives
        chaos.toll.surprises += _complaints(chaos.daemons)
        return Outcome(
            plan=plan,
            verdict=await _judged(recorder),
            toll=chaos.toll,
            history=recorder.history(),
            hand_overs=_hand_overs(chaos.daemons),
            loaded_s=loaded_s,
            settled_s=settled_s,
            hostile=sender.sent,
            turns=sender.turns,
            hand_offs=hand_offs(recorder.history()),
        )


async def _happen(
    plan: Plan, recorder: Recorder, chaos: Chaos, senders: list[Publisher | HostileSender], tell: Callable[[str], None]
) -> None:
    over = asyncio.Event()
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for sender in senders:
            tasks.create_task(sender.run(over))
        if plan.kill_every_s is not None:
            tasks.create_task(chaos.kill_in_turn(plan.kill_every_s, over))
        elif not plan.is_calm:
            tasks.create_task(chaos.run(over))
        while (passed_s := time.monotonic() - began) < plan.seconds:
            await asyncio.sleep(min(PROGRESS_S, plan.seconds - passed_s))
            counts = " ".join(f"{name} {count}" for name, count in sorted(chaos.toll.counts.items()))
            tell(
                f"{time.monotonic() - began:6.0f} s  requests {recorder.requests}  granted {recorder.granted}"
                f"  open {len(recorder.open)}  daemons {chaos.running}  {counts}"
            )
        over.set()


async def _settle(
    patience_s: float, recorder: Recorder, publishers: list[Publisher], tell: Callable[[str], None]
) -> None:
    """Wait until nothing is missing any more, or patience is at its end: then the judgement says what is."""
    began = told_at = time.monotonic()
    while (now := time.monotonic()) < began + patience_s:
        if now > told_at + PROGRESS_S:
            told_at = now
            tell(f"{now - began:6.0f} s after it: open {len(recorder.open)}, as {sorted(recorder.open)[:3]}")
        if not recorder.open:
            await asyncio.gather(*(publisher.finish() for publisher in publishers))
            missing = (await _judged(recorder)).count(FaultKind.LOST)
            if not missing:
                return
            tell(f"still to be heard: {missing}")
        await asyncio.sleep(LOOK_S)
    tell(f"patience is at its end: {len(recorder.open)} requests are not over")


async def _judged(recorder: Recorder) -> Verdict:
    """Judge beside the event loop: after a long run it takes longer than the broker waits for a heartbeat."""
    return await asyncio.to_thread(judge, recorder.history())


def _complaints(daemons: Iterable[DaemonProcess]) -> Iterator[str]:
    """Find in the logs what no daemon should have to say."""
    for daemon in daemons:
        yield from (f"{daemon.name}: {line}" for line in daemon.log_lines() if line.get("level") == "error")
        if daemon.log.exists() and "Traceback" in daemon.log.read_text(errors="replace"):
            yield f"{daemon.name}: a traceback in {daemon.log}"


def _hand_overs(daemons: Iterable[DaemonProcess]) -> int:
    """Count how often a partition's batches were served by another process than the last one, by the daemons' logs."""
    served = sorted(
        (line["partition"], line["timestamp"], daemon.name)
        for daemon in daemons
        for line in daemon.events("batch.served")
    )
    return sum(one[0] == after[0] and one[2] != after[2] for one, after in pairwise(served))
