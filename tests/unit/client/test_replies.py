"""What anybody may publish on the client's queues: it changes nothing unless a daemon could have said it to this request."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio
from aiormq.abc import AbstractChannel, DeliveredMessage
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from lockstore.amqp.hosts import BrokerHosts
from lockstore.client.call_state import Call, Phase
from lockstore.client.decisions import Decision, Obtained
from lockstore.client.event_stream import EventStream
from lockstore.client.outbound import LockParams
from lockstore.client.registry import FINISHED_MOST, CallRegistry
from lockstore.client.replies import InvalidReplyError, read_message
from lockstore.protocol.naming import Names

AT = 1_800_000_000.0


def delivered(body: bytes, **properties: Any) -> DeliveredMessage:
    header = ContentHeader(properties=Basic.Properties(**properties), body_size=len(body))
    return DeliveredMessage(Basic.Deliver("tag", 1), header, body, cast("AbstractChannel", None))


def said(kind: str, correlation: str | None = "id-1", **fields: Any) -> DeliveredMessage:
    common = {"conversation_id": "talk", "request_id": "id-1", "ticket_number": 7, "holder": None, "at": AT}
    body = json.dumps({"type": kind, **common, **fields}).encode()
    return delivered(body, correlation_id=correlation, message_type=kind)


def granted(correlation: str | None = "id-1", **fields: Any) -> DeliveredMessage:
    lease = {"expires_at": AT + 60, "waited": 0.0, "behind": 0}
    return said("granted", correlation, **(lease | fields))


class Client:
    """A desk without a connection, and one call at it."""

    def __init__(self, lifetime: float | None = 60) -> None:
        self.desk = CallRegistry(BrokerHosts("amqp://localhost/"), Names(), 1)
        self.outcomes: list[Decision] = []
        self.call = Call(LockParams("talk", 30, lifetime), asyncio.get_running_loop().time(), lambda: "id-1")
        self.call.ask(asyncio.get_running_loop().time(), connection_number=1)
        self.desk.listen(self.call, self)

    def handle_decision(self, decision: Decision) -> None:
        self.outcomes.append(decision)

    def connected(self) -> None: ...

    def disconnected(self) -> None: ...

    def closed(self) -> None: ...

    def hear(self, message: DeliveredMessage) -> list[Decision]:
        self.outcomes.clear()
        self.desk.handle_reply(message)
        return self.outcomes

    @property
    def releases(self) -> list[dict[str, Any]]:
        letters = []
        while not self.desk.releases._queue.empty():
            letters.append(json.loads(self.desk.releases._queue.get_nowait().body))
        return letters


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    yield Client()


async def test_a_grant_for_the_request_is_its_turn(client: Client) -> None:
    assert client.hear(granted()) == [Obtained()]


@pytest.mark.parametrize(
    "forged",
    [
        granted(conversation_id="junk"),
        granted(conversation_id=None),
        granted(request_id="mine"),
        granted(request_id=None),
        granted("mine"),
        said("rejected", conversation_id="junk", reason="forbidden", detail="no"),
        said("rejected", conversation_id=None, request_id=None, reason="invalid", detail="no"),
        said("rejected", reason="wrong_partition", conversation_id="junk", detail="no", partitions=9),
        said("cancelled", conversation_id="junk", reason="forced"),
    ],
)
async def test_an_answer_to_another_request_is_no_turn_and_no_end(client: Client, forged: DeliveredMessage) -> None:
    """The daemon's own words, said to somebody who gave this client's queue and correlation id for his."""
    assert client.hear(forged) == []
    assert client.call.phase is Phase.WAITING
    assert client.desk.routes.partitions == 1
    assert client.releases == []
    assert client.hear(granted()) == [Obtained()]


@pytest.mark.parametrize(
    "forged",
    [
        said("expired", conversation_id="junk", phase="held"),
        said("expired", ticket_number=8, phase="held"),
        said("released", ticket_number=8, held=1.0, reason="forced"),
        said("cancelled", ticket_number=8, reason="forced"),
        said("rejected", "id-1/no-such-renewal", reason="unknown_ticket", detail="no"),
        said("rejected", request_id="mine", reason="unknown_ticket", detail="no"),
        granted(conversation_id="junk", ticket_number=8),
    ],
)
async def test_an_answer_about_another_ticket_ends_no_lease(client: Client, forged: DeliveredMessage) -> None:
    client.hear(granted())
    ends_at = client.call.ends_at
    assert client.hear(forged) == []
    assert (client.call.phase, client.call.ends_at) == (Phase.HELD, ends_at)


async def test_what_somebody_else_holds_is_not_given_back_on_request(client: Client) -> None:
    client.hear(granted("other", request_id="other", conversation_id="user-42"))
    assert client.releases == []


async def test_a_release_to_the_wrong_partition_is_sent_again_though_the_number_is_known_by_then(
    client: Client,
) -> None:
    client.hear(granted())
    client.desk.forget(client.call)
    client.desk.routes.partitions = 4  # another answer came first
    refused = said("rejected", "id-1/release", reason="wrong_partition", detail="elsewhere", partitions=4)
    client.hear(refused)
    assert [(each["type"], each["ticket_number"]) for each in client.releases] == [("release", 7)]
    client.hear(refused)  # by a daemon that contradicts itself
    assert client.releases == []


async def test_a_late_grant_is_given_back_once(client: Client) -> None:
    client.desk.forget(client.call)
    for _ in range(3):
        client.hear(granted())
    client.hear(granted(conversation_id="junk"))
    assert client.releases == [{"type": "release", "conversation_id": "talk", "ticket_number": 7, "request_id": "id-1"}]


async def test_finished_calls_are_remembered_up_to_a_limit(client: Client) -> None:
    for number in range(FINISHED_MOST + 10):
        client.call.request_id = f"id-{number}"
        client.desk.forget(client.call)
    assert len(client.desk._finished) == FINISHED_MOST


IMPLAUSIBLE = [
    {"at": float("nan")},
    {"at": float("inf")},
    {"at": -1e300},
    {"at": 1e300},
    {"expires_at": float("nan")},
    {"expires_at": float("-inf")},
    {"expires_at": 1e300},
    {"waited": 1e300},
    {"waited": float("nan")},
    {"ticket_number": -1},
    {"ticket_number": 2**53},
    {"ticket_number": 10**400},
    {"ticket_number": "seven"},
    {"behind": 2**70},
    {"conversation_id": {"a": 1}},
]


@pytest.mark.parametrize("fields", IMPLAUSIBLE, ids=str)
async def test_numbers_that_no_daemon_says_are_ignored(client: Client, fields: dict[str, Any]) -> None:
    assert client.hear(granted(**fields)) == []
    assert client.hear(granted()) == [Obtained()]


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 30_000, b'{"a":' * 10_000, b" " * 70_000, b'{"type":"\\ud800"}'],
    ids=lambda body: str(body[:12]),
)
async def test_bodies_that_are_no_messages_are_ignored(client: Client, body: bytes) -> None:
    assert client.hear(delivered(body, correlation_id="id-1")) == []


async def test_the_amqp_type_must_be_that_of_the_body() -> None:
    body = granted().body
    with pytest.raises(InvalidReplyError, match="AMQP type"):
        read_message(delivered(body, message_type="expired"))
    assert read_message(delivered(body)).type == "granted"


@pytest.mark.parametrize(("lifetime", "most_s"), [(60, 61), (None, 31 * 86_400)])
async def test_no_lease_is_longer_than_what_was_asked_for(lifetime: float | None, most_s: float) -> None:
    client = Client(lifetime)
    assert client.hear(granted(expires_at=9e10)) == [Obtained()]
    now = asyncio.get_running_loop().time()
    assert now < client.call.safe_until < now + most_s
    assert client.call.renew_at < now + most_s / 2
    asyncio.get_running_loop().call_at(client.call.safe_until, lambda: None).cancel()


async def test_a_wait_that_the_daemon_states_has_a_limit() -> None:
    client = Client()
    client.call.params = LockParams("talk")
    client.hear(said("queued", position=1, wait_until=9e10))
    assert client.call.deadline < asyncio.get_running_loop().time() + 31 * 86_400


async def test_a_long_text_of_the_daemons_is_cut_and_printable(client: Client) -> None:
    client.hear(granted())
    [lost] = client.hear(said("rejected", reason="invalid", detail="\x1b[2J\u202e" + "x" * 5000))
    assert len(str(lost)) < 700
    assert str(lost).isprintable()


async def test_a_flood_is_logged_once_a_minute(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lockstore"):
        for _ in range(5000):
            client.hear(delivered(b"junk", correlation_id="id-1"))
            client.hear(granted(conversation_id="junk"))
    assert [record.getMessage() for record in caplog.records] == [
        "a message on the reply queue was ignored: body: is not valid JSON",
        "a message on the reply queue was ignored: it is about another conversation than the request that it names",
    ]


numbers = st.one_of(st.integers(), st.floats(), st.just(7))
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from(["queued", "granted", "renewed", "released", "expired", "cancelled", "rejected", "sung"])
names = ["expires_at", "waited", "behind", "position", "wait_until", "held", "reason", "phase", "detail", "partitions",
         "ended", "by", "at", "ticket_number", "holder", "conversation_id", "request_id"]  # fmt: skip
bodies = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda kind, fields: json.dumps(
            {"type": kind, "conversation_id": "talk", "request_id": "id-1"} | fields
        ).encode(),
        kinds,
        st.dictionaries(st.sampled_from(names), values | numbers, max_size=12),
    ),
)
correlations = st.one_of(
    st.none(), st.sampled_from(["id-1", "id-1/1", "id-1/release", "/"]), st.text(max_size=80), st.binary(max_size=9)
)
properties: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"correlation_id": correlations, "message_type": st.none() | kinds | st.text(max_size=9)},
    optional={"message_id": st.none() | st.text(max_size=9), "headers": st.none() | st.just({"x": [{}]})},
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(st.tuples(bodies, properties), max_size=6), is_held=st.booleans())
@example(messages=[(granted(ticket_number=2**64).body, {"correlation_id": "id-1"})], is_held=True)
def test_whatever_arrives_raises_nothing_and_leaves_sound_times(
    messages: list[tuple[bytes, dict[str, Any]]], *, is_held: bool
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        client = Client()
        feed = EventStream(client.desk.reconnector, (), None)
        if is_held:
            client.hear(granted())
            client.call.renew(loop.time())
        for body, given_properties in messages:
            message = delivered(body, **given_properties)
            client.desk.handle_reply(message)
            feed._read(message)
        call = client.call
        for moment in (call.deadline, call.renew_at, call.safe_until):
            assert abs(moment - loop.time()) < 1e12
            loop.call_at(moment, lambda: None).cancel()
        assert call.safe_until <= loop.time() + 61
        assert client.desk.routes.of("talk") >= 0

    asyncio.run(run())
