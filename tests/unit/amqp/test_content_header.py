"""Whatever bytes a content header has, pamqp decodes what is made of it, and what was left out is named."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from lockstore.amqp.content_header import Notes, readable, take_notes
from lockstore.amqp.field_table import DEPTH_MAX, FIELDS_MAX
from tests.support.hostile_properties import UNREADABLE, UNUSUAL
from tests.support.raw_publisher import APP_ID, CORRELATION_ID, HEADERS, PRIORITY, field, long, nested, short

LIMIT = 65_536
FLAGS = [1 << bit for bit in range(2, 16)]
KINDS = b"tbBsuIilLfdDSATFVx\0"


def header(properties: dict[int, bytes], body_size: int = 4, weight: int = 0) -> bytes:
    values = b"".join(properties[flag] for flag in sorted(properties, reverse=True))
    return struct.pack(">HHQH", 60, weight, body_size, sum(properties)) + values


def decoded(payload: bytes, limit: int = LIMIT) -> tuple[ContentHeader, Notes]:
    written, cut = readable(payload, limit)
    found = ContentHeader()
    found.unmarshal(written)
    notes = take_notes(found)
    assert (cut is None) == (notes.body_size is None)
    assert cut is None or found.body_size == cut
    return found, notes


def test_what_pamqp_writes_passes_as_it_is() -> None:
    properties = Basic.Properties(
        content_type="application/json",
        headers={"a": 1, "b": [True, None, "ü", {"c": 2.5}], "d": bytearray(b"\xff")},
        delivery_mode=2,
        correlation_id="k",
        reply_to="q",
        expiration="60000",
        message_id="m",
        timestamp=datetime(2026, 11, 28, tzinfo=UTC),
        message_type="t",
        user_id="u",
        app_id="a",
    )
    payload = ContentHeader(properties=properties, body_size=9).marshal()
    assert readable(payload, LIMIT) == (payload, None)
    found, notes = decoded(payload)
    assert found.properties == properties
    assert notes == Notes()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_only_what_cannot_be_read_is_left_out(kind: str) -> None:
    properties, fault = UNREADABLE[kind]
    others = {CORRELATION_ID: short(b"k"), PRIORITY: b"\3"}
    found, notes = decoded(header({**others, **properties}))
    assert notes == Notes((fault,))
    assert (found.body_size, found.properties.priority) == (4, 3)
    assert found.properties.correlation_id == (None if CORRELATION_ID in properties else "k")


@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_can_be_read_is_not_touched(kind: str) -> None:
    payload = header({HEADERS: long(UNUSUAL[kind])})
    assert readable(payload, LIMIT) == (payload, None)


def test_the_other_headers_stay() -> None:
    table = field(b"a", b"t", b"\1") + field(b"b", b"T", b"\xff" * 8) + field(b"c", b"S", long(b"x"))
    found, notes = decoded(header({HEADERS: long(table)}))
    assert found.properties.headers == {"a": True, "c": "x"}
    assert notes == Notes(("headers.b: out of range",))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (field(b"a", b"t", b"\1") + field(b"b", b"Z", b"\1"), "headers.b: of an unknown type, b'Z'"),
        (field(b"a", b"t", b"\1") + field(b"b", b"S", struct.pack(">I", 99) + b"x"), "headers.b: cut short"),
        (field(b"a", b"t", b"\1") + field(b"b", b"F", long(b"\5k")), "headers.b: cut short"),
        (field(b"a", b"t", b"\1") + field(b"b", b"A", long(b"l\0")), "headers.b: cut short"),
        (field(b"a", b"t", b"\1") + field(b"b", b"A", long(b"Z")), "headers.b: of an unknown type, b'Z'"),
        (field(b"a", b"t", b"\1") + b"\1b", "headers.b: cut short"),
        (field(b"a", b"t", b"\1") + b"\xffb", "headers.b: cut short"),
    ],
)
def test_lengths_and_types_that_lie_are_named(table: bytes, fault: str) -> None:
    found, notes = decoded(header({HEADERS: long(table), CORRELATION_ID: short(b"k")}))
    assert found.properties.headers == {"a": True}
    assert found.properties.correlation_id == "k"
    assert notes == Notes((fault,))


def test_what_follows_a_property_without_an_end_cannot_be_found() -> None:
    found, notes = decoded(header({PRIORITY: b"\3", CORRELATION_ID: b"\xffk", APP_ID: b""}))
    assert found.properties.priority == 3
    assert notes == Notes(("correlation_id: cut short, so the following ones cannot be located",))


@pytest.mark.parametrize("flags", [b"", b"\0", b"\0\1", b"\0\1\0", b"\xff\xff\xff\xff", b"\0\2", b"\0\1\x80\0"])
def test_flags_that_are_none_are_named(flags: bytes) -> None:
    found, notes = decoded(struct.pack(">HHQ", 60, 0, 0) + flags)
    assert notes.unreadable
    assert found.properties == Basic.Properties()


@pytest.mark.parametrize("words", [b"\0\1\0\0", b"\0\1\0\1\0\0"])
def test_flags_that_go_on_and_name_nothing_are_read_to_their_end(words: bytes) -> None:
    """pamqp 3 reads the first of such words for ever, in the loop of whoever waits for the next frame."""
    found, notes = decoded(struct.pack(">HHQ", 60, 0, 4) + words)
    assert (found.body_size, found.properties, notes) == (4, Basic.Properties(), Notes())


def test_nesting_and_fields_are_taken_up_to_their_limits() -> None:
    def noted(value: bytes) -> tuple[str, ...]:
        return decoded(header({HEADERS: long(value)}))[1].unreadable

    assert noted(short(b"n") + nested(DEPTH_MAX)) == ()
    assert noted(short(b"n") + nested(DEPTH_MAX + 1)) == (f"headers.n: nested more than {DEPTH_MAX} deep",)
    fields = [field(b"k%d" % place, b"V", b"") for place in range(FIELDS_MAX + 1)]
    assert noted(b"".join(fields[:-1])) == ()
    assert noted(b"".join(fields)) == (f"headers.k{FIELDS_MAX}: the headers have more than {FIELDS_MAX} fields",)


def test_of_a_body_over_the_limit_a_prefix_is_announced() -> None:
    assert decoded(header({}, LIMIT))[1] == Notes()
    found, notes = decoded(header({}, LIMIT + 1))
    assert (found.body_size, notes) == (4096, Notes((), LIMIT + 1))
    assert decoded(header({}, 2**64 - 1))[1] == Notes((), 2**63 - 1)
    assert decoded(header({}, 11), limit=10)[0].body_size == 10


def test_nobody_forges_a_note() -> None:
    forged = long(
        field(b"x-lockstore-unreadable", b"A", long(b"S" + long(b"lie"))) + field(b"x-lockstore-body-size", b"t", b"\1")
    )
    assert decoded(header({HEADERS: forged}))[1] == Notes()
    assert decoded(header({HEADERS: forged}, weight=1))[1] == Notes()
    assert decoded(header({HEADERS: forged, APP_ID: b"\1\xff"}))[1] == Notes(("app_id: is not UTF-8",))
    assert decoded(header({HEADERS: forged}, LIMIT + 1))[1] == Notes((), LIMIT + 1)


def a_value() -> st.SearchStrategy[bytes]:
    leaf = st.builds(lambda kind, rest: bytes([kind]) + rest, st.sampled_from(KINDS), st.binary(max_size=12))
    sized = st.builds(
        lambda kind, rest: kind + long(rest), st.sampled_from([b"S", b"x", b"F", b"A"]), st.binary(max_size=9)
    )

    def holding(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        array = st.lists(values, max_size=4).map(lambda items: b"A" + long(b"".join(items)))
        table = st.dictionaries(st.binary(max_size=9), values, max_size=4)
        return array | table.map(lambda items: b"F" + long(b"".join(short(k) + v for k, v in items.items())))

    return st.recursive(leaf | sized | st.binary(max_size=6), holding, max_leaves=12)


def a_property(flag: int) -> st.SearchStrategy[bytes]:
    if flag == HEADERS:
        fields = st.lists(
            st.builds(lambda name, value: short(name) + value, st.binary(max_size=9), a_value()), max_size=6
        )
        return fields.map(lambda items: long(b"".join(items)))
    return st.binary(max_size=255).map(short) | st.binary(max_size=8)


@given(st.dictionaries(st.sampled_from(FLAGS), st.none(), max_size=14), st.data(), st.integers(0, 2**64 - 1))
def test_any_properties_are_read(flags: dict[int, None], data: st.DataObject, body_size: int) -> None:
    found, notes = decoded(header({flag: data.draw(a_property(flag)) for flag in flags}, body_size))
    assert all(said.isprintable() for said in notes.unreadable)
    assert found.body_size <= LIMIT


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_read(payload: bytes) -> None:
    decoded(payload)


@given(st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_any_flags_are_read(values: bytes, flags: int) -> None:
    decoded(struct.pack(">HHQH", 60, 0, 9, flags) + values)


@pytest.mark.parametrize("error", [ValueError("bad"), RecursionError(), OverflowError(), KeyError("k"), MemoryError()])
def test_what_pamqp_raises_and_nobody_thought_of_costs_that_message_its_properties_only(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmarshal = ContentHeader.unmarshal

    def fragile(header: ContentHeader, data: bytes) -> None:
        if b"poison" in data:
            raise error
        unmarshal(header, data)

    monkeypatch.setattr(ContentHeader, "unmarshal", fragile)
    found, notes = decoded(header({APP_ID: short(b"poison")}, LIMIT + 1))
    assert (found.body_size, found.properties) == (4096, Basic.Properties())
    assert notes == Notes(("properties: cannot be read",), LIMIT + 1)
    assert decoded(header({APP_ID: short(b"sound")}))[1] == Notes()
