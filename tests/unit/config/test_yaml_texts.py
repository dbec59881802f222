"""What stands in the file is what an option gets, whatever YAML would make of it; or it is refused without being repeated."""

from pathlib import Path

import pytest

from tests.configuration.loading import SECRET, load_whole, redis_options, refusal, write

AS_WRITTEN = [
    "0123456", "010", "12:30:45", "1_000_000", "0o17", "0x1F", "0b101", "1e3", "1.10", "1.", ".5", "+1", "-0", "007",
    "yes", "no", "on", "off", "y", "n", "Yes", "ON", "true", "False", "2026-11-28", "2026-11-28T10:00:00Z", ".inf", "-.INF",
    ".nan", "=", "<<", "a:b", "a#b", "a'b", "a\\b", "é€", "nullx", "~x", "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("written", AS_WRITTEN)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_text_is_what_is_written(written: str, quote: str, tmp_path: Path) -> None:
    escaped = {"": written, "'": written.replace("'", "''"), '"': written.replace("\\", "\\\\")}[quote]
    given = f"{quote}{escaped}{quote}"
    options = redis_options(tmp_path, f"username: {given}\npassword: {given}")
    username, password = options.credentials
    assert password is not None
    assert (username, password.get_secret_value()) == (written, written)


@pytest.mark.parametrize("written", ["0123", "1_0.0", "12:30", "yes", "1e3", "2026-11-28"])
def test_other_options_that_are_texts_are_as_written_too(written: str, tmp_path: Path) -> None:
    settings = load_whole(write(tmp_path, f"broker:\n  namespace: {written.replace(':', '.')}\n"))
    assert settings.broker.namespace == written.replace(":", ".")
    assert (
        redis_options(tmp_path, f"deployment_mode: sentinel\nsentinel_service: {written}").sentinel_service == written
    )
    assert redis_options(tmp_path, "key_prefix: 007").key_prefix == "007"
    assert load_whole(write(tmp_path, "daemon:\n  http: 12:30\n")).daemon.http == "12:30"


@pytest.mark.parametrize("written", ["", "~", "null", "Null", "NULL", "null   # none", "~ # none"])
def test_nothing_and_null_are_no_password(written: str, tmp_path: Path) -> None:
    assert redis_options(tmp_path, f"password: {written}").credentials == (None, None)


def test_null_in_quotes_is_a_text(tmp_path: Path) -> None:
    _, password = redis_options(tmp_path, "password: 'null'").credentials
    assert password is not None
    assert password.get_secret_value() == "null"


@pytest.mark.parametrize(
    ("written", "sign"),
    [
        (f"!{SECRET}", "!"),
        (f"!{SECRET} more", "!"),
        (f"!e!{SECRET} more", "!"),
        (f"!!{SECRET} more", "!"),
        (f"!!python/object/apply:os.system [{SECRET}]", "!"),
        (f"!!binary {SECRET}", "!"),
        (f"!!set {{{SECRET}}}", "!"),
        (f"!<tag:{SECRET}> more", "!"),
        ("!", "!"),
        (f"*{SECRET}", "*"),
        (f"*{SECRET} more", "*"),
        (f"&{SECRET}", "&"),
        (f"&{SECRET} more", "&"),
        (f"%{SECRET}", "%"),
        (f"@{SECRET}", "@"),
        (f"`{SECRET}", "`"),
        (f"|{SECRET}", "|"),
        (f">{SECRET}", ">"),
        ("|", "|"),
        (">", ">"),
        (f"- {SECRET}", "-"),
        (f"? {SECRET}", "?"),
        (f"a #{SECRET}", "#"),
        (f"a  # {SECRET}", "#"),
        (f"#{SECRET}", "#"),
        (f"[{SECRET}", "["),
        (f"{{{SECRET}", "{"),
        (f"{SECRET}: more", "colon"),
        (f"more: {SECRET}", "colon"),
    ],
)
def test_a_password_that_yaml_would_change_is_refused_with_the_sign_and_is_to_be_quoted(
    written: str, sign: str, tmp_path: Path
) -> None:
    said = refusal(tmp_path, f"lock_store:\n  type: redis\n  password: {written}\n")
    assert said.startswith("FILE, line ")
    assert "lock_store" in said
    assert sign in said
    assert "quotes" in said
    _, password = redis_options(tmp_path, f"password: '{written}'").credentials
    assert password is not None
    assert password.get_secret_value() == written


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        (f"'{SECRET}", "unclosed quote"),
        (f'"{SECRET}', "unclosed quote"),
        (f'"{SECRET}\\q"', "starts an escape"),
        (f'"{SECRET}\\xZZ"', "starts an escape"),
        (f'"{SECRET}\\ud800"', "an unpaired surrogate"),
        (f'"{SECRET}\\x00"', "control characters"),
        (f'"{SECRET}\\n"', "control characters"),
        (f'"{SECRET}\\t"', "control characters"),
        (f'"{SECRET}\\x85"', "control characters"),
        (f"|\n    {SECRET}", "control characters"),
        (f"'{SECRET}' more", "check the indentation"),
        (f"[{SECRET}]", "lock_store.password: must be a text"),
        (f"{{a: {SECRET}}}", "lock_store.password: must be a text"),
        (f"{{{SECRET}}}", "a name without a value in braces"),
        (f"{SECRET}\n    more", "continues in the next line"),
        (f"more\n    {SECRET}", "continues in the next line"),
    ],
)
def test_a_password_that_cannot_be_is_refused_and_not_repeated(written: str, rule: str, tmp_path: Path) -> None:
    assert rule in refusal(tmp_path, f"lock_store:\n  type: redis\n  password: {written}\n")


@pytest.mark.parametrize("sign", [",", "}", "{", "["])
def test_a_comma_or_a_bracket_in_braces_cuts_no_password_off(sign: str, tmp_path: Path) -> None:
    refusal(tmp_path, f"lock_store: {{type: redis, password: a{sign}{SECRET}, username: u}}\n")


@pytest.mark.parametrize("name", ["password", "sentinel_password"])
def test_a_comment_may_stand_behind_a_secret_that_it_cannot_be_a_part_of(name: str, tmp_path: Path) -> None:
    lines = f"deployment_mode: sentinel\n{name}: 'abc' # comment\nusername: u # comment"
    assert redis_options(tmp_path, lines).username == "u"
    assert redis_options(tmp_path, lines.replace("'abc'", "${SECRET}"), {"SECRET": "x"}).username == "u"


def test_a_comment_that_may_be_the_rest_of_a_url_is_refused_and_any_other_is_a_comment(tmp_path: Path) -> None:
    said = refusal(tmp_path, f"broker:\n  url: amqp://u:12 #{SECRET}@host\n")
    assert "broker.url: a # truncates the URL" in said
    url = load_whole(write(tmp_path, "broker:\n  url: amqp://u:p@host # ask ops@example.org\n")).broker.url
    assert url.get_secret_value() == "amqp://u:p@host"


@pytest.mark.parametrize(
    ("written", "value"),
    [("10.0.0.1", "10.0.0.1"), ("12", 12), ("-1", -1), ("1.5", 1.5), ("true", True), ("null", None), ("a b", "a b"), ("'12'", "12")],
)  # fmt: skip
def test_a_store_of_ones_own_gets_what_every_reader_of_yaml_agrees_on(
    written: str, value: object, tmp_path: Path
) -> None:
    section = f"lock_store:\n  type: tests.stores.custom_stores.DictLockStore\n  url: x\n  colour: {written}\n"
    assert load_whole(write(tmp_path, section)).lock_store["colour"] == value


@pytest.mark.parametrize("written", ["0123", "yes", "off", "y", "1e3", "1_000", "12:30:45", "2026-11-28", "1.10", "0x1F", "0o17", "=", "<<", ".inf", "9" * 30])  # fmt: skip
def test_a_store_of_ones_own_gets_nothing_that_readers_of_yaml_take_differently(written: str, tmp_path: Path) -> None:
    said = refusal(tmp_path, f"lock_store:\n  type: my.own.Store\n  deep: {{colour: {written}}}\n")
    assert said.startswith("lock_store.deep.colour: could be read as a number, a date or a boolean")
    assert said.endswith("put it in quotes")
