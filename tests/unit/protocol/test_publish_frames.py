"""The frames of a published message are those of pamqp, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from lockstore.amqp.publish_frames import body_frames, header_frame, publish_frame, renumbered

TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
PROPERTIES = st.builds(
    Basic.Properties,
    content_type=TEXTS,
    headers=st.none()
    | st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=5), st.integers(0, 9) | st.booleans()),
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 9),
    correlation_id=TEXTS,
    reply_to=TEXTS,
    expiration=TEXTS,
    message_id=TEXTS,
    message_type=TEXTS,
    user_id=TEXTS,
    app_id=TEXTS,
)


@given(PROPERTIES, st.integers(0, 2**40), st.integers(1, 2047))
def test_it_is_what_pamqp_writes(properties: Basic.Properties, size: int, channel: int) -> None:
    expected = frame.marshal(ContentHeader(properties=properties, body_size=size), channel)
    assert header_frame(properties, size, channel) == expected


NAMES = st.text(st.sampled_from("abc.é-🔒"), max_size=60)


@given(st.sampled_from(["", "lockstore.events"]), NAMES, st.booleans(), st.integers(1, 2047))
def test_so_is_the_method(exchange: str, routing_key: str, mandatory: bool, channel: int) -> None:  # noqa: FBT001
    expected = frame.marshal(Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory), channel)
    assert publish_frame(exchange, routing_key, int(mandatory), channel) == expected


@given(st.binary(max_size=50), st.integers(1, 20), st.integers(1, 2047))
def test_so_is_the_body(body: bytes, most: int, channel: int) -> None:
    parts = [body[start : start + most] for start in range(0, len(body), most)]
    assert body_frames(body, most, channel) == b"".join(frame.marshal(ContentBody(part), channel) for part in parts)


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "🔒" * 64])
def test_what_amqp_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(TypeError, match="correlation_id: 256 bytes, and 255 are the most"):
        header_frame(Basic.Properties(correlation_id=text), 0, 1)


@given(NAMES, st.binary(max_size=100), st.integers(1, 20), st.integers(1, 2047), st.integers(1, 2047))
def test_a_message_for_another_channel_is_what_it_would_have_been_there(
    routing_key: str, body: bytes, most: int, channel: int, other: int
) -> None:
    def written(number: int) -> bytes:
        header = header_frame(Basic.Properties(message_id="m"), len(body), number)
        return publish_frame("", routing_key, 1, number) + header + body_frames(body, most, number)

    assert renumbered(written(channel), other) == written(other)
