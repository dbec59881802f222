"""Code generators and a validator of other languages make of the published schemas what one would write by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import CHECKOUT, EXAMPLE, GENERATORS, run, why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_not(GENERATORS, EXAMPLE)), reason=why_not(GENERATORS, EXAMPLE)),
]

SCHEMAS = CHECKOUT / "docs" / "schemas"
TSC = EXAMPLE / "node_modules" / ".bin" / "tsc"

MESSAGES = {
    f"{name}Message"
    for name in (
        ["Request", "Release", "Renew", "Queued", "Granted", "Renewed", "Released", "Expired", "Cancelled", "Rejected"]
    )
}
WORDS = {"CancelledReason", "ExpiredPhase", "RejectedReason", "ReleasedReason", "TicketEnd"}
UNIONS = {"Requests", "Replies", "Events"}  # AsyncAPI's channels


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    run("node", GENERATORS / "generate.mjs", SCHEMAS, out)
    return out


@pytest.mark.parametrize("folder", ["interfaces", "classes", "java/lockstore"])
def test_modelina_makes_one_type_of_each_message_and_each_set_of_words(generated: Path, folder: str) -> None:
    assert {file.stem for file in (generated / folder).iterdir()} == MESSAGES | WORDS | UNIONS


def test_modelina_makes_structures_of_fields_for_go(generated: Path) -> None:
    files = {file.stem: file.read_text() for file in (generated / "go").iterdir()}
    assert set(files) == MESSAGES | WORDS | UNIONS | {"TicketEndIfKnown"}
    assert "TicketNumber *int\n" in files["RenewMessage"]
    assert "Reason *RejectedReason\n" in files["RejectedMessage"]


def test_the_types_of_typescript_compile_and_catch_what_they_should(generated: Path) -> None:
    shutil.copy(GENERATORS / "usage.ts", generated)
    strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext"]
    run(TSC, *strict, "usage.ts", cwd=generated)


@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no Java compiler here")
def test_the_classes_of_java_compile_and_have_types(generated: Path, tmp_path: Path) -> None:
    sources = sorted((generated / "java" / "lockstore").glob("*.java"))
    run("javac", "-Werror", "-d", tmp_path, *sources, GENERATORS / "Usage.java")


REQUEST = {"type": "request", "conversation_id": "user-42"}
RELEASE = {"type": "release", "conversation_id": "user-42", "ticket_number": 7}
GRANTED = {
    "type": "granted",
    "conversation_id": "user-42",
    "ticket_number": 7,
    "request_id": "b7c1",
    "holder": None,
    "at": 1.0,
    "expires_at": 31.0,
    "waited": 0.0,
    "behind": 0,
}


def test_a_validator_has_one_error_for_one_mistake(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], list[str]]] = [
        (REQUEST, []),
        (RELEASE, []),
        (GRANTED | {"of_tomorrow": 1}, []),
        (REQUEST | {"lifetme": 3}, ["must NOT have additional properties"]),
        (REQUEST | {"lifetime": "3"}, ["/lifetime must be number,null"]),
        (REQUEST | {"type": "reqest"}, ['value of tag "type" must be in oneOf']),
        ({"typ": "request"}, ['tag "type" must be string']),
        (RELEASE | {"ticket_number": "7"}, ["/ticket_number must be integer,null"]),
        (RELEASE | {"conversation_id": ""}, ["/conversation_id must NOT have fewer than 1 characters"]),
        (GRANTED | {"conversation_id": None}, ["/conversation_id must be string"]),
        (GRANTED | {"behind": -1}, ["/behind must be >= 0"]),
        (GRANTED | {"type": "expired"}, ["must have required property 'phase'"]),
    ]
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([message for message, _ in cases]))
    found = json.loads(run("node", GENERATORS / "validate.mjs", SCHEMAS / "messages.schema.json", messages))
    assert found == [errors for _, errors in cases]


def test_the_types_in_the_example_for_node_are_the_generated_ones(generated: Path) -> None:
    def without_banner(file: Path) -> str:
        return file.read_text().partition("\nexport ")[2]

    assert without_banner(EXAMPLE / "src" / "messages.ts") == without_banner(generated / "messages.ts")
