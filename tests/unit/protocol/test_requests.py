"""What a replica may say: every rule of docs/protocol.md on the fields of a request."""

import json
from typing import Any

import pytest

from lockstore.core.commands import Release, Renew, Request
from lockstore.core.ticket import NO_SENDER, Sender
from lockstore.errors import MessageError
from lockstore.protocol.codec import BODY_MAX_BYTES, RequestLimits, decode
from lockstore.protocol.naming import Names, partition_of

BOUNDS = RequestLimits(lifetime=60, wait=300, max_lifetime=3600, max_wait=1800)


def read(
    message: dict[str, Any] | bytes, message_id: str | None = "m1", sender: Sender = NO_SENDER
) -> Request | Release | Renew:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return decode(body, message_id, sender, BOUNDS)


def request(**fields: Any) -> dict[str, Any]:
    return {"type": "request", "conversation_id": "c", **fields}


def refusal(message: dict[str, Any] | bytes, message_id: str | None = "m1") -> tuple[str, str]:
    with pytest.raises(MessageError) as caught:
        read(message, message_id)
    return caught.value.reason, caught.value.detail


class TestARequest:
    def test_with_all_fields(self) -> None:
        sender = Sender("queue", "k", "alice", "00-trace-01")
        message = request(request_id="r", lifetime=1.5, wait=0, holder="bot-3")
        assert read(message, None, sender) == Request("c", "r", 1500, 0, "bot-3", sender)

    def test_with_nothing_but_the_conversation_takes_the_daemons_values(self) -> None:
        assert read(request()) == Request("c", "m1", 60_000, 300_000, None, Sender(correlation_id="m1"))

    def test_takes_null_for_absent(self) -> None:
        assert read(request(request_id=None, lifetime=None, wait=None, holder=None)) == read(request())

    def test_prefers_its_own_request_id_to_the_message_id(self) -> None:
        command = read(request(request_id="r"))
        assert isinstance(command, Request)
        assert command.request_id == "r"

    def test_needs_one_of_the_two(self) -> None:
        assert refusal(request(), None) == ("invalid", "request_id: required, here or as the AMQP property message_id")

    @pytest.mark.parametrize("message_id", ["m" * 65, "a\tb", "a\x00b"])
    def test_takes_no_message_id_that_would_be_no_request_id(self, message_id: str) -> None:
        reason, detail = refusal(request(), message_id)
        assert reason == "invalid"
        assert detail.startswith("message_id: ")

    @pytest.mark.parametrize("request_id", ["a\u00a0b", "👩\u200d👧", "\u2028"])
    def test_takes_any_request_id_without_control_characters(self, request_id: str) -> None:
        for command in (read(request(request_id=request_id)), read(request(), request_id)):
            assert isinstance(command, Request)
            assert command.request_id == request_id

    @pytest.mark.parametrize(("asked", "ms"), [(1, 1000), (0.001, 1), (1e-9, 1), (0.0015, 2), (3600, 3_600_000)])
    def test_counts_its_lifetime_in_whole_milliseconds_and_at_least_one(self, asked: float, ms: int) -> None:
        command = read(request(lifetime=asked))
        assert isinstance(command, Request)
        assert command.lifetime_ms == ms

    @pytest.mark.parametrize(("asked", "ms"), [(0, 0), (0.0, 0), (1e-9, 1), (1800, 1_800_000)])
    def test_waits_not_at_all_or_at_least_a_millisecond(self, asked: float, ms: int) -> None:
        command = read(request(wait=asked))
        assert isinstance(command, Request)
        assert command.wait_ms == ms

    @pytest.mark.parametrize(
        ("fields", "detail"),
        [
            ({"lifetime": 3601}, "lifetime: must be at most 3600 seconds"),
            ({"wait": 1800.5}, "wait: must be at most 1800 seconds"),
        ],
    )
    def test_is_bounded_by_the_daemon(self, fields: dict[str, Any], detail: str) -> None:
        assert refusal(request(**fields)) == ("invalid", detail)


class TestTheConversationId:
    @pytest.mark.parametrize("name", ["c", " ", "*", "{}", "x" * 200, "é" * 100, "😀" * 50, "a\u00a0b"])
    def test_is_1_to_200_bytes_of_text(self, name: str) -> None:
        assert read(request(conversation_id=name)).conversation_id == name

    @pytest.mark.parametrize(
        "name", ["", "x" * 201, "é" * 101, "😀" * 51, "a\nb", "\x00", "\x7f", "\x85", 5, None, ["c"]]
    )
    def test_is_nothing_else(self, name: object) -> None:
        reason, detail = refusal(request(conversation_id=name))
        assert reason == "invalid"
        assert detail.startswith("conversation_id: ")

    def test_is_needed(self) -> None:
        assert refusal({"type": "request"}) == ("invalid", "conversation_id: is required")

    @pytest.mark.parametrize("name", ["é" * 101, "a\nb"])
    def test_breaks_a_rule_that_is_told(self, name: str) -> None:
        _, detail = refusal(request(conversation_id=name))
        assert detail.removeprefix("conversation_id: ") in {
            "must be at most 200 bytes of UTF-8",
            "must not contain control characters",
        }


class TestAField:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("request_id", ""),
            ("request_id", "x" * 65),
            ("request_id", "a\nb"),
            ("request_id", 5),
            ("lifetime", 0),
            ("lifetime", -1),
            ("lifetime", "60"),
            ("lifetime", True),
            ("wait", -0.001),
            ("wait", "now"),
            ("wait", False),
            ("holder", "x" * 129),
            ("holder", "a\rb"),
            ("holder", {}),
            ("priority", 1),
            ("Lifetime", 5),
            ("ticket_number", 1),
        ],
    )
    def test_of_a_request_that_breaks_its_rule_is_named(self, field: str, value: object) -> None:
        reason, detail = refusal(request(**{field: value}))
        assert reason == "invalid"
        assert detail.startswith(f"{field}: ")

    @pytest.mark.parametrize(
        ("body", "twice"),
        [
            ('{"type":"request","conversation_id":"a","request_id":"r","conversation_id":"b"}', "conversation_id"),
            ('{"type": "request", "conversation_id": "a", "wait": 1, "wait": 1}', "wait"),
            ('{"type": "request", "conversation_id": "a", "w\\u0061it": null, "wait": 1}', "wait"),
            ('{"type": "release", "type": "request", "conversation_id": "a:b"}', "type"),
            ('{"type": "release", "conversation_id": "a", "ticket_number": 1, "ticket_number": 2}', "ticket_number"),
        ],
    )
    def test_that_stands_twice_is_named(self, body: str, twice: str) -> None:
        assert refusal(body.encode()) == ("invalid", f"{twice}: stands twice")

    @pytest.mark.parametrize("name", [":", '":"', '","wait":1', "a:b:c:d:e:f", "\\", "wait", "\U0001f600:"])
    def test_is_told_from_what_looks_like_one_in_a_text(self, name: str) -> None:
        message = request(conversation_id=name, holder=name, wait=1)
        for body in (json.dumps(message), json.dumps(message, ensure_ascii=False, indent=1)):
            command = read(body.encode())
            assert isinstance(command, Request)
            assert (command.conversation_id, command.holder) == (name, name)

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
    def test_is_a_finite_number(self, number: str) -> None:
        body = f'{{"type": "request", "conversation_id": "c", "lifetime": {number}}}'.encode()
        reason, detail = refusal(body)
        assert reason == "invalid"
        assert detail.startswith(("lifetime: ", "body: "))

    @pytest.mark.parametrize("kind", ["release", "renew"])
    @pytest.mark.parametrize("number", [-1, 2**53, 1.0, "1", True])
    def test_that_numbers_a_ticket_is_a_whole_number_that_json_keeps_exact(self, kind: str, number: object) -> None:
        reason, detail = refusal({"type": kind, "conversation_id": "c", "ticket_number": number})
        assert reason == "invalid"
        assert detail.startswith("ticket_number: ")

    @pytest.mark.parametrize(("kind", "field"), [("release", "lifetime"), ("release", "wait"), ("renew", "wait")])
    def test_belongs_to_its_own_type(self, kind: str, field: str) -> None:
        _, detail = refusal({"type": kind, "conversation_id": "c", "ticket_number": 1, field: 1})
        assert detail.startswith(f"{field}: ")

    @pytest.mark.parametrize("length", [64, 128])
    def test_may_have_its_full_length(self, length: int) -> None:
        field = {64: "request_id", 128: "holder"}[length]
        assert getattr(read(request(**{field: "é" * length})), field) == "é" * length


class TestReleaseAndRenewal:
    def test_name_the_ticket_by_number_or_request_or_both(self) -> None:
        sender = Sender("q", "k")
        for named in ({"ticket_number": 0}, {"request_id": "r"}, {"ticket_number": 2**53 - 1, "request_id": "r"}):
            number, request_id = named.get("ticket_number"), named.get("request_id")
            message = {"conversation_id": "c", **named}
            assert read({"type": "release", **message}, None, sender) == Release("c", number, request_id, sender)  # type: ignore[arg-type]
            assert read({"type": "renew", **message}, None, sender) == Renew("c", number, request_id, None, sender)  # type: ignore[arg-type]

    @pytest.mark.parametrize("kind", ["release", "renew"])
    def test_need_one_of_the_two_and_a_message_id_is_neither(self, kind: str) -> None:
        assert refusal({"type": kind, "conversation_id": "c"}) == (
            "invalid",
            "ticket_number: it or request_id is required",
        )

    def test_may_ask_for_another_lifetime_within_the_bounds(self) -> None:
        message = {"type": "renew", "conversation_id": "c", "ticket_number": 1, "lifetime": 2.5}
        command = read(message)
        assert isinstance(command, Renew)
        assert command.lifetime_ms == 2500
        assert refusal(message | {"lifetime": 3601}) == ("invalid", "lifetime: must be at most 3600 seconds")


class TestTheBody:
    def test_may_have_64_kib_and_no_more(self) -> None:
        body = json.dumps(request(request_id="r")).encode()
        assert read(body.ljust(BODY_MAX_BYTES)).conversation_id == "c"
        assert BODY_MAX_BYTES == 65536
        assert refusal(body.ljust(BODY_MAX_BYTES + 1)) == ("too_large", "body: must be at most 65536 bytes")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"5", b"null", b'"request"', b"\xff\xfe", b"[" * 60_000, b'{"type": "request"}x']
    )
    def test_is_one_json_object(self, body: bytes) -> None:
        reason, detail = refusal(body)
        assert reason == "invalid"
        assert detail.startswith("body: ")

    def test_is_utf_8_without_lone_surrogates(self) -> None:
        assert refusal(b'{"type": "request", "conversation_id": "\xff"}')[0] == "invalid"
        assert refusal(rb'{"type": "request", "conversation_id": "\ud800"}')[0] == "invalid"

    @pytest.mark.parametrize("kind", ["Request", "granted", "", 5, None, ["request"]])
    def test_has_a_type_that_is_known(self, kind: object) -> None:
        expected = ("invalid", "type: must be one of request, release, renew")
        assert refusal({"type": kind, "conversation_id": "c"}) == expected
        assert refusal({"conversation_id": "c"}) == expected

    def test_is_quoted_only_in_part(self) -> None:
        _, detail = refusal(request(**{"x" * 5000: 1}))
        assert len(detail) <= 500


class TestTheCorrelationId:
    def test_is_echoed(self) -> None:
        assert read(request(request_id="r"), "m1", Sender(correlation_id="k")).sender.correlation_id == "k"

    def test_is_the_request_id_where_absent(self) -> None:
        assert read(request(request_id="r")).sender == Sender(correlation_id="r")
        assert read(request(), "m1", Sender("q", None, "u", "t")).sender == Sender("q", "m1", "u", "t")


class TestRouting:
    def test_is_by_crc32_of_the_conversation_id(self) -> None:
        assert [partition_of(name, 4) for name in ("user-42", "c", "😀")] == [3, 3, 0]

    def test_is_always_0_with_one_partition(self) -> None:
        assert {partition_of(f"c{place}", 1) for place in range(50)} == {0}

    def test_uses_every_partition(self) -> None:
        assert {partition_of(f"c{place}", 8) for place in range(200)} == set(range(8))

    def test_names_begin_with_the_namespace(self) -> None:
        names = Names("bots")
        named = (names.requests, names.events, names.dead_letters, names.request_queue(3))
        assert named == ("bots.requests", "bots.events", "bots.dead-letters", "bots.requests.3")
