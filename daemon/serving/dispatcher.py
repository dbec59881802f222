"""Publishes within each recipient's window and processes RabbitMQ's answers. One dispatcher serves all announcers of a connection."""

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
from lockstore.util.callbacks import do_nothing

__all__ = ["Dispatcher", "Outstanding"]

_RETRY_LOOK_S = 0.1  # how often recipients that refused are checked
_NAMED_MOST = 3
_TOO_LARGE = re.compile(r"message size [0-9]+ is larger than .*max size ([0-9]+)")  # RabbitMQ's words


@dataclass(slots=True)
class Outstanding:
    """What RabbitMQ has not confirmed in time, for metrics and operators. Outlives a connection."""

    confirm_timeout_s: float = 0.0
    recipients: Recipients | None = None
    given_up_before: int = 0  # by earlier connections
    set_aside: int = 0
    message_max: int | None = None  # bytes of a body; None: RabbitMQ has not refused any as too large

    def note_closed(self, closing: asyncio.Future[None]) -> None:
        """Record why a channel was closed, so that a message that is too large is not published again and again."""
        error = None if closing.cancelled() else closing.exception()
        if (found := _TOO_LARGE.search(str(error))) is not None:
            self.message_max = int(found[1])

    answers_given_up: int = 0  # those that are in no outbox

    def begin(self, confirm_timeout_s: float, public_most: int) -> Recipients:
        """Start with a new connection: what was outstanding on the last one is still in the outbox."""
        self.confirm_timeout_s = confirm_timeout_s
        self.given_up_before = self.given_up
        self.recipients = Recipients(public_most)
        return self.recipients

    @property
    def given_up(self) -> int:
        """The number of public copies that were given up."""
        return self.given_up_before + (0 if self.recipients is None else self.recipients.given_up)

    def unconfirmed(self) -> dict[LaneName, int]:
        """Return the number of messages that are overdue for an answer or held back, by lane."""
        if self.recipients is None:
            return {"reply": 0, "public": 0}
        return self.recipients.unconfirmed(time.monotonic(), self.confirm_timeout_s)

    def describe(self) -> tuple[float, str] | None:
        """Return for how long (s) which queues have not accepted their messages, or None if all do."""
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
            parts.append(f"reply queues that do not accept theirs: {len(queues):,} ({few})")
        if len(queues) < len(troubled):
            parts.append("a queue bound to the public events does not accept them")
        since = min(item.troubled_at for item in troubled)
        return now - since, "not confirmed by RabbitMQ, and kept in the outbox: " + "; ".join(parts)


class Dispatcher:
    """Publishes within each recipient's window, and collects the events that are confirmed after their batch is over."""

    def __init__(
        self, outstanding: Outstanding, confirm_timeout_s: float, public_most: int, contacts: FirstContacts
    ) -> None:
        self.contacts = contacts
        self.outstanding = outstanding
        self.recipients = outstanding.begin(confirm_timeout_s, public_most)
        self.late: dict[Entry, object] = {}  # events whose batch is over, but which are not
        self.on_settled = do_nothing
        self._settled: list[Entry] = []  # late events that are finished by now
        self._sequence = 0
        self._stir = asyncio.Event()
        self._fault: Exception | None = None  # of our own, while an answer was processed

    def next_sequence(self) -> int:
        """Return the next message's position in the overall order."""
        self._sequence += 1
        return self._sequence

    def settle(self, entry: Entry) -> None:
        """Record that an event was finished after its batch."""
        self._settled.append(entry)
        self.on_settled()

    @property
    def settled(self) -> list[Entry]:
        """The late events that are finished and can be removed from the outbox."""
        return list(self._settled)

    def let_go(self, entries: list[Entry]) -> None:
        """Record that these were removed from the outbox; until then a patrol may still find them there."""
        del self._settled[: len(entries)]
        for entry in entries:
            self.late.pop(entry, None)

    async def send(self, copies: list[Copy]) -> list[Sent]:
        """Publish admitted copies, in one write per channel. Raises BrokerLostError."""
        if self.contacts.needs_attention:
            self._stir.set()
        return await self._send_all(copies)

    async def _send_all(self, copies: list[Copy]) -> list[Sent]:
        groups: dict[Publisher, list[tuple[Copy, int]]] = {}
        for copy in copies:  # while a group is written, a copy of the next one may be published elsewhere
            groups.setdefault(copy.route, []).append((copy, copy.attempt))
        return [await self._send(publisher, group) for publisher, group in groups.items()]

    async def _send(self, publisher: Publisher, copies: list[tuple[Copy, int]]) -> Sent:
        def answered(place: int, error: Unpublished | None) -> None:
            copy, attempt = copies[place]
            if copy.attempt != attempt:
                return  # it was published again
            try:
                self._answered(copy, error)
            except Exception as fault:
                self._fault = (
                    fault  # aiormq goes on after it; `run` ends the session, so that nothing remains held back
                )
                self._stir.set()
                raise

        return await publisher.send_encoded([publisher.adopt(copy.payload) for copy, _ in copies], answered)

    def _answered(self, copy: Copy, error: Unpublished | None) -> None:
        refusal = isinstance(error, DeliveryError) and not isinstance(error, PublishError)
        self.recipients.answer(copy, error, time.monotonic(), is_refusal=refusal)
        if self.recipients.is_ready or self.contacts.has_suspects:
            self._stir.set()

    def stir(self) -> None:
        """Wake `run`, because messages are held back."""
        self._stir.set()

    async def run(self) -> None:
        """Publish what was held back as room becomes available, until cancelled. Raises BrokerLostError."""
        while True:
            try:
                is_polling = self.recipients.has_refused or self.contacts.needs_attention
                async with asyncio.timeout(_RETRY_LOOK_S if is_polling else None):
                    await self._stir.wait()
            except TimeoutError:
                pass
            self._stir.clear()
            if self._fault is not None:
                raise self._fault
            suspects = await self.contacts.replace_blocked(time.monotonic())
            self.recipients.wake(self.contacts.released())
            await self._send_all([*suspects, *self.recipients.next_copies(time.monotonic())])
