"""What the daemon says: every event is a message of docs/protocol.md, with a name of its own."""

import json
from dataclasses import replace
from typing import Any

import pytest

from lockstore.core.events import REFUSALS, Cancelled, Event, Expired, Granted, Queued, Rejected, Released, Renewed
from lockstore.core.ticket import Sender
from lockstore.protocol.codec import BODY_MAX_BYTES, PartialMessage, encode, message_id, type_of
from lockstore.protocol.models import INBOUND
from lockstore.protocol.outbound_models import OUTBOUND_MODELS
from lockstore.protocol.reading import parse_fields, read_outbound

AT_MS = 1795459434123
COMMON: dict[str, Any] = {
    "conversation_id": "user-42",
    "number": 7,
    "request_id": "b7c1",
    "holder": "bot-3",
    "at_ms": AT_MS,
    "to": Sender("queue", "k", "alice", "00-trace-01"),
}
EVENTS: list[Event] = [
    Queued(**COMMON, position=2, wait_until_ms=AT_MS + 10_000),
    Granted(**COMMON, expires_at_ms=AT_MS + 30_000, waited_ms=0, behind=0),
    Renewed(**COMMON, expires_at_ms=AT_MS + 30_000),
    Released(**COMMON, held_ms=1881, reason="holder"),
    Released(**COMMON, held_ms=1881, reason="forced", by="anna@ops"),
    Expired(**COMMON, phase="held"),
    Expired(**COMMON, phase="waiting"),
    Cancelled(**COMMON, reason="requester"),
    Cancelled(**COMMON, reason="unreachable"),
    Cancelled(**COMMON, reason="forced", by="anna@ops"),
    Cancelled(**{**COMMON, "request_id": None, "holder": None}, reason="forced", by="anna@ops"),
    *(Rejected(**COMMON, reason=reason, detail=detail) for reason, detail in REFUSALS.values()),
    Rejected(**COMMON, reason="finished", detail="the ticket has ended", ended="expired"),
    Rejected(**COMMON, reason="wrong_partition", detail="conversation_id: ...", partitions=4),
    Rejected(**COMMON, reason="too_large", detail="body: ..."),
]
UNKNOWN: dict[str, Any] = {**COMMON, "conversation_id": "", "number": None, "request_id": None, "holder": None}


@pytest.mark.parametrize("event", EVENTS, ids=type_of)
def test_every_event_is_a_message_of_the_protocol(event: Event) -> None:
    message = read_outbound(encode(event))
    assert message.type == type_of(event)
    told = json.loads(encode(event))
    assert told.items() >= message.as_dict().items()
    OUTBOUND_MODELS[message.type].model_validate(
        told, strict=True, extra="forbid"
    )  # and nothing is unknown to the model


def test_the_documented_example() -> None:
    granted = Granted(**COMMON, expires_at_ms=1795459464123, waited_ms=0, behind=0)
    assert encode(granted).decode() == (
        '{"type":"granted","conversation_id":"user-42","ticket_number":7,"request_id":"b7c1","holder":"bot-3",'
        '"at":1795459434.123,"expires_at":1795459464.123,"waited":0.0,"behind":0}'
    )


def test_an_operator_is_named_and_nobody_where_there_is_none() -> None:
    forced, own = Released(**COMMON, held_ms=5, reason="forced", by="anna@ops"), Cancelled(**COMMON, reason="requester")
    assert json.loads(encode(forced))["by"] == "anna@ops"
    assert "by" not in json.loads(encode(own))


def test_a_refusal_says_null_where_nothing_is_known() -> None:
    told = json.loads(encode(Rejected(**UNKNOWN, reason="invalid", detail="body: ...")))
    assert told == {
        "type": "rejected",
        "conversation_id": None,
        "ticket_number": None,
        "request_id": None,
        "holder": None,
        "at": AT_MS / 1000,
        "reason": "invalid",
        "detail": "body: ...",
    }


def test_only_a_finished_ticket_says_how_it_ended() -> None:
    finished = json.loads(encode(Rejected(**COMMON, reason="finished", detail="")))
    assert finished["ended"] is None
    assert "ended" not in json.loads(encode(Rejected(**COMMON, reason="busy", detail="")))


def test_properties_of_the_sender_are_in_no_body() -> None:
    for event in EVENTS:
        assert not {"reply_to", "user_id", "traceparent", "to", "repeated"} & json.loads(encode(event)).keys()


def test_times_have_milliseconds() -> None:
    for ms in range(1795459434000, 1795459434050):
        assert json.loads(encode(replace(EVENTS[0], at_ms=ms)))["at"] == ms / 1000
        assert round(json.loads(encode(replace(EVENTS[0], at_ms=ms)))["at"] * 1000) == ms


def test_a_reader_of_today_gets_along_with_a_field_of_tomorrow() -> None:
    told = json.loads(encode(EVENTS[1])) | {"weather": "fine"}
    assert parse_fields(told).type == "granted"


def test_the_models_give_a_json_schema() -> None:
    schema = INBOUND.json_schema()
    assert schema["discriminator"]["propertyName"] == "type"


class TestAMessageId:
    def test_is_the_same_when_the_event_is_announced_again(self) -> None:
        for event in EVENTS:
            if not isinstance(event, Rejected):
                assert message_id(event) == message_id(replace(event))
                assert message_id(event) == message_id(replace(event, repeated=True, to=Sender("another")))

    def test_is_another_for_every_other_event(self) -> None:
        first = [EVENTS[place] for place in (0, 1, 2, 3, 5, 7)]
        variants = [
            *first,
            *(replace(event, number=8) for event in first),
            *(replace(event, conversation_id="user-43") for event in first),
        ]
        assert len({message_id(event) for event in variants}) == len(variants)

    def test_is_another_for_each_renewal(self) -> None:
        renewed = Renewed(**COMMON, expires_at_ms=1)
        assert message_id(renewed) != message_id(replace(renewed, expires_at_ms=2))

    def test_is_another_for_each_refusal(self) -> None:
        refusal = Rejected(**COMMON, reason="busy", detail="")
        assert message_id(refusal) != message_id(refusal)

    def test_fits_an_amqp_property_and_is_plain_text(self) -> None:
        for event in EVENTS:
            name = message_id(replace(event, conversation_id="😀" * 50, number=2**53 - 1))
            assert len(name) <= 255
            assert name.isascii()
            assert name.isprintable()


class TestSalvage:
    def test_finds_what_a_refused_body_says_of_itself(self) -> None:
        body = b'{"conversation_id": "c", "request_id": "r", "ticket_number": 7, "typo": 1}'
        assert PartialMessage.of(body, "m1") == PartialMessage("c", "r", 7)

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 60_000, b" " * (BODY_MAX_BYTES + 1)])
    def test_has_the_message_id_of_a_body_that_says_nothing(self, body: bytes) -> None:
        assert PartialMessage.of(body, "m1") == PartialMessage(None, "m1", None)
        assert PartialMessage.of(body, None) == PartialMessage()

    def test_believes_no_message_id_that_is_too_long(self) -> None:
        assert PartialMessage.of(b"{}", "m" * 65) == PartialMessage()

    @pytest.mark.parametrize("value", [5, None, ["c"], {"a": 1}, True, "x" * 201])
    def test_believes_no_conversation_id_of_another_type_or_size(self, value: object) -> None:
        assert PartialMessage.of(json.dumps({"conversation_id": value}).encode(), None) == PartialMessage()

    @pytest.mark.parametrize("value", ["é" * 101, "a\nb", ""])
    def test_believes_no_conversation_id_that_decode_would_refuse(self, value: str) -> None:
        assert PartialMessage.of(json.dumps({"conversation_id": value}).encode(), None) == PartialMessage()

    @pytest.mark.parametrize("value", [5, ["r"], "x" * 65])
    def test_believes_no_request_id_of_another_type_or_size(self, value: object) -> None:
        assert PartialMessage.of(json.dumps({"request_id": value}).encode(), "m1") == PartialMessage(None, "m1", None)

    @pytest.mark.parametrize("value", ["7", 7.0, True, 2**53, -(2**53), 10**400])
    def test_believes_no_number_of_another_type_or_size(self, value: object) -> None:
        assert PartialMessage.of(json.dumps({"ticket_number": value}).encode(), None) == PartialMessage()

    def test_can_always_be_answered(self) -> None:
        for body in (b'{"conversation_id": "a\\u0000b"}', '{"conversation_id": "😀", "ticket_number": -4}'.encode()):
            found = PartialMessage.of(body, "m1")
            told = {**UNKNOWN, "conversation_id": found.conversation_id or "", "number": found.number}
            assert read_outbound(encode(Rejected(**told, reason="invalid", detail="x"))).type == "rejected"
