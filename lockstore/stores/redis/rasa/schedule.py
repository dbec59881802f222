"""The agenda of the `redis` store: when to check which lines. It is written in the same step as the line.

A single server has one agenda. In a cluster a script cannot reach beyond one hash slot, and Rasa's keys are in all of
them, so each slot with lines has its own agenda, and a bitmap lists these slots.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lockstore.errors import ConversationError, StoreFullError
from lockstore.stores.redis.connection.client import Call, RedisClient
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.keys import RedisKeys
from lockstore.stores.results import Shard

__all__ = ["AGENDA_SCRIPTS", "Due", "Schedule"]

AGENDA_SCRIPTS = (load("agenda"), load("reschedule"))
"""The scripts to load."""

_READ, _RESCHEDULE = AGENDA_SCRIPTS

_LINES_MOST = 1000  # lines that one read of an agenda returns
_SLOTS_MOST = 1024  # agendas read in one batch; if there are more, successive patrols read different ones


@dataclass(frozen=True, slots=True)
class Due:
    """The result of reading an agenda. Times in ms of the server's clock."""

    slot: int
    now_ms: int
    times: dict[str, int]
    """Conversations to check, each with its scheduled time."""
    next_ms: int | None
    """The earliest scheduled time of the other lines."""

    @property
    def is_full(self) -> bool:
        """Whether more lines may be due."""
        return len(self.times) == _LINES_MOST


class Schedule:
    """Finds the lines to check, whichever process wrote them."""

    def __init__(self, keys: RedisKeys, servers: RedisClient) -> None:
        self._keys = keys
        self._servers = servers
        self._known: set[int] = set() if keys.clustered else {0}  # slots that have an agenda
        self._marked: set[int] = set()  # those of them whose bit is set
        self._turn = 0

    @property
    def known(self) -> Collection[int]:
        """The slots known to have an agenda."""
        return self._known

    def slots(self) -> Sequence[Shard]:
        """Return the slots for this patrol."""
        known = sorted(self._known)
        if len(known) <= _SLOTS_MOST:
            return known
        start, self._turn = self._turn, (self._turn + _SLOTS_MOST) % len(known)
        return (known[start:] + known[:start])[:_SLOTS_MOST]

    async def mark(self, slot: int) -> None:
        """Make the slot visible to other processes before a line is written in it."""
        if self._keys.clustered and slot not in self._marked:
            await self._servers.ask_all([("SETBIT", self._keys.slots, slot, 1)])
            self._marked.add(slot)
            self._known.add(slot)

    async def add(self, conversation_ids: Iterable[str]) -> None:
        """Schedule lines that are missing from the agenda."""
        found = [(self._keys.slot_of(conversation_id), conversation_id) for conversation_id in conversation_ids]
        for slot in {slot for slot, _ in found}:
            await self.mark(slot)
        commands = [("ZADD", self._keys.agenda(slot), "NX", 0, conversation_id) for slot, conversation_id in found]
        with suppress(StoreFullError):  # only lines that Rasa has written since the last start are missing then
            await self._servers.ask_all(commands)

    async def discover(self) -> None:
        """Discover slots in which other processes have written lines."""
        if not self._keys.clustered:
            return
        [bits] = await self._servers.ask_all([("GETRANGE", self._keys.slots, 0, -1)])
        if isinstance(bits, ConversationError):
            return  # another program's value; the slots known to this process are still checked
        marked = {place * 8 + bit for place, byte in enumerate(bits) if byte for bit in range(8) if byte & 128 >> bit}
        self._marked = set(marked)  # Redis may have lost some
        self._known |= marked

    async def read_due(self, slots: Sequence[Shard], ahead_ms: int) -> list[Due]:
        """Return what is due within `ahead_ms` in the agendas of these slots."""
        slots = list(dict.fromkeys(slots))
        calls = [Call(_READ, (self._keys.agenda(int(slot)),), (_LINES_MOST, ahead_ms)) for slot in slots]
        found = []
        for slot, reply in zip(slots, await self._servers.run_all(calls), strict=True):
            if isinstance(reply, ConversationError):
                continue  # another program's value
            now_ms, next_ms, due = reply
            times = {member.decode(): int(score) for member, score in zip(due[::2], due[1::2], strict=True)}
            found.append(Due(int(slot), now_ms, times, next_ms if next_ms >= 0 else None))
        return found

    async def clock_ms(self) -> int:
        """Return a server's clock, ms."""
        slot = next(iter(self._known), 0)
        now_ms, _, _ = await self._servers.run(Call(_READ, (self._keys.agenda(slot),), (0, 0)))
        return int(now_ms)

    async def roster(self) -> AsyncIterator[list[str]]:
        """Iterate over all lines in the agendas, by scheduled time."""
        await self.discover()
        known = sorted(self._known)
        for start in range(0, len(known), _SLOTS_MOST):
            slots = known[start : start + _SLOTS_MOST]
            place = 0
            while slots:
                asked = [("ZRANGE", self._keys.agenda(slot), place, place + _LINES_MOST - 1) for slot in slots]
                replies = await self._servers.ask_all(asked)
                found = [(slot, reply) for slot, reply in zip(slots, replies, strict=True) if isinstance(reply, list)]
                yield [member.decode() for _, reply in found for member in reply]
                slots = [slot for slot, reply in found if len(reply) == _LINES_MOST]
                place += _LINES_MOST

    async def soon(self, ahead_ms: int) -> list[str]:
        """Return the lines of all slots due within `ahead_ms`."""
        known = sorted(self._known)
        dues: list[Due] = []
        for start in range(0, len(known), _SLOTS_MOST):
            dues += await self.read_due(known[start : start + _SLOTS_MOST], ahead_ms)
        return [conversation_id for due in dues for conversation_id in due.times]

    async def correct(self, corrections: Iterable[tuple[str, int, int | None]]) -> None:
        """Reschedule lines (None: remove them), unless their scheduled time has changed since it was read."""
        calls = []
        for conversation_id, read_ms, at_ms in corrections:
            agenda = self._keys.agenda(self._keys.slot_of(conversation_id))
            calls.append(Call(_RESCHEDULE, (agenda,), (conversation_id, read_ms, "" if at_ms is None else at_ms)))
        await self._servers.run_all(calls)
