"""First contacts: a reply queue gets its first message on a channel apart, so that it cannot stop the channel of all others.

When a channel publishes to a quorum queue for the first time, RabbitMQ has it wait for that queue's leader. A leader that does not
answer stops the whole channel: nothing that comes after it is routed, and nothing is confirmed. So first messages go through a
channel that carries nothing else, the door, one message for each queue. Where a queue has just confirmed, the next ones take the
channel of their announcer.

A door that says nothing for a while is left to the queue that blocks it, which is found by sending what is unanswered once more
through a new door, one message at a time. Whoever did get the first copy has the message twice, with the same id. It is not left
while RabbitMQ, or this process, is merely slow: another channel has to answer first, and the door to be silent still.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiormq.exceptions import PublishError

from daemon.serving.recipient import Copy, Recipient
from lockstore.amqp.publisher import Publisher, Unpublished
from lockstore.errors import BrokerLostError

__all__ = ["APART_MOST", "BLOCKED_S", "DOOR_MOST", "FRESH_S", "FirstContacts", "PublicChannel", "ReplyChannel"]

BLOCKED_S = 0.25
"""A door on which nothing is confirmed for so long, while something is outstanding, is left."""

FRESH_S = 0.1
"""A queue that has confirmed within this time is well, and may be met by the channel of the others."""

DOOR_MOST = 100
"""Messages outstanding on the door: far from the 200 after which RabbitMQ no longer reads the connection."""

APART_MOST = 16
"""Channels that are left to queues that block them, on one connection."""

_MET_MOST = 10_000  # queues; beyond it they are met once more

_log = structlog.get_logger()


class _Door:
    """A channel with what is outstanding on it, in order."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.open: dict[Copy, None] = {}
        self.heard_at = 0.0

    def put(self, copy: Copy, now: float) -> None:
        if not self.open:
            self.heard_at = now
        self.open[copy] = None
        copy.route = self.publisher

    def is_blocked(self, now: float) -> bool:
        return bool(self.open) and now - self.heard_at > BLOCKED_S


class FirstContacts:
    """The doors of one connection."""

    def __init__(
        self, publisher: Publisher, answering: Callable[[Publisher | None], Awaitable[Publisher | None]]
    ) -> None:
        """Take the first door, and what makes sure that RabbitMQ answers on a channel, or opens one; None: it does not now."""
        self._door = _Door(publisher)
        self._answering = answering
        self._where: dict[str, _Door] = {}  # queues that have a message on a door
        self._apart: dict[str, _Door] = {}  # queues that blocked a door: it is theirs
        self._left: list[_Door] = []  # doors that are blocked still, though what was on them went another way
        self._spare: list[_Door] = []
        self._suspects: deque[Copy] = deque()  # they were on a door that blocked, and go one at a time
        self._is_trial = False  # what is on the door is a suspect
        self._fresh: dict[str, float] = {}
        self._waiting: deque[Recipient] = deque()

    @property
    def is_watched(self) -> bool:
        """Whether `tend` is to be called every now and then."""
        return bool(self._where or self._suspects or self._left)

    @property
    def has_suspects(self) -> bool:
        """Whether `tend` has something to send as soon as the door is free."""
        return bool(self._suspects)

    def is_well(self, name: str, now: float) -> bool:
        """Tell whether a queue has just confirmed, and has nothing outstanding on a door."""
        return name not in self._where and now - self._fresh.get(name, -FRESH_S) < FRESH_S

    def has_room(self, recipient: Recipient) -> bool:
        """Tell whether the next message to a queue may go through a door."""
        return not recipient.outstanding and (recipient.name in self._apart or self._room() > 0)

    def take(self, copy: Copy, now: float) -> None:
        """Have a message go through the door, or the channel that its queue has blocked before."""
        door = self._apart.get(copy.name, self._door)
        door.put(copy, now)
        self._where[copy.name] = door

    def wait(self, recipient: Recipient) -> None:
        """Have a queue wait for room."""
        self._waiting.append(recipient)

    def released(self) -> list[Recipient]:
        """Take out the queues for which there is room by now."""
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._room()))]

    def answered(self, copy: Copy, error: Unpublished | None, now: float) -> None:
        """Take RabbitMQ's answer to a message that went through a door."""
        door = self._where.pop(copy.name)
        door.open.pop(copy, None)
        door.heard_at = now
        if door is self._door:
            self._is_trial = False
        if (error is None or isinstance(error, PublishError)) and self._apart.pop(copy.name, None) is not None:
            self._spare.append(door)
        if error is None:
            self._fresh.pop(copy.name, None)
            self._fresh[copy.name] = now
            while now - next(iter(self._fresh.values())) > FRESH_S:
                del self._fresh[next(iter(self._fresh))]

    async def tend(self, now: float) -> list[Copy]:
        """Leave a door that is blocked, and give what is to be sent once more. Raises BrokerLostError."""
        doors = (self._door, *self._apart.values(), *self._left)
        if any(door.publisher.is_closed for door in doors):
            raise BrokerLostError("the channel is closed")
        self._spare += [door for door in self._left if door.publisher.is_idle]
        self._left = [door for door in self._left if not door.publisher.is_idle]
        if self._door.is_blocked(now) and len(self._apart) + len(self._left) < APART_MOST:
            await self._leave()
        if self._suspects and not self._door.open:
            copy = self._suspects.popleft()
            self._is_trial = True
            self.take(copy, now)
            return [copy]
        return []

    async def _leave(self) -> None:
        blocked, heard_at = self._door, self._door.heard_at
        publisher = await self._answering(self._spare[-1].publisher if self._spare else None)
        if publisher is None:
            return
        if not self._spare:
            self._spare.append(_Door(publisher))
        copies = list(blocked.open)
        if not copies or blocked.heard_at != heard_at:
            return  # it was slow, as all channels were
        self._door = self._spare.pop()
        self._is_trial = False
        if len(copies) == 1:
            [copy] = copies
            self._apart[copy.name] = blocked
            _log.warning("reply_queue.apart", reply_to=copy.name)
            return
        self._left.append(blocked)
        blocked.open.clear()
        for copy in copies:
            copy.attempt += 1  # an answer to the one that was sent counts no more
            del self._where[copy.name]
        self._suspects += copies

    def _room(self) -> int:
        return 0 if self._suspects or self._is_trial else max(0, DOOR_MOST - len(self._door.open))


class ReplyChannel:
    """The replies of one announcer: its own channel, and the door for queues that it has not met."""

    def __init__(self, publisher: Publisher, contacts: FirstContacts) -> None:
        self.publisher = publisher
        self._contacts = contacts
        self._met: dict[str, None] = {}

    def has_room(self, recipient: Recipient, now: float) -> bool:
        """Tell whether one more may be sent, as far as the channels are concerned."""
        return (
            recipient.name in self._met
            or self._contacts.is_well(recipient.name, now)
            or self._contacts.has_room(recipient)
        )

    def take(self, copy: Copy, now: float) -> None:
        """Choose the way of a message that is about to be sent."""
        if copy.name not in self._met:
            if not self._contacts.is_well(copy.name, now):
                self._contacts.take(copy, now)
                return
            if len(self._met) >= _MET_MOST:
                self._met.clear()
            self._met[copy.name] = None
        copy.route = self.publisher

    def answered(self, copy: Copy, error: Exception | None, now: float) -> Sequence[Recipient]:
        """Take RabbitMQ's answer, and give the queues for which there is room now."""
        if copy.route is self.publisher:
            return ()
        self._contacts.answered(copy, error if isinstance(error, Unpublished) else None, now)
        return self._contacts.released()

    def wait(self, recipient: Recipient) -> None:
        """Have a queue wait for room."""
        self._contacts.wait(recipient)


class PublicChannel:
    """The public events of one announcer: all on one channel."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher

    def has_room(self, _: Recipient, __: float) -> bool:
        """Tell that the channel has room: what bounds these is their window."""
        return True

    def take(self, copy: Copy, _: float) -> None:
        """Send it there."""
        copy.route = self.publisher

    def answered(self, _: Copy, __: Exception | None, ___: float) -> Sequence[Recipient]:
        """Take RabbitMQ's answer."""
        return ()

    def wait(self, _: Recipient) -> None:
        """Never asked: there is always room."""
