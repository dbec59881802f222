"""docs/protocol.md says what the daemon's own models say."""

import json
import re
import zlib
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from daemon.config.settings import DaemonSettings
from daemon.serving.recipient import REPLY_WINDOW, REPLY_WINDOW_MOST
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Rejected, Released, Renewed, is_public
from lockstore.core.ticket import TicketLock
from lockstore.protocol.codec import BODY_MAX_BYTES, REPLY_MIN_MS, encode
from lockstore.protocol.limits import CONVERSATION_ID_MAX_BYTES, SHORT_STRING_MAX_BYTES
from lockstore.protocol.models import INBOUND, INBOUND_MODELS
from lockstore.protocol.naming import Names, partition_of
from lockstore.protocol.outbound_models import OUTBOUND_MODELS
from lockstore.protocol.reading import read_outbound
from tests.docs.pages import CHECKOUT, PAGES, Block, bare, blocks, codes, section, tables

PROTOCOL = CHECKOUT / "docs" / "protocol.md"
LOCK_STORES = CHECKOUT / "docs" / "lock-stores.md"
REDIS = CHECKOUT / "docs" / "redis.md"
STATUS_PAGE = CHECKOUT / "docs" / "status-page.md"

INBOUND_TYPES, OUTBOUND_TYPES = INBOUND_MODELS, OUTBOUND_MODELS
COMMON = {"type", "conversation_id", "ticket_number", "request_id", "holder", "at"}

MESSAGES = [block for block in blocks("json") if block.page not in (LOCK_STORES, REDIS, STATUS_PAGE)]
TRANSCRIPT = [line for block in blocks("", PROTOCOL) for line in block.text.splitlines() if line]


def check(body: str) -> dict[str, Any]:
    """Validate one message, ours or the daemon's, and see that it has no field of its own invention."""
    data: dict[str, Any] = json.loads(body)
    kind = data["type"]
    if kind in INBOUND_TYPES:
        INBOUND.validate_json(body)
    else:
        read_outbound(body.encode())
        assert set(data) <= set(OUTBOUND_TYPES[kind].model_fields)
        assert set(data) >= COMMON
        assert ("ended" in data) == (data.get("reason") == "finished")
    return data


@pytest.mark.parametrize("block", MESSAGES, ids=str)
def test_every_json_example_is_a_message_that_the_models_take(block: Block) -> None:
    check(block.text)


def test_there_is_an_example_of_every_message() -> None:
    shown = {json.loads(block.text)["type"] for block in MESSAGES if block.page == PROTOCOL}
    assert shown == set(INBOUND_TYPES) | set(OUTBOUND_TYPES)


def test_the_worked_example_is_made_of_messages_each_in_its_direction() -> None:
    assert TRANSCRIPT
    for line in TRANSCRIPT:
        spoken = re.fullmatch(r"bot-\d (->|<-) (\{.*\})", line)
        assert spoken, line
        kind = check(spoken[2])["type"]
        assert kind in (INBOUND_TYPES if spoken[1] == "->" else OUTBOUND_TYPES)


def test_the_times_of_the_examples_add_up() -> None:
    told = [json.loads(line.partition("<- ")[2]) for line in TRANSCRIPT if "<-" in line]
    grants = {answer["ticket_number"]: answer for answer in told if answer["type"] == "granted"}
    for answer in told:
        if answer["type"] == "granted":
            assert answer["expires_at"] - answer["at"] == pytest.approx(30)
        if answer["type"] == "released":
            assert answer["held"] == pytest.approx(answer["at"] - grants[answer["ticket_number"]]["at"])


def test_the_table_of_requests_has_every_field() -> None:
    (rows, _) = tables(section(PROTOCOL, "What you send"))
    told: dict[str, set[str]] = {}
    kind = ""
    for row in rows:
        kind = bare(row["type"]) or kind
        told.setdefault(kind, {"type", "conversation_id"}).add(bare(row["field"]))
    assert told == {name: set(model.model_fields) for name, model in INBOUND_TYPES.items()}


def test_the_tables_of_answers_have_every_field() -> None:
    (common, own) = tables(section(PROTOCOL, "Answers and events"))
    assert {bare(row["field"]) for row in common} == COMMON
    told = {bare(row["type"]): set(codes(row["further fields"])) | COMMON for row in own}
    assert told == {name: set(model.model_fields) for name, model in OUTBOUND_TYPES.items()}


def test_the_table_of_answers_says_what_is_public() -> None:
    common: dict[str, Any] = {"conversation_id": "x", "number": 1, "request_id": "r", "holder": None, "at_ms": 0}
    events: list[Event] = [
        Queued(**common, position=1, wait_until_ms=1),
        Granted(**common, expires_at_ms=1, waited_ms=0, behind=0),
        Renewed(**common, expires_at_ms=1),
        Released(**common, held_ms=1, reason="holder"),
        Expired(**common, phase="held"),
        Cancelled(**common, reason="forced"),
        Rejected(**common, reason="busy", detail=""),
    ]
    public = {json.loads(encode(event))["type"]: is_public(event) for event in events}
    (_, own) = tables(section(PROTOCOL, "Answers and events"))
    assert {bare(row["type"]): row["public"] == "yes" for row in own} == public


def choices(model: type[BaseModel], field: str) -> set[str]:
    annotation = model.model_fields[field].annotation
    parts = [annotation] if get_origin(annotation) is Literal else get_args(annotation)
    return {value for part in parts if get_origin(part) is Literal for value in get_args(part)}


def test_the_table_of_rejections_has_every_reason() -> None:
    (rows,) = tables(section(PROTOCOL, "Rejections"))
    assert {bare(row["reason"]) for row in rows} == choices(OUTBOUND_TYPES["rejected"], "reason")
    (finished,) = (row for row in rows if bare(row["reason"]) == "finished")
    assert choices(OUTBOUND_TYPES["rejected"], "ended") <= set(codes(finished["what happened"]))


@pytest.mark.parametrize(("kind", "field"), [("released", "reason"), ("expired", "phase"), ("cancelled", "reason")])
def test_the_table_of_answers_names_every_choice(kind: str, field: str) -> None:
    (_, own) = tables(section(PROTOCOL, "Answers and events"))
    (row,) = (row for row in own if bare(row["type"]) == kind)
    assert choices(OUTBOUND_TYPES[kind], field) <= set(codes(row["it means"]))


def test_the_names_on_the_broker_are_those_of_the_code() -> None:
    (rows,) = tables(section(PROTOCOL, "Exchanges and queues"))
    names = Names("lockstore")
    assert [codes(row["name"])[0] for row in rows] == [
        names.requests,
        names.request_queue(0),
        names.events,
        names.dead_letters,
    ]


def test_the_partition_is_worked_out_as_the_page_says() -> None:
    for conversation_id in ("user-42", "ü", "日本"):
        assert zlib.crc32(conversation_id.encode()) % 7 == partition_of(conversation_id, 7)
    rejected = next(json.loads(block.text) for block in MESSAGES if "wrong_partition" in block.text)
    right = partition_of(rejected["conversation_id"], rejected["partitions"])
    assert f"partition {right} of {rejected['partitions']}" in rejected["detail"]


def test_the_limits_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TICKET_LOCK_LIFETIME", raising=False)
    (rows,) = tables(section(PROTOCOL, "Limits"))
    limits = {bare(row["what"]): {int(number) for number in re.findall(r"\d+", row["limit"])} for row in rows}
    ours = DaemonSettings.model_validate({})
    assert limits == {
        "body": {BODY_MAX_BYTES // 1024},
        "conversation_id": {1, CONVERSATION_ID_MAX_BYTES, 8},  # the 8 of UTF-8
        "request_id": {1, 64, SHORT_STRING_MAX_BYTES, 8},
        "reply_to`, `correlation_id`, `user_id` and `message_id": {SHORT_STRING_MAX_BYTES, 8},
        "holder": {128},
        "lifetime": {0, int(ours.max_lifetime), int(ours.lifetime)},
        "wait": {0, int(ours.max_wait), int(ours.wait)},
        "tickets in one line": {ours.max_waiting},
        "a reply, unread in its queue": {REPLY_MIN_MS // 1000},
        "outstanding replies to one queue": {REPLY_WINDOW, REPLY_WINDOW_MOST},
        "memory of finished requests": {int(ours.dedup_window)},
    }
    too_long = {"request_id": "r" * 65, "holder": "h" * 129, "conversation_id": "c" * 201}
    for field, value in too_long.items():
        fields = {"type": "request", "conversation_id": "c", field: value}
        with pytest.raises(ValueError, match=field):
            INBOUND.validate_python(fields)
        INBOUND.validate_python(fields | {field: value[:-1]})


def test_the_value_that_rasa_writes_is_read_and_written_back_the_same() -> None:
    (block,) = blocks("json", LOCK_STORES)
    assert TicketLock.from_dict(json.loads(block.text)).dumps() == block.text.strip()


def test_every_page_is_looked_at() -> None:
    assert PROTOCOL in PAGES
    assert LOCK_STORES in PAGES
