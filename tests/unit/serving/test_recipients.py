"""Flow control towards recipients: windows, order, refusals, bounds. The test is the clock, and the broker."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.serving.recipient import LATE_S, REPLY_WINDOW, REPLY_WINDOW_MOST, Copy, LaneName
from daemon.serving.recipients import PUBLIC_LANE_WINDOW, UNWANTED_MOST, Recipients


class Outlet:
    """A channel that takes all."""

    def has_room(self, _: object, __: float) -> bool:
        return True

    def take(self, _: object, __: float) -> None:
        """Take it."""

    def answered(self, *_: object) -> tuple[()]:
        return ()

    def wait(self, _: object) -> None:
        """Never asked."""


class Broker:
    """Takes what is sent, and answers when it is told to."""

    def __init__(self, public_most: int = 1000) -> None:
        self.recipients = Recipients(public_most)
        self.now = 1000.0
        self.sent: list[Copy] = []
        self.told: list[int] = []
        self.ended: list[int] = []
        self._sequence = 0

    def say(self, name: str, lane: LaneName = "reply", **options: Any) -> Copy:
        self._sequence += 1
        copy = Copy(b"", Outlet(), lane, name, self._sequence, owner=self, **options)
        is_sent, _ = self.recipients.admit(copy, self.now)
        if is_sent:
            self.sent.append(copy)
        return copy

    def finished(self, copy: Copy, error: Exception | None) -> None:
        self.ended.append(copy.sequence)

    def refused(self, copy: Copy) -> None:
        """Hear that it is tried again."""

    def confirm(self, copy: Copy) -> None:
        self.sent.remove(copy)
        self.told.append(copy.sequence)
        self.recipients.answer(copy, None, self.now, is_refusal=False)
        self.pump()

    def refuse(self, copy: Copy) -> None:
        self.sent.remove(copy)
        self.recipients.answer(copy, RuntimeError(), self.now, is_refusal=True)
        self.pump()

    def pump(self) -> None:
        self.sent += self.recipients.next_copies(self.now)


def test_a_queue_that_never_answers_gets_no_more_than_its_window_and_others_get_theirs() -> None:
    broker = Broker()
    for _ in range(200):
        broker.say("stuck")
    assert len(broker.sent) == REPLY_WINDOW
    good = broker.say("good")
    assert good in broker.sent
    broker.now += 10
    assert broker.recipients.unconfirmed(broker.now, 2)["reply"] >= 200


def test_what_was_held_back_is_sent_in_order_when_confirms_come() -> None:
    broker = Broker()
    for _ in range(100):
        broker.say("queue")
    while broker.sent:
        broker.confirm(broker.sent[0])
    assert broker.told == list(range(1, 101))
    assert broker.recipients.unconfirmed(broker.now, 2) == {"reply": 0, "public": 0}


def test_a_queue_that_many_share_and_that_confirms_at_once_gets_more_until_it_is_late() -> None:
    broker = Broker()
    for _ in range(2000):
        broker.say("shared")
    for _ in range(1000):
        broker.confirm(broker.sent[0])
    assert len(broker.sent) > REPLY_WINDOW * 4
    assert len(broker.sent) <= REPLY_WINDOW_MOST
    broker.now += 2 * LATE_S
    while len(broker.sent) > REPLY_WINDOW:
        broker.confirm(broker.sent[0])
        broker.now += 2 * LATE_S
    assert len(broker.sent) <= REPLY_WINDOW


def test_what_was_refused_is_tried_again_after_a_pause_before_what_came_later() -> None:
    broker = Broker()
    first, second = broker.say("full"), broker.say("full")
    broker.refuse(first)
    broker.refuse(second)
    third = broker.say("full")
    assert broker.sent == []
    broker.now += 30
    broker.pump()
    assert broker.sent == [first], "one is tried"
    broker.confirm(first)
    assert broker.sent == [second, third]
    assert broker.ended == [1]


def test_an_answer_for_a_queue_that_is_late_and_has_no_room_is_held_back_and_not_dropped() -> None:
    broker = Broker()
    for _ in range(REPLY_WINDOW):
        broker.say("stuck")
    broker.now += 2 * LATE_S
    answer = broker.say("stuck")
    assert answer.state == "held"
    while broker.sent:
        broker.confirm(broker.sent[0])
    assert broker.told == list(range(1, REPLY_WINDOW + 2))


def test_an_answer_that_is_given_up_is_still_sent_unless_too_many_are() -> None:
    broker = Broker()
    refused = broker.say("full")
    broker.refuse(refused)
    waiting = [broker.say("full") for _ in range(UNWANTED_MOST + 10)]
    for copy in waiting:
        broker.recipients.give_up(copy)
    assert broker.recipients.held["reply"] == UNWANTED_MOST + 1
    broker.now += 30
    broker.pump()
    while broker.sent:
        broker.confirm(broker.sent[0])
    assert broker.told == [1, *(copy.sequence for copy in waiting[10:])], "the oldest went first"


def test_an_answer_that_is_given_up_on_its_way_is_not_repeated_when_it_is_refused() -> None:
    broker = Broker()
    answer = broker.say("full")
    broker.recipients.give_up(answer)
    broker.refuse(answer)
    assert broker.ended == [answer.sequence]
    assert broker.recipients.held["reply"] == 0


def test_a_reply_that_is_of_no_use_any_more_is_let_go_of() -> None:
    broker = Broker()
    first = broker.say("full", useless_at=broker.now + 60)
    broker.refuse(first)
    broker.now += 61
    broker.pump()
    assert broker.sent == []
    assert broker.ended == [1]


def test_public_copies_beyond_the_bound_go_oldest_first_and_replies_never() -> None:
    broker = Broker(public_most=5)
    for _ in range(20):
        broker.say("queue", "reply")
    refused = broker.say("c", "public")
    broker.refuse(refused)
    for _ in range(10):
        broker.say("c", "public")
    for _ in range(100):
        broker.say("queue", "reply")
    assert broker.recipients.held["public"] == 5
    assert broker.recipients.given_up == 6
    assert broker.recipients.held["reply"] == 120 - REPLY_WINDOW


def test_all_public_copies_together_stay_within_what_keeps_the_connection_readable() -> None:
    broker = Broker()
    for place in range(500):
        broker.say(f"c{place}", "public")
    assert len(broker.sent) == PUBLIC_LANE_WINDOW
    while broker.sent:
        broker.confirm(broker.sent[0])
    assert sorted(broker.told) == list(range(1, 501))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["reply", "public"]), st.booleans()), max_size=60),
    st.data(),
)
def test_whatever_is_refused_each_recipient_is_told_all_in_the_end(
    said: list[tuple[str, LaneName, bool]], data: st.DataObject
) -> None:
    broker = Broker()
    for name, lane, refuses in said:
        broker.say(name, lane)
        if refuses and broker.sent:
            broker.refuse(data.draw(st.sampled_from(broker.sent)))
    for _ in range(10_000):
        broker.now += 11
        broker.pump()
        if not broker.sent:
            break
        broker.confirm(broker.sent[0])
    assert sorted(broker.told) == list(range(1, len(said) + 1))
    assert sorted(broker.ended) == sorted(broker.told)
    assert not any(recipient.outstanding for recipient in broker.recipients.lanes.values())


def test_a_recipient_that_is_idle_and_ready_twice_is_forgotten_once_and_not_whoever_bears_its_name_by_then() -> None:
    recipients = Recipients(1000)
    broker = Broker()
    broker.recipients = recipients
    first = broker.say("q")
    stale = first.recipient
    assert stale is not None
    broker.confirm(first)
    assert not stale.is_known
    second = broker.say("q")
    recipients.wake([stale])
    assert recipients.next_copies(broker.now) == []
    assert broker.say("q").recipient is second.recipient
