"""First contacts: which channel a reply takes, and how a queue that blocks one is found. The test is the broker, and the clock."""

from typing import Any, cast

import pytest

from daemon.serving.first_contacts import (
    BLOCKED_S,
    CONFIRMED_RECENTLY_S,
    DEDICATED_MOST,
    PROBE_WINDOW,
    FirstContacts,
    ReplyChannel,
)
from daemon.serving.recipient import REPLY_WINDOW, Copy
from daemon.serving.recipients import Recipients
from lockstore.amqp.publisher import Publisher
from lockstore.errors import BrokerLostError


class FakeChannel:
    """A channel as RabbitMQ serves it: it stops at the first message to a queue that is suspended."""

    def __init__(self) -> None:
        self.sent: list[Copy] = []
        self.attempts: list[int] = []
        self.is_closed = False

    @property
    def is_idle(self) -> bool:
        return not self.sent


class Stage:
    def __init__(self) -> None:
        self.now = 1000.0
        self.probes = [FakeChannel()]
        self.main = FakeChannel()
        self.suspended: set[str] = set()
        self.told: list[str] = []
        self.may_open = True
        self.is_slow = False  # it answers on all channels as soon as one has to answer
        self.contacts = FirstContacts(cast("Publisher", self.probes[0]), self.answering)
        self.outlet = ReplyChannel(cast("Publisher", self.main), self.contacts)
        self.recipients = Recipients(1000)
        self._sequence = 0

    async def answering(self, spare: Publisher | None) -> Publisher | None:
        if self.is_slow:
            self.is_slow = False
            self.confirm()
        if not self.may_open:
            return None
        if spare is not None:
            return spare
        self.probes.append(FakeChannel())
        return cast("Publisher", self.probes[-1])

    def say(self, name: str) -> Copy:
        self._sequence += 1
        copy = Copy(b"", self.outlet, "reply", name, self._sequence, cast("Any", self))
        is_sent, _ = self.recipients.admit(copy, self.now)
        if is_sent:
            self.put(copy)
        return copy

    def finished(self, copy: Copy, error: Exception | None) -> None:
        assert error is None
        self.told.append(copy.name)

    def put(self, copy: Copy) -> None:
        copy.route.sent.append(copy)
        copy.route.attempts.append(copy.attempt)

    def confirm(self) -> None:
        """Have the broker serve each channel up to what stops it."""
        for channel in (*self.probes, self.main):
            while channel.sent and channel.sent[0].name not in self.suspended:
                copy, attempt = channel.sent.pop(0), channel.attempts.pop(0)
                if copy.attempt == attempt:
                    self.recipients.answer(copy, None, self.now, is_refusal=False)

    async def go_on(self, seconds: float) -> None:
        """Let time pass, with the broker and the dispatcher at work."""
        until = self.now + seconds
        while self.now < until:
            self.confirm()
            for copy in [*await self.contacts.replace_blocked(self.now), *self.next_copies()]:
                self.put(copy)
            self.now += 0.01

    def next_copies(self) -> list[Copy]:
        self.recipients.wake(self.contacts.released())
        return self.recipients.next_copies(self.now)


async def test_a_queue_is_met_at_the_door_and_then_on_the_channel_of_all_others() -> None:
    stage = Stage()
    for _ in range(5):
        stage.say("new")
    assert len(stage.probes[0].sent) == 1, "one at a time, until it has confirmed"
    assert not stage.main.sent
    stage.confirm()
    for copy in stage.next_copies():
        stage.put(copy)
    assert len(stage.main.sent) == 4
    stage.confirm()
    assert stage.told == ["new"] * 5
    stage.now += 60
    assert stage.say("new").route is stage.main, "it has been met there"


async def test_a_queue_that_confirmed_long_ago_is_met_at_the_door_again() -> None:
    stage = Stage()
    stage.say("rare")
    stage.confirm()
    stage.now += 2 * CONFIRMED_RECENTLY_S
    assert stage.say("rare").route is stage.probes[0]


async def test_queues_that_stop_a_door_are_found_and_all_others_are_told() -> None:
    stage = Stage()
    stage.suspended = {"bad-1", "bad-2"}
    names = ["a", "bad-1", "b", "c", "bad-2", "d"]
    for name in names:
        stage.say(name)
    await stage.go_on(10 * BLOCKED_S)
    assert sorted(stage.told) == ["a", "b", "c", "d"]
    stage.say("later")
    stage.say("bad-1")
    stage.say("a")
    await stage.go_on(0.1)
    assert stage.told[-2:] == ["later", "a"], "nothing is sent to a bad one meanwhile"
    opened = len(stage.probes)
    stage.suspended = set()
    await stage.go_on(1)
    assert sorted(stage.told) == sorted([*names, "later", "bad-1", "a"]), (
        "each counts once, though some were sent twice"
    )
    stage.suspended = {"bad-3"}
    for name in ("bad-3", "e"):
        stage.say(name)
    await stage.go_on(4 * BLOCKED_S)
    assert stage.told[-1] == "e"
    assert len(stage.probes) == opened, "channels that go on are used again"


async def test_on_a_door_there_are_never_more_than_rabbitmq_reads_and_the_rest_waits_for_room() -> None:
    stage = Stage()
    for place in range(3 * PROBE_WINDOW):
        stage.say(f"q{place}")
    assert len(stage.probes[0].sent) == PROBE_WINDOW
    await stage.go_on(0.5)
    assert len(stage.told) == 3 * PROBE_WINDOW


async def test_where_no_channel_can_be_opened_it_is_tried_again() -> None:
    stage = Stage()
    stage.may_open = False
    stage.suspended = {"bad"}
    for name in ("bad", "good"):
        stage.say(name)
    await stage.go_on(3 * BLOCKED_S)
    assert stage.told == []
    stage.may_open = True
    await stage.go_on(3 * BLOCKED_S)
    assert stage.told == ["good"]


async def test_the_channels_that_are_left_have_a_bound() -> None:
    stage = Stage()
    stage.suspended = {f"bad-{place}" for place in range(2 * DEDICATED_MOST)}
    for name in sorted(stage.suspended):
        stage.say(name)
        await stage.go_on(2 * BLOCKED_S)
    assert len(stage.probes) == DEDICATED_MOST + 1
    stage.suspended = set()
    await stage.go_on(1)
    assert len(stage.told) == 2 * DEDICATED_MOST


async def test_what_a_queue_does_not_answer_stays_within_its_window_once_it_is_met() -> None:
    stage = Stage()
    stage.say("queue")
    stage.confirm()
    stage.suspended = {"queue"}
    for _ in range(100):
        stage.say("queue")
    await stage.go_on(1)
    assert len(stage.main.sent) == REPLY_WINDOW


async def test_a_channel_that_is_closed_ends_the_session() -> None:
    stage = Stage()
    stage.probes[0].is_closed = True
    with pytest.raises(BrokerLostError):
        await stage.contacts.replace_blocked(stage.now)


async def test_a_door_is_kept_where_rabbitmq_is_slow_on_every_channel() -> None:
    stage = Stage()
    stage.is_slow = True
    copies = [stage.say(f"new-{number}") for number in range(3)]
    stage.suspended = {"new-2"}
    stage.now += 2 * BLOCKED_S
    assert await stage.contacts.replace_blocked(stage.now) == []
    assert stage.told == ["new-0", "new-1"]
    assert [copy.attempt for copy in copies] == [0, 0, 0], "nothing is sent twice"
    await stage.go_on(2 * BLOCKED_S)
    assert stage.say("new-3").route is not stage.probes[0], "it is left when it alone is silent"
