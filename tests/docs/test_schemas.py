"""The published schemas are those of the models, and an independent reader understands them as the daemon does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from daemon.cli.schema import document
from lockstore.core.ticket import NO_SENDER
from lockstore.errors import MessageError
from lockstore.protocol.codec import RequestLimits, decode
from lockstore.protocol.naming import Names
from lockstore.protocol.reading import parse_fields
from tests.docs.pages import CHECKOUT
from tests.docs.test_protocol import MESSAGES, TRANSCRIPT

SCHEMAS = CHECKOUT / "docs" / "schemas"
WHOLE = json.loads((SCHEMAS / "messages.schema.json").read_text())
ASYNCAPI = json.loads((SCHEMAS / "asyncapi.json").read_text())
READER = Draft202012Validator(WHOLE)

EXAMPLES = [block.text for block in MESSAGES] + [line[line.index("{") :] for line in TRANSCRIPT]


@pytest.mark.parametrize(("file", "format_"), [("messages.schema.json", "jsonschema"), ("asyncapi.json", "asyncapi")])
def test_the_files_of_the_documents_are_what_the_command_prints(file: str, format_: Any) -> None:
    assert (SCHEMAS / file).read_text() == document(format_) + "\n"


def test_the_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(WHOLE)
    for schema in ASYNCAPI["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)  # what AsyncAPI 3 takes


@pytest.mark.parametrize("message", EXAMPLES)
def test_every_example_of_the_protocol_is_a_message_to_the_reader_too(message: str) -> None:
    READER.validate(json.loads(message))


values = st.one_of(
    st.none(),
    st.integers(-3, 70),
    st.floats(-2, 2).filter(lambda number: number != int(number)),  # 1.0 is a whole number to JSON Schema alone
    st.text("a \x00\x85é日", max_size=5),
    st.sampled_from(["x" * 64, "x" * 65, "x" * 129, "x" * 200, "x" * 201]),
    st.booleans(),
)
fields = st.sampled_from(["conversation_id", "request_id", "ticket_number", "lifetime", "wait", "holder", "mistyped"])


@given(st.sampled_from(["request", "release", "renew", "none of these"]), st.dictionaries(fields, values))
def test_what_the_daemon_takes_the_reader_takes_and_nothing_else(kind: str, rest: dict[str, Any]) -> None:
    message = {"type": kind, "conversation_id": "c", **rest}
    try:
        decode(json.dumps(message).encode(), "named by AMQP", NO_SENDER, RequestLimits())
    except MessageError:
        taken = False
    else:
        taken = True
    assert READER.is_valid(message) == taken


def test_what_is_told_may_have_fields_of_tomorrow() -> None:
    told = next(message for message in map(json.loads, EXAMPLES) if message["type"] == "granted")
    told["of_tomorrow"] = 1
    READER.validate(told)
    parse_fields(told)


def types_in(schemas: dict[str, Any]) -> dict[str, list[str]]:
    return {name: schema["enum"] for name, schema in schemas.items() if "enum" in schema}


@pytest.mark.parametrize("schemas", [WHOLE["$defs"], ASYNCAPI["components"]["schemas"]], ids=["jsonschema", "asyncapi"])
def test_each_set_of_words_is_a_type_with_a_name_and_no_field_is_one(schemas: dict[str, Any]) -> None:
    assert set(types_in(schemas)) == {
        "CancelledReason",
        "ExpiredPhase",
        "RejectedReason",
        "ReleasedReason",
        "TicketEnd",
    }
    for name, schema in schemas.items():
        assert schema["title"] == name
        for field, value in schema.get("properties", {}).items():
            assert "enum" not in value, f"{name}.{field}"
            assert value.get("title") in {None, "TicketEndIfKnown"}, f"{name}.{field}"
        assert "anyOf" not in schema  # generators make a second, smaller type of each branch


def test_null_is_told_only_where_it_is_sent() -> None:
    def nullable(value: dict[str, Any]) -> bool:
        return "null" in value.get("type", ()) or {"type": "null"} in value.get("anyOf", ())

    fields = {
        (name, field)
        for name, schema in WHOLE["$defs"].items()
        if name in {one["$ref"].rpartition("/")[2] for one in WHOLE["$defs"]["Outgoing"]["oneOf"]}
        for field, value in schema["properties"].items()
        if nullable(value)
    }
    everywhere = {field for field in fields if field[1] == "holder"}
    assert len(everywhere) == 7
    assert fields - everywhere == {
        ("CancelledMessage", "request_id"),
        ("RejectedMessage", "conversation_id"),
        ("RejectedMessage", "ticket_number"),
        ("RejectedMessage", "request_id"),
        ("RejectedMessage", "ended"),
    }


def test_a_ticket_number_is_a_long_number_to_generators() -> None:
    numbers = [
        schema["properties"]["ticket_number"]["format"]
        for schema in ASYNCAPI["components"]["schemas"].values()
        if "ticket_number" in schema.get("properties", {})
    ]
    assert numbers == ["int64"] * 9  # in all but the request


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if "$ref" in part else []
            return own + [found for item in part.values() for found in references(item)]
        return [found for item in part for found in references(item)] if isinstance(part, list) else []

    found = references(ASYNCAPI)
    assert found
    for reference in found:
        place = ASYNCAPI
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_the_exchanges_are_those_of_the_code() -> None:
    exchanges = {
        channel["bindings"]["amqp"]["exchange"]["name"]
        for channel in ASYNCAPI["channels"].values()
        if "bindings" in channel
    }
    assert exchanges == {Names().requests, Names().events}
