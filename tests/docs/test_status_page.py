"""docs/status-page.md says what the API answers."""

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

from daemon.http.status_page.reader import LINES_MOST, PAGE_LINES, FoundFacts
from daemon.views.daemons import DaemonFacts, MinutesFacts, ReasonFacts, StatusFacts, Totals
from daemon.views.findings import Finding
from daemon.views.lines import TICKETS_MOST, ConversationFacts, LineFacts, LinesFacts, TicketFacts, UnreadableFacts
from lockstore.core.statistics import DEEPEST
from lockstore.protocol.reading import parse_fields
from tests.docs.pages import CHECKOUT, blocks, codes, section, tables, text_of

PAGE = CHECKOUT / "docs" / "status-page.md"
BESIDE: dict[str, set[str]] = {"lines": {"findings"}, "conversation": {"findings", "reply_queues"}}
"""What the API adds to the facts."""

ANSWERS: dict[str, type] = {"status": StatusFacts, "lines": LinesFacts, "conversation": ConversationFacts}


def names(facts: type) -> set[str]:
    return {field.name for field in fields(facts)}


def inside(hint: Any) -> list[type]:
    """Find the facts that a field may hold."""
    return (
        [hint]
        if is_dataclass(hint) and isinstance(hint, type)
        else [kind for arg in get_args(hint) for kind in inside(arg)]
    )


def check(data: dict[str, Any], facts: type) -> None:
    """See that data has exactly the fields of facts, all the way down."""
    assert set(data) == names(facts), facts.__name__
    for name, hint in get_type_hints(facts).items():
        for kind in inside(hint):
            values = data[name] if isinstance(data[name], list) else [data[name]]
            for value in values:
                if value is not None:
                    check(value, kind)


def example(heading: str) -> dict[str, Any]:
    (block,) = (block for block in blocks("json", PAGE) if block.text in section(PAGE, heading))
    data: dict[str, Any] = json.loads(block.text)
    return data


@pytest.mark.parametrize("heading", ANSWERS)
def test_each_example_has_the_fields_that_the_api_answers(heading: str) -> None:
    told = example(heading)
    beside = {name: told.pop(name) for name in BESIDE.get(heading, ())}
    check(told, ANSWERS[heading])
    for finding in beside.get("findings", ()):
        check(finding, Finding)


def test_the_history_of_the_example_is_made_of_messages() -> None:
    for event in example("conversation")["history"]:
        parse_fields(event)


def documented(heading: str) -> list[set[str]]:
    """Give the fields that the tables below a heading name, each table's own."""
    text = section(PAGE, heading)
    return [{name for row in rows for name in codes(row["field"])} for rows in tables(text) if "field" in rows[0]]


def test_the_tables_name_every_field() -> None:
    (status,) = documented("status")
    assert status == names(StatusFacts)
    told = section(PAGE, "status")
    for facts in (Totals, ReasonFacts, DaemonFacts, MinutesFacts):
        assert names(facts) - set(codes(told)) == set(), facts.__name__
    lines, line = documented("lines")
    assert lines | {"at_ms"} == names(LinesFacts) | BESIDE["lines"]
    assert names(UnreadableFacts) <= set(codes(section(PAGE, "lines")))
    assert line == names(LineFacts)
    conversation, ticket = documented("conversation")
    assert conversation | {"conversation_id", "at_ms"} == names(ConversationFacts) | BESIDE["conversation"]
    assert ticket == names(TicketFacts)
    assert {"text", "most", "more", "at_ms", "lines"} == names(FoundFacts)


def test_the_bounds_are_those_of_the_code() -> None:
    text = text_of(PAGE)
    assert f"most={PAGE_LINES}" in text
    assert f"(0 to {DEEPEST})" in text
    assert f"(1 to {LINES_MOST})" in text
    assert f"the first {TICKETS_MOST} of them" in text
