"""What a dead letter is written with: everything that can be written, and the names of the rest."""

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from daemon.serving.dead_letter import DeadLetter
from lockstore.amqp.content_header import Notes

FRAME = 131_064


def dead(properties: Any = None, notes: Notes | None = None, detail: str = "why") -> DeadLetter:
    return DeadLetter(b"body", properties or Basic.Properties(), notes or Notes(), "invalid", detail)


def a_message(**properties: Any) -> Basic.Properties:
    return Basic.Properties(**properties)


def read_again(written: Basic.Properties) -> Any:
    found = ContentHeader()
    found.unmarshal(ContentHeader(properties=written).marshal())
    return found.properties


VALUES: dict[str, Any] = {
    "none": None,
    "truth": True,
    "least": -(2**63),
    "double": 1e300,
    "tenth": 0.1,
    "not a number": float("inf"),
    "text": "ü" * 300,
    "no text": b"\xff\xfe",
    "bytes": bytearray(b"\xff\xfe"),
    "decimal": Decimal("-1E-255"),
    "time": datetime(2026, 11, 28, tzinfo=UTC),
    "before": datetime(1970, 1, 1, tzinfo=UTC),
    "table": {"a": [1, {"b": [None, "c"]}]},
    "k" * 255: "a name that fills a short string",
}


@pytest.mark.parametrize("name", VALUES)
def test_every_header_is_written_without_loss(name: str) -> None:
    written = read_again(dead(a_message(headers={name: VALUES[name]})).written(FRAME))
    assert written.headers == {name: VALUES[name], "x-error-reason": "invalid", "x-error-detail": "why"}


@pytest.mark.parametrize(
    "value",
    [2**64, -(2**63) - 1, Decimal(2**40), Decimal("NaN"), datetime(1960, 1, 1, tzinfo=UTC), object(), "\ud800"],
)
def test_what_cannot_be_written_is_left_out_and_named(value: Any) -> None:
    headers = {"kept": 1, "bad": [value]}
    written = dead(a_message(headers=headers)).written(FRAME)
    assert read_again(written).headers["kept"] == 1
    assert read_again(written).headers["x-left-out"] == ["headers.bad: cannot be encoded"]


def test_properties_that_cannot_be_written_are_left_out_and_named() -> None:
    properties = a_message(
        timestamp=datetime(1960, 1, 1, tzinfo=UTC), message_type="t" * 300, app_id="a", reply_to="\ud800"
    )
    written = read_again(dead(properties).written(FRAME))
    assert (written.timestamp, written.message_type, written.reply_to, written.app_id) == (None, None, None, "a")
    left_out = ["reply_to: cannot be encoded", "timestamp: cannot be encoded", "type: cannot be encoded"]
    assert written.headers["x-left-out"] == left_out


def test_what_was_not_readable_is_named() -> None:
    notes = Notes(("timestamp: out of range",), 70_000)
    written = read_again(dead(notes=notes).written(FRAME))
    assert written.headers["x-left-out"] == ["timestamp: out of range"]
    assert written.headers["x-body-size"] == 70_000


def test_at_most_sixteen_are_named_and_the_others_counted() -> None:
    headers = {f"k{place}": object() for place in range(100)}
    left_out = read_again(dead(a_message(headers=headers)).written(FRAME)).headers["x-left-out"]
    assert (len(left_out), left_out[-1]) == (17, "and 84 more")


@pytest.mark.parametrize("frame", [4088, 8184, FRAME])
def test_headers_leave_the_largest_first_until_all_fits_a_frame(frame: int) -> None:
    headers = {"small": 1, "large": "x" * frame, "medium": "y" * 500}
    properties = a_message(headers=headers, app_id="a" * 255)
    written = dead(properties).written(frame)
    headers_written: Any = written.headers
    assert len(ContentHeader(properties=written).marshal()) <= frame
    assert set(headers_written) == {"small", "medium", "x-error-reason", "x-error-detail", "x-left-out"}
    assert headers_written["x-left-out"] == ["headers.large: too large for the frame"]


def test_even_the_least_frame_has_room_for_the_reason() -> None:
    full = dict.fromkeys(
        ("content_type", "correlation_id", "reply_to", "message_id", "message_type", "app_id"), "x" * 255
    )
    properties = a_message(headers={f"k{place}" * 20: "x" * 255 for place in range(100)}, **full)
    notes = Notes(tuple(f"headers.{'n' * 60}{place}: is not UTF-8" for place in range(17)), 70_000)
    written = dead(properties, notes, "ü" * 500).written(4088)
    assert len(ContentHeader(properties=written).marshal()) <= 4088
    assert read_again(written).headers["x-error-detail"] == "ü" * 500


def test_without_a_limit_all_is_kept() -> None:
    headers = {"large": "x" * 200_000}
    assert read_again(dead(a_message(headers=headers)).written(-8)).headers["large"] == "x" * 200_000


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.decimals()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
)
TABLES = st.dictionaries(
    st.text(max_size=300),
    st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner), max_leaves=9),
)


@given(TABLES, st.text(max_size=500), st.integers(4088, 200_000))
def test_whatever_there_is_something_can_be_written(headers: dict[str, Any], detail: str, frame: int) -> None:
    detail = detail.encode("utf-8", "ignore").decode()
    written = dead(a_message(headers=headers), detail=detail).written(frame)
    marshalled = ContentHeader(properties=written).marshal()
    assert struct.unpack(">H", marshalled[:2]) == (60,)
    assert len(marshalled) <= frame
    assert read_again(written).headers["x-error-detail"] == detail
