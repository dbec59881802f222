"""The client checks answers and requests without pydantic, and agrees with the models and schemas that have it."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from lockstore.client.outbound import LockParams, request
from lockstore.errors import RefusedError
from lockstore.protocol.messages import OUTBOUND_TYPES
from lockstore.protocol.models import INBOUND, RequestMessage
from lockstore.protocol.outbound_models import OUTBOUND_MODELS
from lockstore.protocol.reading import InvalidMessageError, parse_fields, read_outbound
from lockstore.protocol.schemas import json_schemas
from lockstore.util.validation import broken_rule

VALID: dict[str, dict[str, Any]] = {
    "queued": {"position": 1, "wait_until": 2.5},
    "granted": {"expires_at": 2, "waited": 0.5, "behind": 0},
    "renewed": {"expires_at": 2.5},
    "released": {"held": 0.5, "reason": "holder"},
    "expired": {"phase": "held"},
    "cancelled": {"reason": "forced", "by": "ann"},
    "rejected": {"reason": "finished", "detail": "over", "ended": "released", "partitions": 2},
}
COMMON: dict[str, Any] = {
    "conversation_id": "talk",
    "ticket_number": 7,
    "request_id": "id-1",
    "holder": None,
    "at": 1.5,
}
SCHEMAS = json_schemas()
READERS = {
    kind: Draft202012Validator({"$ref": f"#/$defs/{model.__name__}", "$defs": SCHEMAS["$defs"]})
    for kind, model in OUTBOUND_MODELS.items()
}

numbers = st.integers(-2, 2) | st.floats(-2, 2) | st.sampled_from([7.0, 2**60, 1e15])
words = st.sampled_from(["", "holder", "forced", "held", "waiting", "requester", "busy", "finished", "released", "日"])
values: st.SearchStrategy[Any] = st.none() | st.booleans() | numbers | words | st.just([]) | st.just({"a": 1})
fields = st.sampled_from(sorted({*COMMON, "of tomorrow"}.union(*VALID.values(), ["by", "reason", "ended"])))


@given(
    kind=st.sampled_from(sorted(VALID)),
    changes=st.dictionaries(fields, values, max_size=2),
    missing=st.sets(fields, max_size=1),
)
@example(kind="granted", changes={"behind": -1}, missing=set())
@example(kind="granted", changes={"behind": 3.0, "expires_at": True}, missing=set())
@example(kind="rejected", changes={}, missing={"ended"})
def test_what_the_client_reads_is_what_the_schemas_take(kind: str, changes: dict[str, Any], missing: set[str]) -> None:
    message = {"type": kind, **COMMON, **VALID[kind], **changes}
    message = {name: value for name, value in message.items() if name not in missing}
    try:
        read = read_outbound(json.dumps(message).encode())
    except InvalidMessageError:
        assert not READERS[kind].is_valid(message)
        return
    assert READERS[kind].is_valid(message)
    assert type(read) is OUTBOUND_TYPES[kind]
    model = OUTBOUND_MODELS[kind].model_validate(message)
    assert vars(read) == model.model_dump()
    assert parse_fields(read.as_dict()) == read


@pytest.mark.parametrize("kind", sorted(VALID))
@pytest.mark.parametrize(
    ("field", "value"), [("holder", "\ud800"), ("at", 10**400), ("at", float("nan")), ("at", float("inf"))], ids=repr
)
def test_what_python_takes_for_json_and_others_do_not_is_refused(kind: str, field: str, value: Any) -> None:
    body = json.dumps({"type": kind, **COMMON, **VALID[kind], field: value})
    with pytest.raises(InvalidMessageError):
        read_outbound(body.encode())


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"type": "sung"}, "its type is unknown"),
        ({"type": ["granted"]}, "its type is unknown"),
        ({"type": "granted", **COMMON}, "expires_at: is required"),
        ({"type": "granted", **COMMON, **VALID["granted"], "behind": "\x1b[2J"}, "behind: must be a whole number"),
        ({"type": "granted", **COMMON, **VALID["granted"], "behind": -1}, "behind: must be 0 or more"),
        ({"type": "expired", **COMMON, "phase": "\x1b[2J"}, "phase: must be one of held, waiting"),
    ],
)
def test_a_fault_names_the_field_and_the_rule_and_quotes_nothing(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        parse_fields(fields)
    assert str(caught.value) == fault


texts = st.text(max_size=6) | st.text("a\x00\x85\x7fé日\ud800", max_size=6)
long_texts = st.tuples(st.sampled_from("aé日\n"), st.sampled_from([1, 67, 100, 101, 128, 129, 200, 201])).map(
    lambda drawn: drawn[0] * drawn[1]
)
odd: st.SearchStrategy[Any] = st.none() | st.booleans() | st.just(b"a") | st.just([]) | st.just(10**400)
seconds = odd | st.integers(-2, 2) | st.floats() | texts


@given(conversation=texts | long_texts | odd, wait=seconds, lifetime=seconds, holder=texts | long_texts | odd)
@example(conversation="a", wait=-0.0, lifetime=5e-324, holder="")
def test_a_call_is_refused_in_the_words_of_the_daemon_or_becomes_what_it_takes(
    conversation: Any, wait: Any, lifetime: Any, holder: Any
) -> None:
    given_fields = {"conversation_id": conversation, "wait": wait, "lifetime": lifetime, "holder": holder}
    params = LockParams(conversation, wait, lifetime, holder)
    try:
        model = RequestMessage(type="request", request_id="id-1", **given_fields)
    except ValidationError as error:
        with pytest.raises(RefusedError, match=f"^invalid: {re.escape(broken_rule(error))}$"):
            params.check()
    else:
        params.check()
        assert INBOUND.validate_json(request(params, "id-1", wait, None).body) == model
