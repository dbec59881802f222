"""`lockstore check`: runs the checks one after the other, and prints a table with remedies."""

import os
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from daemon.admin.checks.broker import BrokerChecks, check_hosts
from daemon.admin.checks.lines import examine_lines
from daemon.admin.checks.round_trip import ASK_THE_DAEMON, RoundTrip
from daemon.admin.checks.runner import CheckResult, Failure, Step, Steps
from daemon.admin.checks.store import CONVERSATION, StoreChecks
from daemon.broker.connection import (
    CONNECTION_ERRORS,
    FilteredConnection,
    address_of,
    as_config_error,
    connect,
    hosts_of,
)
from daemon.cli import progress
from daemon.cli.exit_codes import OK, PROBLEMS
from daemon.cli.report import Report, carry_out
from daemon.cli.tables import lines, say, show
from daemon.config import settings
from daemon.config.settings import Settings
from lockstore.amqp.errors import describe_error
from lockstore.factory import REDIS_STORES, create_store
from lockstore.protocol.naming import partition_of
from lockstore.stores.base import LockStore
from lockstore.stores.memory import InMemoryLockStore
from lockstore.stores.redis.server_info import Remark, inspect

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["run"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
_BROKER_REMEDY = "run this again; if the problem persists, check RabbitMQ's log"
_STORE_REMEDY = "see the options of lock_store in docs/lock-stores.md, and docs/redis.md, When something is wrong"


@dataclass(kw_only=True)
class _Report(Report):
    steps: Steps = field(default_factory=Steps)

    def _count(self, result: str) -> int:
        return sum(step.verdict.result == result for step in self.steps.taken)

    @property
    def exit_code(self) -> int:
        """Whether a step has failed."""
        return PROBLEMS if self._count("fail") or super().exit_code != OK else OK

    def as_dict(self) -> dict[str, Any]:
        """Return all steps, for JSON."""
        return {
            "ok": self.exit_code == OK,
            "steps": [
                {
                    "name": step.name,
                    "result": step.verdict.result,
                    "said": step.verdict.said,
                    "remedy": step.verdict.remedy,
                    "findings": [asdict(finding) for finding in step.verdict.findings],
                    "took_ms": None if step.took_ms is None else round(step.took_ms, 1),
                }
                for step in self.steps.taken
            ],
        }

    def say_end(self) -> None:
        """Print all steps, and a summary."""
        show(("step", "", "ms>", "found, and what to do"), map(_row, self.steps.taken))
        counts = [f"{count} {result}" for result in ("fail", "warn", "skip", "ok") if (count := self._count(result))]
        say(f"{', '.join(counts)}.{' Interrupted.' if self.interrupted else ''}")


def _row(step: Step) -> tuple[str | Text, ...]:
    verdict = step.verdict
    took = "" if step.took_ms is None else f"{step.took_ms:,.1f}"
    found = [verdict.said] if verdict.remedy is None else [verdict.said, f"-> {verdict.remedy}"]
    return step.name, Text(verdict.result, _COLOURS[verdict.result]), took, lines(found)


def run(config: Path | None, *, as_json: bool) -> int:
    """Run the checks, print the result, and return the exit code. Raises ConfigError if the file is invalid."""
    loaded = settings.load(config)
    store = create_store(loaded.lock_store, loaded.daemon.limits, os.environ)
    report = _Report()
    said = f"{config or 'all defaults'}: namespace {loaded.broker.namespace}, partitions: {loaded.broker.partitions}, {loaded.store_type}"
    report.steps.note("configuration", CheckResult("ok", said))
    return carry_out("check", report, _work(report.steps, loaded, store), as_json=as_json)


async def _work(steps: Steps, loaded: Settings, store: LockStore) -> None:
    with progress.line() as moving:
        task = moving.add_task("", total=None)
        steps.begun = lambda name: moving.update(task, description=name)
        try:
            async with AsyncExitStack() as stack:
                connection = await _check_broker(steps, loaded, stack)
                if await _check_store(steps, loaded, store) and connection is not None:
                    await steps.take("lines", examine_lines(connection, loaded), _STORE_REMEDY)
        finally:
            await store.close()


async def _check_broker(steps: Steps, loaded: Settings, stack: AsyncExitStack) -> "AbstractConnection | None":
    """Run the checks of RabbitMQ, and return the connection, which is closed with the stack."""
    broker, way = loaded.broker, address_of(loaded.broker)
    found: list[FilteredConnection] = []
    remedy = f"is RabbitMQ running there? broker.url names {way.place}"

    async def reach() -> CheckResult:
        try:
            found.append(await stack.enter_async_context(connect(broker)))
        except CONNECTION_ERRORS as error:
            if as_config_error(error) is not None:
                raise
            described = describe_error(error, way)
            raise Failure(described.what, described.remedy or remedy) from None
        return CheckResult("ok", f"{found[0].endpoint.address}{', encrypted' if broker.speaks_tls else ''}")

    if not await steps.take("RabbitMQ: connection", reach(), remedy, None):
        return None
    if hosts_of(broker).are_several:
        await steps.take("RabbitMQ: hosts", check_hosts(broker), _BROKER_REMEDY, None)
    checks = BrokerChecks(loaded, found[0])
    await steps.take("RabbitMQ: server", checks.server(), _BROKER_REMEDY)
    await steps.take("RabbitMQ: rights", checks.rights(), _BROKER_REMEDY)
    is_there = await steps.take("request queues", checks.topology(), _BROKER_REMEDY)
    await steps.take("dead letters", checks.dead_letters(), _BROKER_REMEDY)
    await steps.take("daemons", checks.service(), _BROKER_REMEDY)
    partition = partition_of(CONVERSATION, broker.partitions)
    queue = checks.queues.get(partition)
    if not is_there or queue is None or not queue.consumers:
        said = f"no daemon serves partition {partition}, which the conversation of checks belongs to"
        steps.note("round trip", CheckResult("skip", said, "start a daemon: lockstore serve"))
    else:
        await _check_round_trip(steps, found[0], loaded)
    return found[0]


async def _check_round_trip(steps: Steps, connection: "AbstractConnection", loaded: Settings) -> None:
    async with RoundTrip(connection, loaded.broker) as trip:
        going = await steps.take("round trip: request", trip.granted(), ASK_THE_DAEMON)
        going = going and await steps.take("round trip: renew", trip.renewed(), ASK_THE_DAEMON)
        going = going and await steps.take("round trip: release", trip.released(), ASK_THE_DAEMON)
        if going and loaded.daemon.events:
            await steps.take("round trip: events", trip.events(), ASK_THE_DAEMON)


async def _check_store(steps: Steps, loaded: Settings, store: LockStore) -> bool:
    """Run the checks of the lock store, and return whether the check can continue."""
    if isinstance(store, InMemoryLockStore):
        steps.note(
            "lock store", CheckResult("skip", "in_memory: it lives and ends with its daemon, and no other can see it")
        )
        return True
    checks = StoreChecks(store)
    if not await steps.take("lock store: connection", checks.open(), _STORE_REMEDY):
        return False
    if loaded.lock_store.get("type") in REDIS_STORES:
        await _check_redis(steps, loaded)
    await steps.take("lock store: clock", checks.clock(), _STORE_REMEDY)
    return await steps.take("lock store: a ticket", checks.work(), _STORE_REMEDY)


async def _check_redis(steps: Steps, loaded: Settings) -> None:
    remarks: list[Remark] = []

    async def ask() -> CheckResult:
        remarks.extend(await inspect(loaded.lock_store, os.environ))
        return _verdict_of(remarks.pop(0))

    await steps.take("Redis: version", ask(), _STORE_REMEDY)
    for remark in remarks:
        steps.note(f"Redis: {remark.about}", _verdict_of(remark))


def _verdict_of(remark: Remark) -> CheckResult:
    return CheckResult(remark.result, remark.said, remark.remedy)
