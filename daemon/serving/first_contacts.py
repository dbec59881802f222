"""The first message to a reply queue is published on a separate channel, so that the queue cannot block everyone's replies.

When a channel first publishes to a quorum queue, RabbitMQ makes it wait for that queue's leader. A leader that does not
answer blocks the whole channel: nothing after that message is routed or confirmed. First messages therefore go through the
probe channel, which carries nothing else, one message per queue. Once a queue has confirmed, further messages go through the
announcer's own channel.

A probe channel that confirms nothing for a while is left to the queue that blocks it. To find that queue, the unconfirmed
messages are published again on a new probe channel, one at a time; a queue that did get the first copy receives the message
twice, with the same id. A channel is not replaced while RabbitMQ or this process is merely slow: another channel must have
answered first, and the probe channel must still be silent.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiormq.exceptions import PublishError

from daemon.serving.recipient import Copy, Recipient
from lockstore.amqp.publisher import Publisher, Unpublished
from lockstore.errors import BrokerLostError

__all__ = [
    "BLOCKED_S",
    "CONFIRMED_RECENTLY_S",
    "DEDICATED_MOST",
    "PROBE_WINDOW",
    "FirstContacts",
    "PublicChannel",
    "ReplyChannel",
]

BLOCKED_S = 0.25
"""A probe channel that has confirmed nothing for this long, with messages outstanding, is replaced."""

CONFIRMED_RECENTLY_S = 0.1
"""A queue that has confirmed within this time is healthy: its messages may use the shared channel."""

PROBE_WINDOW = 100
"""Messages outstanding on the probe channel: well below the 200 after which RabbitMQ stops reading the connection."""

DEDICATED_MOST = 16
"""The most channels of one connection that are left to queues that block them."""

_ESTABLISHED_MOST = 10_000  # queues; beyond that, each starts on the probe channel again

_log = structlog.get_logger()


class _ProbeChannel:
    """A channel and its outstanding messages, in order."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.open: dict[Copy, None] = {}
        self.answered_at = 0.0

    def put(self, copy: Copy, now: float) -> None:
        if not self.open:
            self.answered_at = now
        self.open[copy] = None
        copy.route = self.publisher

    def is_blocked(self, now: float) -> bool:
        return bool(self.open) and now - self.answered_at > BLOCKED_S


class FirstContacts:
    """The probe channel of one connection, and the channels left to queues that block them."""

    def __init__(
        self, publisher: Publisher, answering: Callable[[Publisher | None], Awaitable[Publisher | None]]
    ) -> None:
        """Start with one probe channel.

        `answering` returns the given publisher once RabbitMQ has answered on it, or a new one; None if neither is possible now.
        """
        self._probe = _ProbeChannel(publisher)
        self._answering = answering
        self._probing: dict[str, _ProbeChannel] = {}  # by queue, the probe channel its message is on
        self._dedicated: dict[str, _ProbeChannel] = {}  # by queue, the channel that it blocked
        self._blocked: list[_ProbeChannel] = []  # still blocked; their messages were published again elsewhere
        self._idle: list[_ProbeChannel] = []
        self._suspects: deque[Copy] = deque()  # messages of a blocked channel, published again one at a time
        self._is_trial = False  # the message on the probe channel is a suspect
        self._confirmed_at: dict[str, float] = {}
        self._waiting: deque[Recipient] = deque()

    @property
    def needs_attention(self) -> bool:
        """Whether `replace_blocked` must be called periodically."""
        return bool(self._probing or self._suspects or self._blocked)

    @property
    def has_suspects(self) -> bool:
        """Whether `replace_blocked` has a message to publish as soon as the probe channel is free."""
        return bool(self._suspects)

    def has_just_confirmed(self, name: str, now: float) -> bool:
        """Return whether a queue has just confirmed, and has nothing outstanding on a probe channel."""
        return (
            name not in self._probing
            and now - self._confirmed_at.get(name, -CONFIRMED_RECENTLY_S) < CONFIRMED_RECENTLY_S
        )

    def has_room(self, recipient: Recipient) -> bool:
        """Return whether the next message to a queue may use a probe channel."""
        return not recipient.outstanding and (recipient.name in self._dedicated or self._room() > 0)

    def take(self, copy: Copy, now: float) -> None:
        """Route a message to the probe channel, or to the channel that its queue blocked before."""
        probe = self._dedicated.get(copy.name, self._probe)
        probe.put(copy, now)
        self._probing[copy.name] = probe

    def wait(self, recipient: Recipient) -> None:
        """Register a queue that waits for room."""
        self._waiting.append(recipient)

    def released(self) -> list[Recipient]:
        """Remove and return the queues that have room now."""
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._room()))]

    def answered(self, copy: Copy, error: Unpublished | None, now: float) -> None:
        """Process RabbitMQ's answer to a message on a probe channel."""
        probe = self._probing.pop(copy.name)
        probe.open.pop(copy, None)
        probe.answered_at = now
        if probe is self._probe:
            self._is_trial = False
        if (error is None or isinstance(error, PublishError)) and self._dedicated.pop(copy.name, None) is not None:
            self._idle.append(probe)
        if error is None:
            self._confirmed_at.pop(copy.name, None)
            self._confirmed_at[copy.name] = now
            while now - next(iter(self._confirmed_at.values())) > CONFIRMED_RECENTLY_S:
                del self._confirmed_at[next(iter(self._confirmed_at))]

    async def replace_blocked(self, now: float) -> list[Copy]:
        """Replace the probe channel if it is blocked. Returns what must be published again. Raises BrokerLostError."""
        probes = (self._probe, *self._dedicated.values(), *self._blocked)
        if any(probe.publisher.is_closed for probe in probes):
            raise BrokerLostError("the channel is closed")
        self._idle += [probe for probe in self._blocked if probe.publisher.is_idle]
        self._blocked = [probe for probe in self._blocked if not probe.publisher.is_idle]
        if self._probe.is_blocked(now) and len(self._dedicated) + len(self._blocked) < DEDICATED_MOST:
            await self._replace_probe()
        if self._suspects and not self._probe.open:
            copy = self._suspects.popleft()
            self._is_trial = True
            self.take(copy, now)
            return [copy]
        return []

    async def _replace_probe(self) -> None:
        blocked, answered_at = self._probe, self._probe.answered_at
        publisher = await self._answering(self._idle[-1].publisher if self._idle else None)
        if publisher is None:
            return
        if not self._idle:
            self._idle.append(_ProbeChannel(publisher))
        copies = list(blocked.open)
        if not copies or blocked.answered_at != answered_at:
            return  # every channel was slow
        self._probe = self._idle.pop()
        self._is_trial = False
        if len(copies) == 1:
            [copy] = copies
            self._dedicated[copy.name] = blocked
            _log.warning("reply_queue.isolated", reply_to=copy.name)
            return
        self._blocked.append(blocked)
        blocked.open.clear()
        for copy in copies:
            copy.attempt += 1  # an answer to the first attempt no longer counts
            del self._probing[copy.name]
        self._suspects += copies

    def _room(self) -> int:
        return 0 if self._suspects or self._is_trial else max(0, PROBE_WINDOW - len(self._probe.open))


class ReplyChannel:
    """The replies of one announcer: its own channel, and the probe channel for queues it has not published to yet."""

    def __init__(self, publisher: Publisher, contacts: FirstContacts) -> None:
        self.publisher = publisher
        self._contacts = contacts
        self._established: dict[str, None] = {}

    def has_room(self, recipient: Recipient, now: float) -> bool:
        """Return whether the channels have room for one more message."""
        return (
            recipient.name in self._established
            or self._contacts.has_just_confirmed(recipient.name, now)
            or self._contacts.has_room(recipient)
        )

    def take(self, copy: Copy, now: float) -> None:
        """Choose the channel of a message that is about to be published."""
        if copy.name not in self._established:
            if not self._contacts.has_just_confirmed(copy.name, now):
                self._contacts.take(copy, now)
                return
            if len(self._established) >= _ESTABLISHED_MOST:
                self._established.clear()
            self._established[copy.name] = None
        copy.route = self.publisher

    def answered(self, copy: Copy, error: Exception | None, now: float) -> Sequence[Recipient]:
        """Process RabbitMQ's answer. Returns the queues that have room now."""
        if copy.route is self.publisher:
            return ()
        self._contacts.answered(copy, error if isinstance(error, Unpublished) else None, now)
        return self._contacts.released()

    def wait(self, recipient: Recipient) -> None:
        """Register a queue that waits for room."""
        self._contacts.wait(recipient)


class PublicChannel:
    """The public events of one announcer: all on one channel."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher

    def has_room(self, _: Recipient, __: float) -> bool:
        """Return True: public events are bounded by their window alone."""
        return True

    def take(self, copy: Copy, _: float) -> None:
        """Route it to the only channel."""
        copy.route = self.publisher

    def answered(self, _: Copy, __: Exception | None, ___: float) -> Sequence[Recipient]:
        """Do nothing: no queue waits for room."""
        return ()

    def wait(self, _: Recipient) -> None:
        """Do nothing: never called, because there is always room."""
