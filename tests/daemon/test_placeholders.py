"""`${NAME}` and `${credential:NAME}` in the configuration, and what is said when they stand for nothing."""

from pathlib import Path
from typing import Any

import pytest

from daemon.config.interpolation import CREDENTIAL_MAX_BYTES, CREDENTIALS_VARIABLE, interpolate
from daemon.config.settings import load
from lockstore.errors import ConfigError
from tests.support.serve import run_serve


def credentials(folder: Path, **contents: bytes) -> dict[str, str]:
    """Lay credentials down as systemd does, and give the environment that points to them."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {CREDENTIALS_VARIABLE: str(folder)}


def refusal(text: str, environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        interpolate({"password": text}, environ, "lock_store")
    return str(refused.value)


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
def test_a_credential_is_the_text_of_its_file_without_the_last_line_end(content: bytes, tmp_path: Path) -> None:
    environ = credentials(tmp_path, redis_password=content)
    assert interpolate(["a ${credential:redis_password}!"], environ) == ["a s3cret!"]


def test_a_credential_stands_beside_variables_at_any_depth(tmp_path: Path) -> None:
    environ = credentials(tmp_path, password=b"p") | {"HOST": "h"}
    given: dict[str, Any] = {"url": "amqp://u:${credential:password}@${HOST}/", "list": [{"n": 1, "t": "${HOST}"}]}
    assert interpolate(given, environ) == {"url": "amqp://u:p@h/", "list": [{"n": 1, "t": "h"}]}


def test_what_a_credential_contains_is_not_looked_at_again(tmp_path: Path) -> None:
    environ = credentials(tmp_path, password=b"${HOME}${credential:password}")
    assert interpolate("${credential:password}", environ) == "${HOME}${credential:password}"


@pytest.mark.parametrize("text", ["$HOME", "{HOME}", "pa$$word", "$", "a$ {b}"])
def test_what_is_no_placeholder_stays_as_it_is(text: str) -> None:
    assert interpolate(text, {}) == text


@pytest.mark.parametrize("text", ["${}", "${a b}", "${NOT-A-NAME}", "${${X}}", "a${", "${X", "${credential:a{b}}"])
def test_a_placeholder_that_is_none_is_refused_and_not_taken_as_the_password(text: str) -> None:
    assert refusal(text, {"X": "geheim"}).startswith("lock_store.password: ${ must begin ${NAME} ")


@pytest.mark.parametrize(("text", "meant"), [("$${", "${"), ("a$${X}b", "a${X}b"), ("$${X}${X}", "${X}x")])
def test_a_second_dollar_makes_it_a_text(text: str, meant: str) -> None:
    assert interpolate(text, {"X": "x"}) == meant


@pytest.mark.parametrize("value", ["geheim\n", "geheim\r\n", "ge\nheim", "\tgeheim", "geheim\x7f", "geheim\udcff"])
def test_a_variable_with_a_line_end_or_another_control_character_is_named_and_not_shown(value: str) -> None:
    said = refusal("${SECRET}", {"SECRET": value})
    assert said.startswith("lock_store.password: the environment variable SECRET must be a single line")
    assert "geheim" not in said


def test_an_empty_variable_is_no_password() -> None:
    assert refusal("${SECRET}", {"SECRET": ""}) == "lock_store.password: the environment variable SECRET is empty"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"two\nlines", "must be a single line without control characters"),
        (b"nul\x00", "must be a single line without control characters"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"s3cret" * CREDENTIAL_MAX_BYTES, f"larger than {CREDENTIAL_MAX_BYTES} bytes"),
    ],
)
def test_a_credential_that_cannot_be_used_is_named_and_not_shown(content: bytes, rule: str, tmp_path: Path) -> None:
    said = refusal("${credential:redis_password}", credentials(tmp_path, redis_password=content))
    assert said == f"lock_store.password: credential redis_password: {rule}"


def test_a_credential_that_is_not_there_is_named_with_the_folder(tmp_path: Path) -> None:
    said = refusal("${credential:absent}", credentials(tmp_path))
    assert said == f"lock_store.password: credential absent: cannot be read from {tmp_path}: No such file or directory"


def test_without_a_folder_of_credentials_the_message_says_who_sets_it() -> None:
    assert "needs CREDENTIALS_DIRECTORY" in refusal("${credential:x}", {})


@pytest.mark.parametrize("name", ["../x", "/etc/shadow", "", ".", "..", ".hidden", "a/b", "x" * 129])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    said = refusal(f"${{credential:{name}}}", credentials(tmp_path))
    assert said.startswith("lock_store.password: a credential's name is ")


def test_a_kind_that_is_not_known_is_refused_and_not_taken_as_the_password() -> None:
    assert refusal("${credentail:x}", {}).startswith("lock_store.password: ${credentail:...} is unknown")


def test_a_credential_of_the_broker_is_in_no_repr(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.yml"
    file.write_text(
        "broker: {url: 'amqp://u:${credential:pw}@h/'}\nlock_store: {type: redis, password: '${credential:pw}'}"
    )
    settings = load(file, credentials(tmp_path, pw=b"s3cret\n"))
    assert settings.broker.url.get_secret_value() == "amqp://u:s3cret@h/"
    assert settings.lock_store["password"] == "s3cret"
    assert "s3cret" not in repr(settings)


def test_a_credential_that_breaks_an_options_rule_is_not_in_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CREDENTIALS_VARIABLE, credentials(tmp_path, pw=b"s3cret")[CREDENTIALS_VARIABLE])
    refused = run_serve({"broker": {"url": "${credential:pw}", "partitions": "${credential:pw}"}}, tmp_path)
    assert refused.returncode == 2
    assert "broker.url: must begin with amqp://" in refused.stderr
    assert "s3cret" not in refused.stderr + refused.stdout
