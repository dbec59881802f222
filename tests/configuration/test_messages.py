"""What is said of an option that cannot be: its name, the kind of value, the rule, and what may have been meant."""

from pathlib import Path
from typing import Any

import pytest

from daemon.config.settings import BrokerSettings, DaemonSettings
from lockstore.stores.redis.connection.options import RedisOptions
from tests.configuration.loading import SECRET, load_whole, refusal, write

REDIS = "lock_store:\n  type: redis\n"


@pytest.mark.parametrize(
    ("section", "name", "meant"),
    [
        ("broker", "ulr", "broker.url"),
        ("broker", "Url", "broker.url"),
        ("broker", "partition", "broker.partitions"),
        ("broker", "dead-letters", "broker.dead_letters"),
        ("broker", "host", "broker.url"),
        ("broker", "password", "broker.url"),
        ("broker", "lifetime", "daemon.lifetime"),
        ("broker", "key_prefix", "lock_store.key_prefix"),
        ("daemon", "lifetme", "daemon.lifetime"),
        ("daemon", "prefetch", "broker.prefetch"),
        ("lock_store", "hots", "lock_store.host"),
        ("lock_store", "pasword", "lock_store.password"),
        ("lock_store", "namespace", "broker.namespace"),
        ("lock_store", "lifetime", "daemon.lifetime"),
    ],
)
def test_a_name_that_is_not_known_is_answered_with_the_one_that_is_meant(
    section: str, name: str, meant: str, tmp_path: Path
) -> None:
    said = refusal(
        tmp_path,
        f"{section}:\n  {'type: redis' if section == 'lock_store' else '{}'}\n".replace("  {}\n", "")
        + f"  {name}: {SECRET}\n",
    )
    assert said == f"{section}.{name}: is unknown; did you mean {meant}?"


def test_a_name_that_is_near_to_none_is_refused_without_a_guess(tmp_path: Path) -> None:
    assert refusal(tmp_path, f"broker: {{xyzzy: {SECRET}}}\n") == "broker.xyzzy: is unknown"
    assert refusal(tmp_path, f"{REDIS}  xyzzy: {SECRET}\n") == "lock_store.xyzzy: is unknown"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("6379/", 'must be a whole number in plain digits, without the "/" after them'),
        ("'6379,'", 'must be a whole number in plain digits, without the "," after them'),
        ("'6379 '", "must be a whole number in plain digits, without surrounding spaces or line ends"),
        ("06379", "must be a whole number in plain digits, without a leading 0"),
        ("0x1F", "must be a whole number in plain digits"),
        ("0o17", "must be a whole number in plain digits"),
        ("0b11", "must be a whole number in plain digits"),
        ("6_379", "must be a whole number in plain digits"),
        ("63:79", "must be a whole number in plain digits"),
        ("6379.0", "must be a whole number in plain digits"),
        ("6e3", "must be a whole number in plain digits"),
        ("\u0666\u0663", "must be a whole number in plain digits"),
        (".nan", "must be a whole number in plain digits"),
        (SECRET, "must be a whole number in plain digits"),
        ("yes", "must be a whole number in plain digits"),
        ("[1]", "must be a whole number"),
        ("{a: 1}", "must be a whole number"),
        ("null", "must be a whole number"),
        ("0", "must be 1 or more"),
        ("-1", "must be 1 or more"),
        ("65536", "must be at most 65535"),
        ("9" * 5000, "must be at most 1000000000"),
    ],
)
def test_a_port_that_is_none_is_told_the_rule(written: str, rule: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, f"{REDIS}  port: {written}\n") == f"lock_store.port: {rule}"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("60s", "must be a number in plain digits, without a unit"),
        ("5 min", "must be a number in plain digits, without a unit"),
        ("010", "must be a number in plain digits, without a leading 0"),
        ("1:30", "must be a number in plain digits"),
        ("1_000", "must be a number in plain digits"),
        ("1,5", "must be a number in plain digits"),
        (".inf", "must be a finite number"),
        ("-.Inf", "must be a finite number"),
        ("nan", "must be a finite number"),
        ("1e400", "must be a finite number"),
        ("9" * 5000, "must be a finite number"),
        ("1e10", "must be at most 1000000000"),
        ("0", "must be more than 0"),
        ("-3", "must be more than 0"),
        ("1e-9", "must be 0.001 or more, a millisecond"),
        ("1e-999", "must be more than 0"),
        ("true", "must be a number in plain digits"),
        ("[3]", "must be a number"),
        ("null", "must be a number"),
    ],
)
def test_a_time_that_is_none_is_told_the_rule(written: str, rule: str, tmp_path: Path) -> None:
    assert (
        refusal(tmp_path, f"daemon: {{dedup_window: {written}}}\n".replace("1,5", "'1,5'"))
        == f"daemon.dedup_window: {rule}"
    )


@pytest.mark.parametrize("written", ["10", "1e1", "10.0", "+10", "'10'", "${TEN}"])
def test_a_number_may_be_written_in_these_ways(written: str, tmp_path: Path) -> None:
    assert load_whole(write(tmp_path, f"daemon:\n  wait: {written}\n"), {"TEN": "10"}).daemon.wait == 10


@pytest.mark.parametrize(("written", "meant"), [("true", True), ("Yes", True), ("ON", True), ("'true'", True), ("no", False), ("off", False), ("False", False)])  # fmt: skip
def test_a_truth_value_may_be_written_in_these_ways(written: str, meant: bool, tmp_path: Path) -> None:  # noqa: FBT001
    assert load_whole(write(tmp_path, f"daemon: {{events: {written}}}\n")).daemon.events is meant


@pytest.mark.parametrize("written", ["y", "n", "t", "1", "0", "enabled", "null", "[true]", "2026-11-28"])
def test_anything_else_is_no_truth_value(written: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, f"daemon: {{events: {written}}}\n") == "daemon.events: must be true or false"


@pytest.mark.parametrize("kind", [f"[{SECRET}]", f"{{a: {SECRET}}}", f'"{SECRET}\\n"', f'"{SECRET}\\e[0m"'])
@pytest.mark.parametrize(("section", "name"), [(section, name) for section, model in (("broker", BrokerSettings), ("daemon", DaemonSettings), ("lock_store", RedisOptions)) for name in model.model_fields])  # fmt: skip
def test_no_option_takes_a_list_a_mapping_or_a_control_character_and_none_is_repeated(
    section: str, name: str, kind: str, tmp_path: Path
) -> None:
    head = f"{section}:\n" + ("  type: redis\n" if section == "lock_store" else "")
    said = refusal(tmp_path, f"{head}  {name}: {kind}\n")
    assert f"{section}.{name}: " in said
    for word in ("Input", "input", "Value error", "Extra", "parse", "valid string"):
        assert word not in said


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"type": "rediss"}, "lock_store.type: must be in_memory, redis, concurrent_redis or path.to.module.Class; did you mean redis?"),
        ({"type": "concurrent-redis"}, "lock_store.type: must be in_memory, redis, concurrent_redis or path.to.module.Class; did you mean concurrent_redis?"),
        ({"type": "a b.c"}, "lock_store.type: must be in_memory, redis, concurrent_redis or path.to.module.Class"),
        ({"type": "[a]"}, "lock_store.type: must be "),
        ({"type": "redis", "deployment_mode": "Cluster"}, "lock_store.deployment_mode: must be 'standard', 'cluster' or 'sentinel'"),
        ({"type": "redis", "host": "''"}, "lock_store.host: "),
        ({"type": "redis", "deployment_mode": "sentinel", "sentinel_service": "''"}, "lock_store.sentinel_service: must not be empty"),
        ({"type": "redis", "ssl_keyfile": SECRET}, "lock_store.ssl_keyfile: no such file"),
        ({"type": "redis", "ssl_keyfile": "/no/such.pem"}, "lock_store.ssl_keyfile: no such file: /no/such.pem"),
        ({"type": "redis", "ssl_keyfile": "x" * 5000}, "lock_store.ssl_keyfile: no such file"),
        ({"type": "tests.stores.custom_stores.Picky", "colour": SECRET}, "lock_store: tests.stores.custom_stores.Picky does not take these keys"),
    ],
)  # fmt: skip
def test_what_a_store_cannot_be_is_told(section: dict[str, Any], said: str, tmp_path: Path) -> None:
    lines = "".join(f"  {name}: {value}\n" for name, value in section.items())
    assert refusal(tmp_path, f"lock_store:\n{lines}").startswith(said)


@pytest.mark.parametrize("line", [f"password: {SECRET}", f"dsn: db://u:{SECRET}@h/", f"deep: {{api_token: {SECRET}}}"])
def test_what_a_class_says_of_its_own_section_is_told_without_its_secrets(line: str, tmp_path: Path) -> None:
    said = refusal(tmp_path, f"lock_store:\n  type: tests.configuration.talkative_store.Talkative\n  {line}\n")
    assert "could not be built: RuntimeError: " in said
    assert "***" in said
