"""configs/ and the tables of options say what the models say."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from daemon import service
from daemon.config.settings import BrokerSettings, DaemonSettings, load
from lockstore.core.rules import Limits
from lockstore.errors import ConfigError
from lockstore.factory import create_store
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from tests.docs.pages import CHECKOUT, CONFIGS, bare, codes, section, tables
from tests.support.redis_tls import RedisTls

CONFIGURATION = CHECKOUT / "docs" / "configuration.md"
LOCK_STORES = CHECKOUT / "docs" / "lock-stores.md"
FULL = CHECKOUT / "configs" / "full.yml"

OPTION_TABLES = [
    (BrokerSettings, CONFIGURATION, "Section `broker`"),
    (DaemonSettings, CONFIGURATION, "Section `daemon`"),
    (RedisOptions, LOCK_STORES, "Options of the Redis stores"),
]
FULL_SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("broker", BrokerSettings),
    ("daemon", DaemonSettings),
    ("lock_store", RedisOptions),
]


@pytest.fixture(autouse=True)
def _no_lifetime_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TICKET_LOCK_LIFETIME", raising=False)


def plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def defaults_of(model: type[BaseModel]) -> dict[str, Any]:
    made = model.model_validate({})
    return {name: plain(getattr(made, name)) for name in model.model_fields}


def read(cell: str) -> Any:
    """Read a default as a table has it."""
    return None if cell == "none" else yaml.safe_load(bare(cell))


@pytest.mark.parametrize(("name", "model"), FULL_SECTIONS)
def test_full_yml_shows_every_option_with_its_default(name: str, model: type[BaseModel]) -> None:
    shown = yaml.safe_load(FULL.read_text())[name]
    shown.pop("type", None)
    assert shown == defaults_of(model)


def test_full_yml_has_our_sections_and_no_other() -> None:
    assert list(yaml.safe_load(FULL.read_text())) == ["lock_store", "broker", "daemon"]


def test_full_yml_loads_as_the_defaults() -> None:
    loaded, unset = load(FULL), load(None)
    assert loaded.broker == unset.broker
    assert loaded.daemon == unset.daemon


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_file_of_configs_is_one_that_the_daemon_takes(file: Path, tmp_path: Path) -> None:
    RedisTls.made_in(tmp_path)
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", file.read_text()), "any")
    environ |= {"BROKER_URL": "amqp://localhost", "CERTIFICATES": str(tmp_path)}
    if "amqps" in file.read_text():
        environ["BROKER_URL"] = "amqps://localhost"
    settings = load(file, environ)
    create_store(settings.lock_store, settings.daemon.limits)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_option_that_is_commented_out_is_one_too(file: Path) -> None:
    lines = file.read_text().splitlines()
    given = {line.strip("# ").partition(":")[0] for line in lines if line.startswith("  # ") and ": " in line}
    options = {name for _, model in FULL_SECTIONS for name in defaults_of(model)}
    assert {name for name in given if name.isidentifier()} <= options


@pytest.mark.parametrize(("model", "page", "heading"), OPTION_TABLES)
def test_the_table_of_options_has_every_option_with_its_default(
    model: type[BaseModel], page: Path, heading: str
) -> None:
    (rows,) = tables(section(page, heading))
    assert {bare(row["option"]): read(row["default"]) for row in rows} == defaults_of(model)


@pytest.mark.parametrize(("model", "page", "heading"), OPTION_TABLES[:2])
def test_the_table_of_options_has_the_right_types(model: type[BaseModel], page: Path, heading: str) -> None:
    words = {
        "boolean": "true or false",
        "integer": "whole number",
        "number": "number",
        "path": "path",
        "string": "text",
    }
    kinds = {}
    for name, schema in model.model_json_schema()["properties"].items():
        kind = schema.get("anyOf", [schema])[0]
        kinds[name] = words["path" if kind.get("format") == "path" else kind["type"]]
    (rows,) = tables(section(page, heading))
    assert {bare(row["option"]): row["type"] for row in rows} == kinds


def bounds_of(model: type[BaseModel]) -> dict[str, set[float]]:
    """Give the numbers in an option's rule, as far as the models state them."""
    stated = {}
    for name, schema in model.model_json_schema()["properties"].items():
        edges = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
        stated[name] = {float(edge) for edge in edges if edge is not None}
    return stated


@pytest.mark.parametrize(("model", "page", "heading"), OPTION_TABLES)
def test_the_table_of_options_names_every_bound(model: type[BaseModel], page: Path, heading: str) -> None:
    (rows,) = tables(section(page, heading))
    for row in rows:
        rule = row.get("unit and rule") or row["meaning"]
        numbers = {float(word) for word in rule.replace(",", " ").replace(";", " ").split() if word.isdigit()}
        assert bounds_of(model)[bare(row["option"])] <= numbers, row["option"]


BESIDE_URLS: list[tuple[str, dict[str, Any]]] = [
    ("port", {"host": "redis://localhost", "port": 6379}),
    ("db", {"host": "redis://localhost/3", "db": 2}),
    ("username", {"host": "redis://a:b@localhost", "username": "a"}),
    ("password", {"host": "redis://a:b@localhost", "password": "b"}),
    ("use_ssl", {"host": "redis://localhost", "use_ssl": True}),
]


def test_the_table_of_options_beside_a_url_names_those_that_are_looked_at() -> None:
    (rows,) = tables(section(LOCK_STORES, "Beside a URL"))
    refused = {
        code.partition(":")[0] for row in rows if "refused" in row["what holds"] for code in codes(row["beside a URL"])
    }
    assert refused == {option for option, _ in BESIDE_URLS}


@pytest.mark.parametrize(("option", "given"), BESIDE_URLS)
def test_what_a_url_says_otherwise_is_refused_by_name(option: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"lock_store: {option}: "):
        create_store({"type": "redis", **given}, Limits())


def test_a_url_without_a_database_takes_the_option_and_the_same_one_twice_is_no_contradiction() -> None:
    assert RedisOptions(host="redis://localhost").db_of_url is None
    RedisOptions(host="redis://localhost/3", db=3)
    RedisOptions(host="unix:///run/redis.sock", port=6379)
    RedisOptions(host="rediss://localhost", use_ssl=True)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "soon"])
def test_a_lifetime_variable_that_says_nothing_is_refused_also_beside_a_lifetime_of_the_file(value: str) -> None:
    with pytest.raises(ConfigError, match="TICKET_LOCK_LIFETIME"):
        load(FULL, {"TICKET_LOCK_LIFETIME": value})


def test_numbers_of_the_text_are_those_of_the_code() -> None:
    seconds = f"{service._OPEN_S:g} seconds"
    assert seconds in section(CONFIGURATION, "Command line, exit codes, signals")
    assert seconds in section(CHECKOUT / "docs" / "guarantees.md", "RabbitMQ")


def test_the_tables_of_keys_have_every_key() -> None:
    concurrent, redis = tables(section(LOCK_STORES, "Keys in Redis"))
    ours = ConcurrentKeys().of_line("<conversation id>", 0)
    assert {bare(row["key"]) for row in concurrent} == {
        key.replace("{0}", "{<s>}") for key in (*ours, ConcurrentKeys.mark_of(ours[0]))
    }
    keys, tags = RedisKeys(), r"\{\w+\}"
    shared = {keys.agenda(0), keys.history(0), keys.mark_of("any"), keys.slots}
    expected = {re.sub(tags, "{<t>}", key) for key in keys.of("<conversation id>")} | shared
    assert {bare(row["key"]) for row in redis} == expected


def _chosen_level(level: ast.expr) -> str:
    """Tell between which levels the code chooses; "as given": it is somebody else's choice."""
    if not isinstance(level, ast.IfExp):
        return "as given"
    return f"{ast.unparse(level.orelse)} or {ast.unparse(level.body)}".replace("logging.", "").lower()


def logged_events() -> dict[str, str]:
    """Find every event that the daemon logs, with its level, in the code."""
    found = {}
    for file in (CHECKOUT / "daemon").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            level = node.func.attr
            if level in ("debug", "info", "warning", "error", "exception", "critical") and node.args:
                name = node.args[0]
            elif level == "log" and len(node.args) > 1:
                name, level = node.args[1], _chosen_level(node.args[0])
            else:
                continue
            if isinstance(name, ast.Constant):
                found[str(name.value)] = level
    return found


def test_the_table_of_logs_has_every_event_with_its_level() -> None:
    (rows,) = tables(section(CONFIGURATION, "Logs"))
    assert {bare(row["event"]): row["level"] for row in rows} == logged_events()


def test_the_table_of_types_has_every_store() -> None:
    (rows,) = tables(section(LOCK_STORES, "Which one"))
    types = [codes(row["`type`"])[0] for row in rows]
    assert types == ["in_memory", "redis", "concurrent_redis", "path.to.your.module.Class"]
