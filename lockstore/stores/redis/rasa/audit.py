"""The audit of the `redis` store: each line is read together with its place in the agenda."""

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any

from lockstore.core.ticket import TicketLock
from lockstore.errors import ConversationError
from lockstore.stores.audit import Audited, AuditFinding, Progress, judge_lateness, judge_line
from lockstore.stores.line_engine import LineEngine
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.key_ownership import RedisNames
from lockstore.stores.redis.keys import RedisKeys
from lockstore.stores.redis.rasa.schedule import Schedule
from lockstore.stores.redis.rasa.serialization import parsed

__all__ = ["INSPECT_LOCK", "RedisAudit"]

INSPECT_LOCK = load("inspect_lock")
"""The scripts to load."""

_TOGETHER = 100  # lines read in one round trip
_AGENDA_SLACK_MS = 5000  # how late a line may be scheduled: patrols postpone lines that they have just checked


class RedisAudit:
    """Checks all lines in the agenda, then scans all keys for lines missing from it."""

    def __init__(self, keys: RedisKeys, names: RedisNames, servers: RedisClient, agenda: Schedule) -> None:
        self._keys = keys
        self._names = names
        self._servers = servers
        self._schedule = agenda
        self._seen: set[str] = set()

    async def run(self) -> AsyncIterator[Audited]:
        """Yield findings and progress."""
        async for names in self._schedule.roster():
            for finding in await self._inspect(names):
                yield finding
            yield Progress("lines", len(self._seen), None)
        visited = 0
        async for page in self._servers.pages(self._names.pattern):
            named = [(key, self._names.name_of(key)) for key in (raw.decode(errors="backslashreplace") for raw in page)]
            for key, name in named:
                if name is None and key.startswith(self._names.own_start):
                    yield AuditFinding(None, "name", f"the store does not use such a key name: {key}")
            ids = [name.conversation_id for _, name in named if name is not None and name.kind in ("lock", "memo")]
            for finding in await self._inspect([name for name in ids if name is not None]):
                yield finding
            visited += len(page)
            yield Progress("keys", visited, None)

    async def _inspect(self, names: Sequence[str]) -> list[AuditFinding]:
        """Read and check lines that were not checked yet."""
        found: list[AuditFinding] = []
        rest = iter([name for name in dict.fromkeys(names) if name not in self._seen])
        while some := list(islice(rest, _TOGETHER)):
            calls = []
            for name in some:
                agenda = self._keys.agenda(self._keys.slot_of(name))
                calls.append(Call(INSPECT_LOCK, (*self._keys.of(name), agenda), (name,)))
            for name, reply in zip(some, await self._servers.run_all(calls), strict=True):
                self._seen.add(name)
                found += _judged(name, reply)
        return found


def _judged(name: str, reply: Any) -> Iterator[AuditFinding]:
    if isinstance(reply, ConversationError):
        yield AuditFinding(name, "data", str(reply))
        return
    now_ms, noted, *values = reply
    try:
        lock = parsed(name, values)
    except ConversationError as error:
        yield AuditFinding(name, "data", str(error))
        return
    last = int(values[1]) if values[1] else None
    noted_ms = int(float(noted)) if noted else None
    look_at_ms = LineEngine.look_at_ms(lock)
    # If a Rasa process has removed the head, the next patrol grants the new one at the time in the agenda.
    ready_ms = now_ms if noted_ms is not None and noted_ms <= now_ms + _AGENDA_SLACK_MS else None
    for finding in judge_line(lock, now_ms):
        if finding.rule != "head" or ready_ms is None:
            yield finding
    if last is not None and lock.tickets and lock.tickets[-1].number > last and lock.tickets[-1].claim:
        yield AuditFinding(name, "numbers", f"ticket {lock.tickets[-1].number} is above the last number issued, {last}")
    yield from judge_lateness(lock, now_ms)
    if look_at_ms is None or _is_rasas(lock):
        return
    if noted_ms is None:
        yield AuditFinding(
            name, "deadline", "it is missing from the agenda: no daemon processes its deadlines and events"
        )
    elif noted_ms > max(now_ms, look_at_ms) + _AGENDA_SLACK_MS:
        yield AuditFinding(name, "deadline", f"it is scheduled {(noted_ms - look_at_ms) / 1000:.0f} s too late")


def _is_rasas(lock: TicketLock) -> bool:
    """Return whether a line may be known only to Rasa processes, which do not maintain the agenda."""
    return not lock.outbox and all(ticket.claim is None for ticket in lock.tickets)
