"""Whatever a body is, the daemon's decoder has one answer: a command, or a rejection that can be sent and parked."""

import json
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from daemon.serving import decoder as letters
from daemon.serving.decoder import DecodedDelivery, Decoder
from lockstore.protocol import codec as wire
from lockstore.protocol.codec import RequestLimits, encode
from lockstore.protocol.reading import read_outbound

READER = Decoder(RequestLimits(), 0, 1)
REQUEST = b'{"type": "request", "conversation_id": "c", "request_id": "r", %s}'

ODD = [
    b"",
    b"\xef\xbb\xbf" + REQUEST % b'"wait": 1',
    json.dumps({"type": "request"}).encode("utf-16"),
    b"\x1f\x8b\x08\0\0\0\0\0",
    b"[" * 60_000,
    b'{"a":' * 12_000,
    b"9" * 60_000,
    REQUEST % (b'"wait": ' + b"9" * 60_000),
    REQUEST % b'"wait": NaN',
    REQUEST % b'"wait": -Infinity',
    REQUEST % b'"wait": 1e999',
    REQUEST % b'"holder": "\\ud800"',
    REQUEST % b'"holder": "\xed\xa0\x80"',
    REQUEST % b'"\\ud800": 1',
    REQUEST % b'"holder": "\\u0000"',
    REQUEST % (b'"' + b"k" * 60_000 + b'": 1'),
    REQUEST % b'"lifetime": {"a": 1}',
    b'{"type": "release", "conversation_id": "c", "ticket_number": 99999999999999999999999}',
    b'{"type": "release", "conversation_id": "c", "ticket_number": 1.5}',
    b'{"type": ["request"], "conversation_id": "c"}',
    b'{"type": "\\ud800", "conversation_id": "c"}',
    b'"request"',
]


def read(body: bytes, **properties: Any) -> DecodedDelivery:
    channel: Any = None
    header = ContentHeader(properties=Basic.Properties(**properties))
    return READER.read(DeliveredMessage(Basic.Deliver(), header, body, channel), 1_795_459_434_123)


def check(letter: DecodedDelivery) -> None:
    assert (letter.command is None) != (letter.rejected is None)
    if letter.rejected is not None:
        assert "cannot be decoded" not in letter.rejected.detail
        read_outbound(encode(letter.rejected))
        letter.as_dead_letter(letter.rejected).written(131_064).marshal()
    else:
        assert letter.command is not None
        letter.command.conversation_id.encode()


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_an_odd_body_is_refused(body: bytes) -> None:
    letter = read(body, reply_to="q")
    check(letter)
    assert letter.rejected is not None
    assert letter.rejected.reason == "invalid"
    assert letter.rejected.detail.split(":")[0]


@given(st.binary(max_size=400))
def test_any_bytes_have_one_answer(body: bytes) -> None:
    check(read(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
FIELDS = st.sampled_from(["type", "conversation_id", "request_id", "ticket_number", "lifetime", "wait", "holder", "x"])
TYPES = st.sampled_from(["request", "release", "renew"])


@given(st.dictionaries(FIELDS, JSON), TYPES | JSON, st.text(max_size=70) | st.none())
def test_any_fields_have_one_answer(fields: dict[str, Any], kind: Any, message_id: str | None) -> None:
    check(
        read(
            json.dumps({"conversation_id": "c", "request_id": "r", **fields, "type": kind}).encode(),
            message_id=message_id,
        )
    )


@pytest.mark.parametrize(
    "error", [RuntimeError("ours"), RecursionError(), MemoryError(), UnicodeEncodeError("a", "b", 0, 1, "c")]
)
def test_an_error_of_ours_in_decoding_refuses_that_message_alone(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = wire.decode

    def fragile(body: bytes, *others: Any) -> Any:
        if b"poison" in body:
            raise error
        return decode(body, *others)

    monkeypatch.setattr(letters, "decode", fragile)
    refused = read(REQUEST % b'"holder": "poison"', reply_to="q")
    assert refused.rejected is not None
    assert (refused.rejected.reason, refused.rejected.request_id) == ("invalid", "r")
    assert refused.rejected.detail == f"the message cannot be decoded: {type(error).__name__}"
    assert read(REQUEST % b'"holder": "sound"').rejected is None
