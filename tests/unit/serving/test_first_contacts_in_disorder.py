"""Whatever reply queues stop and go on, and however slow RabbitMQ is: in the end each reply is sent and confirmed."""

import asyncio
from random import Random
from typing import Any, cast

import pytest

from daemon.serving.first_contacts import FirstContacts, ReplyChannel
from daemon.serving.recipient import Copy
from daemon.serving.recipients import Recipients
from lockstore.amqp.publisher import Publisher

LOOK_S = 0.1


class FakeChannel:
    """A channel as RabbitMQ serves it: it stops at the first message to a queue that is suspended."""

    is_closed = False

    def __init__(self) -> None:
        self.sent: list[tuple[Copy, int, float]] = []  # the copy, its attempt, the time of the confirm

    @property
    def is_idle(self) -> bool:
        return not self.sent


class Disorder:
    """Everything that happens is drawn from the seed; time is counted, not waited for."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.now = 1000.0
        self.confirm_s, self.step_s = random.choice([0.0, 0.05, 0.2, 0.5]), random.choice([0.005, 0.05, 0.2])
        self.names = [f"q{place}" for place in range(random.choice([1, 2, 5, 30, 300]))]
        self.suspended: set[str] = set()
        probe, *mains = [FakeChannel() for _ in range(1 + random.choice([1, 2, 4]))]
        self.channels = [probe, *mains]
        self.contacts = FirstContacts(cast("Publisher", probe), self.answering)
        self.outlets = [ReplyChannel(cast("Publisher", channel), self.contacts) for channel in mains]
        self.recipients = Recipients(1000)
        self.said = self.confirmed = 0
        self.is_stirred = False
        self.looked_at = 0.0

    async def answering(self, idle: Publisher | None) -> Publisher | None:
        for _ in range(self.random.choice([0, 1, 3])):
            self.pass_time()
        if idle is None:
            self.channels.append(FakeChannel())
            idle = cast("Publisher", self.channels[-1])
        return idle if self.random.random() > 0.2 else None

    def say(self) -> None:
        self.said += 1
        name, outlet = self.random.choice(self.names), self.random.choice(self.outlets)
        copy = Copy(b"", outlet, "reply", name, self.said, cast("Any", self))
        is_sent, _ = self.recipients.admit(copy, self.now)
        if is_sent:
            self.put(copy)
        self.is_stirred |= not is_sent or self.contacts.needs_attention

    def put(self, copy: Copy) -> None:
        copy.route.sent.append((copy, copy.attempt, self.now + self.random.random() * self.confirm_s))

    def finished(self, _: Copy, error: Exception | None) -> None:
        assert error is None
        self.confirmed += 1

    def pass_time(self) -> None:
        self.now += self.step_s * self.random.random()
        for channel in self.channels:
            while channel.sent and channel.sent[0][0].name not in self.suspended and channel.sent[0][2] <= self.now:
                copy, attempt, _ = channel.sent.pop(0)
                if copy.attempt == attempt:
                    self.recipients.answer(copy, None, self.now, is_refusal=False)
                    self.is_stirred |= self.recipients.is_ready or self.contacts.has_suspects

    async def dispatch(self) -> None:
        """Do what the dispatcher does when it is woken, or when its time is up."""
        if not self.is_stirred and not (self.contacts.needs_attention and self.now - self.looked_at >= LOOK_S):
            return
        self.is_stirred, self.looked_at = False, self.now
        suspects = await self.contacts.replace_blocked(self.now)
        self.recipients.wake(self.contacts.released())
        for copy in [*suspects, *self.recipients.next_copies(self.now)]:
            self.put(copy)

    async def run(self) -> None:
        often = self.random.choice([0.1, 0.5])
        for _ in range(400):
            if self.random.random() < often:
                for _ in range(self.random.choice([1, 1, 40])):
                    self.say()
            if self.random.random() < 0.05:
                self.suspended = set(self.random.sample(self.names, self.random.randint(0, min(3, len(self.names)))))
            self.pass_time()
            await self.dispatch()
        self.suspended = set()
        until = self.now + 600
        while self.confirmed < self.said and self.now < until:
            self.pass_time()
            await self.dispatch()


@pytest.mark.parametrize("seed", range(30))
def test_all_are_confirmed_in_the_end(seed: int) -> None:
    disorder = Disorder(seed)
    asyncio.run(disorder.run())
    assert disorder.confirmed == disorder.said > 0
    assert all(not channel.sent for channel in disorder.channels)
    assert not disorder.contacts.needs_attention
