"""The dispatcher: sends what recipients have room for, and hears RabbitMQ's answers. One for all announcers of a connection."""

import asyncio
import re
import time
from dataclasses import dataclass

from aiormq.exceptions import DeliveryError, PublishError

from daemon.serving.first_contacts import FirstContacts
from daemon.serving.recipient import Copy, LaneName
from daemon.serving.recipients import Recipients
from lockstore.amqp.publisher import Publisher, Sent, Unpublished
from lockstore.stores.results import Entry

__all__ = ["Dispatcher", "Outstanding"]

_RETRY_LOOK_S = 0.1  # how often recipients that refused are looked at
_NAMED_MOST = 3
_TOO_LARGE = re.compile(r"message size [0-9]+ is larger than .*max size ([0-9]+)")  # RabbitMQ's words


def _nothing() -> None:
    """Let it pass."""


@dataclass(slots=True)
class Outstanding:
    """What RabbitMQ has not confirmed in time, for metrics and operators; it outlives a connection."""

    confirm_timeout_s: float = 0.0
    recipients: Recipients | None = None
    given_up_before: int = 0  # by the connections that are over
    set_aside: int = 0
    message_max: int | None = None  # bytes of a body; None: RabbitMQ has refused none as too large

    def note_closed(self, closing: asyncio.Future[None]) -> None:
        """Take note of why a channel was closed: a message that is too large is not to be sent again and again."""
        error = None if closing.cancelled() else closing.exception()
        if (found := _TOO_LARGE.search(str(error))) is not None:
            self.message_max = int(found[1])

    answers_given_up: int = 0  # those that no outbox keeps

    def begin(self, confirm_timeout_s: float, public_most: int) -> Recipients:
        """Begin with a new connection: what was outstanding on the last one stands in the outbox."""
        self.confirm_timeout_s = confirm_timeout_s
        self.given_up_before = self.given_up
        self.recipients = Recipients(public_most)
        return self.recipients

    @property
    def given_up(self) -> int:
        """How many public copies were given up."""
        return self.given_up_before + (0 if self.recipients is None else self.recipients.given_up)

    def unconfirmed(self) -> dict[LaneName, int]:
        """Count what has no answer for too long, and what is held back."""
        if self.recipients is None:
            return {"reply": 0, "public": 0}
        return self.recipients.unconfirmed(time.monotonic(), self.confirm_timeout_s)

    def describe(self) -> tuple[float, str] | None:
        """Say for how many seconds which queues have not taken their messages, None: all do."""
        if self.recipients is None:
            return None
        now = time.monotonic()
        troubled = list(self.recipients.troubled(now, self.confirm_timeout_s))
        if not troubled:
            return None
        counts = self.unconfirmed()
        queues = sorted(item.name for item in troubled if item.lane.name == "reply")
        parts = [f"replies: {counts['reply']:,}, public events: {counts['public']:,}"]
        if queues:
            few = ", ".join(queues[:_NAMED_MOST]) + (", ..." if len(queues) > _NAMED_MOST else "")
            parts.append(f"reply queues that do not take theirs: {len(queues):,} ({few})")
        if len(queues) < len(troubled):
            parts.append("a queue that is bound to the public events does not take them")
        since = min(item.troubled_at for item in troubled)
        return now - since, "not confirmed by RabbitMQ, and kept in the outbox: " + "; ".join(parts)


class Dispatcher:
    """Sends within each recipient's window; what is confirmed later than its batch is collected here."""

    def __init__(
        self, outstanding: Outstanding, confirm_timeout_s: float, public_most: int, contacts: FirstContacts
    ) -> None:
        self.contacts = contacts
        self.outstanding = outstanding
        self.recipients = outstanding.begin(confirm_timeout_s, public_most)
        self.late: dict[Entry, object] = {}  # events that are not done with, though their batch is
        self.on_settled = _nothing
        self._settled: list[Entry] = []  # of the late ones, those that are done with by now
        self._sequence = 0
        self._stir = asyncio.Event()

    def next_sequence(self) -> int:
        """Give the next message its place in the order of all."""
        self._sequence += 1
        return self._sequence

    def settle(self, entry: Entry) -> None:
        """Take note that an event is done with after its batch was."""
        self._settled.append(entry)
        self.on_settled()

    @property
    def settled(self) -> list[Entry]:
        """The late events that are done with, and that the outbox has still to let go of."""
        return list(self._settled)

    def let_go(self, entries: list[Entry]) -> None:
        """Take note that the outbox has let go of these: until then a patrol may still find them there."""
        del self._settled[: len(entries)]
        for entry in entries:
            self.late.pop(entry, None)

    async def send(self, copies: list[Copy]) -> list[Sent]:
        """Send copies that were admitted, in one write for each channel. Raises BrokerLostError."""
        if self.contacts.is_watched:
            self._stir.set()
        return await self._send_all(copies)

    async def _send_all(self, copies: list[Copy]) -> list[Sent]:
        groups: dict[Publisher, list[Copy]] = {}
        for copy in copies:
            groups.setdefault(copy.route, []).append(copy)
        return [await self._send(publisher, group) for publisher, group in groups.items()]

    async def _send(self, publisher: Publisher, copies: list[Copy]) -> Sent:
        attempts = [copy.attempt for copy in copies]

        def answered(place: int, error: Unpublished | None) -> None:
            copy = copies[place]
            if copy.attempt != attempts[place]:
                return  # it was sent once more
            refusal = isinstance(error, DeliveryError) and not isinstance(error, PublishError)
            self.recipients.answer(copy, error, time.monotonic(), is_refusal=refusal)
            if self.recipients.is_ready or self.contacts.has_suspects:
                self._stir.set()

        return await publisher.send_encoded([publisher.adopt(copy.payload) for copy in copies], answered)

    def stir(self) -> None:
        """Look at what is held back."""
        self._stir.set()

    async def run(self) -> None:
        """Send what was held back as room comes, until cancelled. Raises BrokerLostError."""
        while True:
            try:
                is_watched = self.recipients.has_refused or self.contacts.is_watched
                async with asyncio.timeout(_RETRY_LOOK_S if is_watched else None):
                    await self._stir.wait()
            except TimeoutError:
                pass
            self._stir.clear()
            suspects = await self.contacts.tend(time.monotonic())
            self.recipients.wake(self.contacts.released())
            await self._send_all([*suspects, *self.recipients.next_copies(time.monotonic())])
