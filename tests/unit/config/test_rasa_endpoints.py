"""An `endpoints.yml` as Rasa's users have it is read as it is. No server is needed: a store connects when it is opened."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.config.settings import load
from lockstore.errors import ConfigError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.connection.addresses import Endpoint
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.rasa.store import RedisLockStore

OLD_SPELLING = "rasa_plus.components.concurrent_lock_store.ConcurrentRedisLockStore"

OTHER_SECTIONS = """
action_endpoint:
  url: "http://localhost:5055/webhook"

tracker_store:
  type: SQL
  dialect: "postgresql"
  url: ${DB_HOST}
  db: rasa
  username: ${DB_USER}
  password: ${DB_PASSWORD}

event_broker:
  type: kafka
  url: localhost:9092
  topic: rasa

nlg:
  type: rephrase
  llm:
    model_group: rephraser

models:
  url: http://models.example.com/default.tar.gz
  wait_time_between_pulls: 10

model_groups:
  - id: rephraser
    models:
      - provider: openai
        model: gpt-4o
        api_key: ${OPENAI_API_KEY}

vector_store:
  type: qdrant
  host: localhost

"""

DOCUMENTED = """
lock_store:
  type: redis
  host: redis.example.com/
  port: "6379"
  password: ${REDIS_PASSWORD}
  db: 0
  key_prefix: mybot
"""


def read(
    folder: Path, lock_store: str, environ: Mapping[str, str] | None = None
) -> tuple[type[LockStore], RedisOptions]:
    """Load the whole file as the daemon does, and give the store's class and its options."""
    file = folder / "endpoints.yml"
    file.write_text(OTHER_SECTIONS + lock_store)
    settings = load(file, environ or {})
    store = create_store(settings.lock_store, settings.daemon.limits)
    options = {name: value for name, value in settings.lock_store.items() if name != "type"}
    return type(store), RedisOptions.model_validate(options)


def test_the_documented_section_is_taken_beside_all_others(tmp_path: Path) -> None:
    kind, options = read(tmp_path, DOCUMENTED, {"REDIS_PASSWORD": "geheim"})
    assert kind is RedisLockStore
    assert options.nodes == (Endpoint("redis.example.com", 6379),)
    assert (options.database, options.key_prefix, options.speaks_tls) == (0, "mybot", False)
    username, password = options.credentials
    assert username is None
    assert password is not None
    assert password.get_secret_value() == "geheim"
    assert options.remarks == []


@pytest.mark.parametrize("spelling", ["concurrent_redis", OLD_SPELLING])
def test_both_spellings_of_the_concurrent_store_are_taken(spelling: str, tmp_path: Path) -> None:
    kind, options = read(tmp_path, DOCUMENTED.replace("type: redis", f"type: {spelling}"), {"REDIS_PASSWORD": "x"})
    assert kind is ConcurrentRedisLockStore
    assert options.nodes == (Endpoint("redis.example.com", 6379),)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("lockstore.rasa.RedisLockStore", RedisLockStore),
        ("lockstore.rasa.ConcurrentRedisLockStore", ConcurrentRedisLockStore),
    ],
)
def test_the_types_of_direct_stores_of_a_rasa_server_are_the_same_stores_to_the_daemon(
    spelling: str, expected: type[LockStore], tmp_path: Path
) -> None:
    kind, options = read(tmp_path, DOCUMENTED.replace("type: redis", f"type: {spelling}"), {"REDIS_PASSWORD": "x"})
    assert kind is expected
    assert options.nodes == (Endpoint("redis.example.com", 6379),)
    with pytest.raises(ConfigError, match="db_prefix: is unknown"):
        read(tmp_path, f"lock_store:\n  type: {spelling}\n  db_prefix: a\n")


def test_the_section_of_a_bot_that_asks_the_daemon_is_refused_in_one_sentence(tmp_path: Path) -> None:
    section = "lock_store:\n  type: lockstore.rasa.QueueLockStore\n  url: amqp://guest:secret@localhost/\n"
    with pytest.raises(ConfigError, match=r"belongs in the endpoints\.yml of a Rasa server") as caught:
        read(tmp_path, section)
    assert "secret" not in str(caught.value)


def test_the_older_name_url_is_taken(tmp_path: Path) -> None:
    _, options = read(tmp_path, DOCUMENTED.replace("host:", "url:"), {"REDIS_PASSWORD": "x"})
    assert options.nodes == (Endpoint("redis.example.com", 6379),)


def test_every_option_may_come_from_the_environment(tmp_path: Path) -> None:
    names = ("port", "db", "use_ssl", "socket_timeout", "wait_replicas", "wait_replicas_timeout_ms", "deployment_mode")
    section = "lock_store:\n  type: ${TYPE}\n" + "".join(f"  {name}: ${{{name.upper()}}}\n" for name in names)
    environ = {
        "TYPE": "concurrent_redis",
        "PORT": "7000",
        "DB": "2",
        "USE_SSL": "true",
        "SOCKET_TIMEOUT": "2.5",
        "WAIT_REPLICAS": "1",
        "WAIT_REPLICAS_TIMEOUT_MS": "250",
        "DEPLOYMENT_MODE": "sentinel",
    }
    kind, options = read(tmp_path, section, environ)
    assert kind is ConcurrentRedisLockStore
    assert [getattr(options, name) for name in names] == [7000, 2, True, 2.5, 1, 250, "sentinel"]


NODES = (Endpoint("redis-1", 7000), Endpoint("redis-2", 7001))


@pytest.mark.parametrize(
    ("endpoints", "environ"),
    [
        pytest.param("[redis-1:7000, redis-2:7001]", {}, id="list"),
        pytest.param("redis-1:7000, redis-2:7001", {}, id="text"),
        pytest.param('["${FIRST}", "redis-2:${PORT}"]', {"FIRST": "redis-1:7000", "PORT": "7001"}, id="list entries"),
        pytest.param("${NODES}", {"NODES": "redis-1:7000,redis-2:7001"}, id="all of it"),
    ],
)
@pytest.mark.parametrize("kind", ["redis", "concurrent_redis"])
@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
def test_endpoints_are_taken_also_from_the_environment(
    mode: str, kind: str, endpoints: str, environ: dict[str, str], tmp_path: Path
) -> None:
    section = f"lock_store:\n  type: {kind}\n  deployment_mode: {mode}\n  endpoints: {endpoints}\n"
    _, options = read(tmp_path, section, environ)
    assert (options.deployment_mode, options.nodes) == (mode, NODES)


def test_a_cluster_beside_the_old_host_port_and_db_works_and_says_what_is_passed_over(tmp_path: Path) -> None:
    section = (
        DOCUMENTED.replace("db: 0", "db: 1") + "  deployment_mode: cluster\n  endpoints:\n"
        '    - "redis-1:7000"\n    - "redis-2:7001"\n'
    )
    _, options = read(tmp_path, section, {"REDIS_PASSWORD": "x"})
    assert (options.nodes, options.database) == (NODES, 0)
    assert [remark.partition(":")[0] for remark in options.remarks] == ["lock_store.host, port", "lock_store.db"]


def test_sentinels_with_credentials_of_their_own_are_taken(tmp_path: Path) -> None:
    section = """
lock_store:
  type: concurrent_redis
  deployment_mode: sentinel
  endpoints: ["s-1:26379", "[2001:db8::1]:26379"]
  sentinel_service: ${SERVICE}
  username: bot
  password: ${REDIS_PASSWORD}
  sentinel_username: watcher
  sentinel_password: ${SENTINEL_PASSWORD}
  use_ssl: yes
"""
    environ = {"SERVICE": "orders", "REDIS_PASSWORD": "one", "SENTINEL_PASSWORD": "two"}
    _, options = read(tmp_path, section, environ)
    assert options.nodes == (Endpoint("s-1", 26379), Endpoint("2001:db8::1", 26379))
    assert (options.sentinel_service, options.speaks_tls) == ("orders", True)
    (username, password), (watcher, other) = options.credentials, options.sentinel_credentials
    assert (username, watcher) == ("bot", "watcher")
    assert password is not None
    assert other is not None
    assert (password.get_secret_value(), other.get_secret_value()) == ("one", "two")


@pytest.mark.parametrize(
    ("change", "environ", "told"),
    [
        pytest.param(("mybot", "my-bot"), {"REDIS_PASSWORD": "x"}, "lock_store.key_prefix: must be", id="key_prefix"),
        pytest.param(
            ("", ""), {}, "lock_store.password: the environment variable REDIS_PASSWORD is not set", id="variable"
        ),
        pytest.param(
            ("db: 0", "deployment_mode: cluster\n  endpoints: ['a:1', '${B}']"),
            {"REDIS_PASSWORD": "x"},
            "lock_store.endpoints.1: the environment variable B is not set",
            id="variable of an entry",
        ),
        pytest.param(
            ("db: 0", "deployment_mode: cluster\n  endpoints: [a: 1]"),
            {"REDIS_PASSWORD": "x"},
            'lock_store.endpoints: entry 1: must be a text, "host:port"',
            id="space behind a colon",
        ),
    ],
)
def test_what_is_refused_names_the_option(
    change: tuple[str, str], environ: dict[str, str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, DOCUMENTED.replace(*change), environ)
    assert str(caught.value).startswith(told)


def test_no_other_section_needs_its_variables(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.yml"
    file.write_text(OTHER_SECTIONS)
    assert load(file, {}).lock_store == {}
