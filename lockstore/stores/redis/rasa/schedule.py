"""The agenda of the `redis` store: in which lines something is due, and when. Written in the same step as the line.

One server has one agenda. In a cluster no step reaches beyond one hash slot, and Rasa's keys lie in all of them, so each slot
that has lines has an agenda of its own, and a bitmap says which slots those are.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lockstore.errors import ConversationError, StoreFullError
from lockstore.stores.redis.connection import Call, RedisClient
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.keys import RedisKeys
from lockstore.stores.results import Shard

__all__ = ["AGENDA_SCRIPTS", "Due", "Schedule"]

AGENDA_SCRIPTS = (load("agenda"), load("reschedule"))
"""What the server has to have loaded."""

_READ, _RESCHEDULE = AGENDA_SCRIPTS

_LINES_MOST = 1000  # that one look at one agenda brings
_SLOTS_MOST = 1024  # agendas in one batch; where there are more, a patrol looks at some, and the next one at others


@dataclass(frozen=True, slots=True)
class Due:
    """What one look at an agenda brought. Times in ms of the server's clock."""

    slot: int
    now_ms: int
    times: dict[str, int]
    """Conversations to look at, each with the time that it was noted for."""
    next_ms: int | None
    """When something of the others is due."""

    @property
    def is_full(self) -> bool:
        """Whether there may be more."""
        return len(self.times) == _LINES_MOST


class Schedule:
    """Finds the lines to look at, whoever wrote them."""

    def __init__(self, keys: RedisKeys, servers: RedisClient) -> None:
        self._keys = keys
        self._servers = servers
        self._known: set[int] = set() if keys.clustered else {0}  # slots that have an agenda
        self._marked: set[int] = set()  # those of them whose bit is set
        self._turn = 0

    @property
    def known(self) -> Collection[int]:
        """The slots that are known to have an agenda."""
        return self._known

    def slots(self) -> Sequence[Shard]:
        """Give the slots to look at in this patrol."""
        known = sorted(self._known)
        if len(known) <= _SLOTS_MOST:
            return known
        start, self._turn = self._turn, (self._turn + _SLOTS_MOST) % len(known)
        return (known[start:] + known[:start])[:_SLOTS_MOST]

    async def mark(self, slot: int) -> None:
        """Have the slot found by others, before a line is written in it."""
        if self._keys.clustered and slot not in self._marked:
            await self._servers.ask_all([("SETBIT", self._keys.slots, slot, 1)])
            self._marked.add(slot)
            self._known.add(slot)

    async def note(self, conversation_ids: Iterable[str]) -> None:
        """Have lines looked at that are on no agenda."""
        found = [(self._keys.slot_of(conversation_id), conversation_id) for conversation_id in conversation_ids]
        for slot in {slot for slot, _ in found}:
            await self.mark(slot)
        commands = [("ZADD", self._keys.agenda(slot), "NX", 0, conversation_id) for slot, conversation_id in found]
        with suppress(StoreFullError):  # only the lines that Rasa has written since the last start are not there yet
            await self._servers.ask_all(commands)

    async def discover(self) -> None:
        """Learn of the slots that others have lines in."""
        if not self._keys.clustered:
            return
        [bits] = await self._servers.ask_all([("GETRANGE", self._keys.slots, 0, -1)])
        if isinstance(bits, ConversationError):
            return  # another program's value: what this process knows of by itself is looked at
        marked = {place * 8 + bit for place, byte in enumerate(bits) if byte for bit in range(8) if byte & 128 >> bit}
        self._marked = set(marked)  # Redis may have lost some
        self._known |= marked

    async def look(self, slots: Sequence[Shard], ahead_ms: int) -> list[Due]:
        """Look at the agendas of these slots, for what is due in `ahead_ms` at the latest."""
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
        """Ask a server's clock."""
        slot = next(iter(self._known), 0)
        now_ms, _, _ = await self._servers.run(Call(_READ, (self._keys.agenda(slot),), (0, 0)))
        return int(now_ms)

    async def roster(self) -> AsyncIterator[list[str]]:
        """Go through all lines that are on an agenda, by the time to look at them."""
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
        """Give the lines of all slots to look at in `ahead_ms` at the latest."""
        known = sorted(self._known)
        looks: list[Due] = []
        for start in range(0, len(known), _SLOTS_MOST):
            looks += await self.look(known[start : start + _SLOTS_MOST], ahead_ms)
        return [conversation_id for look in looks for conversation_id in look.times]

    async def correct(self, corrections: Iterable[tuple[str, int, int | None]]) -> None:
        """Note lines for another time, None: for none, unless somebody has noted another than the one that was read."""
        calls = []
        for conversation_id, read_ms, at_ms in corrections:
            agenda = self._keys.agenda(self._keys.slot_of(conversation_id))
            calls.append(Call(_RESCHEDULE, (agenda,), (conversation_id, read_ms, "" if at_ms is None else at_ms)))
        await self._servers.run_all(calls)
