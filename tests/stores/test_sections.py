"""The `lock_store` section: what is taken, and that each refusal names the field and the rule."""

from pathlib import Path
from typing import Any

import pytest

from lockstore.core.commands import Request
from lockstore.core.line import Limits
from lockstore.errors import ConfigError, ConversationError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from lockstore.stores.memory import InMemoryLockStore
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.rasa.store import RedisLockStore
from tests.stores.custom_stores import AsyncDictLockStore, DictLockStore

CUSTOM = "tests.stores.custom_stores"
OLD_SPELLING = "rasa_plus.components.concurrent_lock_store.ConcurrentRedisLockStore"


def build(**section: Any) -> LockStore:
    return create_store(section, Limits())


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, InMemoryLockStore),
        ({"type": None}, InMemoryLockStore),
        ({"type": "in_memory"}, InMemoryLockStore),
        ({"type": "redis"}, RedisLockStore),
        ({"type": "concurrent_redis"}, ConcurrentRedisLockStore),
        ({"type": OLD_SPELLING}, ConcurrentRedisLockStore),
        ({"type": f"{CUSTOM}.DictLockStore"}, DictLockStore),
        ({"type": f"{CUSTOM}.AsyncDictLockStore", "url": "dict://x"}, AsyncDictLockStore),
    ],
)
def test_the_type_chooses_the_store(section: dict[str, Any], expected: type[LockStore]) -> None:
    limits = Limits(max_waiting=3)
    store = create_store(section, limits)
    assert type(store) is expected
    assert store.limits is limits


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ({}, "localhost", 6379),
        ({"host": "redis.example"}, "redis.example", 6379),
        ({"url": "redis.example"}, "redis.example", 6379),
        ({"host": "redis.example/", "port": "7000"}, "redis.example", 7000),
        ({"host": "redis.example", "url": "redis.example"}, "redis.example", 6379),
        ({"host": "redis.example/", "url": "redis.example"}, "redis.example", 6379),
        ({"host": "redis://redis.example:7001/2"}, "redis://redis.example:7001/2", 6379),
        ({"url": "rediss://redis.example"}, "rediss://redis.example", 6379),
    ],
)
def test_the_server_may_be_named_in_several_ways(given: dict[str, Any], host: str, port: int) -> None:
    options = RedisOptions.model_validate(given)
    assert (options.place, options.port) == (host, port)


def test_the_defaults_are_the_documented_ones() -> None:
    options = RedisOptions()
    documented = {
        "host": "localhost",
        "url": None,
        "port": 6379,
        "deployment_mode": "standard",
        "endpoints": None,
        "db": 1,
        "key_prefix": None,
        "username": None,
        "password": None,
        "sentinel_service": "mymaster",
        "sentinel_username": None,
        "sentinel_password": None,
        "use_ssl": False,
        "ssl_keyfile": None,
        "ssl_certfile": None,
        "ssl_ca_certs": None,
        "socket_timeout": 10,
        "wait_replicas": 0,
        "wait_replicas_timeout_ms": 1000,
    }
    assert {name: getattr(options, name) for name in RedisOptions.model_fields} == documented


@pytest.mark.parametrize("kind", ["redis", "concurrent_redis", OLD_SPELLING])
@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"hots": "localhost"}, r"lock_store\.hots: "),
        ({"port": "abc"}, r"lock_store\.port: "),
        ({"port": 0}, r"lock_store\.port: "),
        ({"port": "65536"}, r"lock_store\.port: "),
        ({"db": -1}, r"lock_store\.db: "),
        ({"db": "one"}, r"lock_store\.db: "),
        ({"host": ""}, r"lock_store\.host: "),
        ({"host": ["a"]}, r"lock_store\.host: "),
        ({"host": "a", "url": "b"}, r"lock_store: host and url: .*must name the same server"),
        ({"key_prefix": "my-bot"}, r"lock_store\.key_prefix: must be letters and digits only"),
        ({"key_prefix": "bot:"}, r"lock_store\.key_prefix: "),
        ({"key_prefix": ""}, r"lock_store\.key_prefix: "),
        ({"key_prefix": "böt"}, r"lock_store\.key_prefix: "),
        ({"ssl_ca_certs": "/nowhere/ca.pem"}, r"lock_store\.ssl_ca_certs: no such file: /nowhere/ca\.pem"),
        ({"ssl_certfile": "/nowhere/cert.pem"}, r"lock_store\.ssl_certfile: no such file: /nowhere/cert\.pem"),
        ({"ssl_keyfile": "/nowhere/key.pem"}, r"lock_store\.ssl_keyfile: no such file: /nowhere/key\.pem"),
        ({"socket_timeout": 0}, r"lock_store\.socket_timeout: "),
        ({"socket_timeout": "soon"}, r"lock_store\.socket_timeout: "),
        ({"use_ssl": "perhaps"}, r"lock_store\.use_ssl: "),
        ({"deployment_mode": "ring"}, r"lock_store\.deployment_mode: .*'standard', 'cluster' or 'sentinel'"),
        ({"endpoints": ["a:1"]}, r"lock_store: endpoints: only with deployment_mode cluster or sentinel"),
        ({"deployment_mode": "cluster", "endpoints": []}, r"lock_store\.endpoints: must name at least one server"),
        ({"deployment_mode": "cluster", "endpoints": ["a"]}, r"lock_store\.endpoints: entry 1: has no port"),
        ({"wait_replicas": -1}, r"lock_store\.wait_replicas: "),
        ({"wait_replicas_timeout_ms": 0}, r"lock_store\.wait_replicas_timeout_ms: "),
    ],
)
def test_a_redis_option_that_cannot_be_is_refused_by_name(kind: str, section: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{told}"):
        build(type=kind, **section)


def test_a_folder_is_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^lock_store\.ssl_ca_certs: no such file"):
        build(type="redis", ssl_ca_certs=str(tmp_path))


def test_a_password_is_in_no_message_and_no_repr() -> None:
    assert "geheim" not in repr(RedisOptions.model_validate({"password": "geheim"}))
    with pytest.raises(ConfigError) as caught:
        build(type="redis", password=["geheim"])
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"type": "postgres"}, r"lock_store\.type: must be in_memory, redis, concurrent_redis or .*"),
        ({"type": 5}, r"lock_store\.type: must be a text, not int"),
        ({"type": "in_memory", "host": "localhost"}, r"lock_store\.host: the in_memory store takes no options"),
        ({"type": "no.such.module.Store"}, r"lock_store\.type: cannot import 'no\.such\.module'"),
        ({"type": f"{CUSTOM}.NoSuchStore"}, r"lock_store\.type: module .* has no 'NoSuchStore'"),
        ({"type": "json.JSONDecoder"}, r"lock_store\.type: json\.JSONDecoder is not a class derived from .*LockStore"),
        ({"type": f"{CUSTOM}.NOT_A_CLASS"}, r"lock_store\.type: .* is not a class derived from"),
        ({"type": f"{CUSTOM}.Forgetful"}, r"lock_store\.type: .* does not define save_lock, delete_lock"),
        ({"type": f"{CUSTOM}.Picky", "colour": "blue"}, r"lock_store: .*Picky does not take these keys: .*colour"),
        ({"type": f"{CUSTOM}.AsyncDictLockStore"}, r"lock_store: .* does not take these keys: .*url"),
        ({"type": f"{CUSTOM}.Broken"}, r"lock_store: .*Broken could not be built: RuntimeError: no route to the data"),
    ],
)
def test_a_section_that_cannot_be_is_refused_with_the_reason(section: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{told}"):
        create_store(section, Limits())


def test_a_custom_store_gets_its_section_in_rasas_shape() -> None:
    store = build(type=f"{CUSTOM}.DictLockStore", url="dict://shape", colour="blue")
    assert isinstance(store, DictLockStore)
    assert store.colour == "blue"


def test_a_custom_store_gets_its_section_by_name() -> None:
    store = build(type=f"{CUSTOM}.AsyncDictLockStore", url="dict://name", fails_on="c")
    assert isinstance(store, AsyncDictLockStore)
    assert store.fails_on == "c"


async def test_a_custom_store_may_say_that_one_conversation_is_broken() -> None:
    store = build(type=f"{CUSTOM}.AsyncDictLockStore", url="dict://broken", fails_on="c")
    before, broken, after = await store.apply([Request(name, "a", 1000, 0) for name in "bcd"])
    assert isinstance(broken, ConversationError)
    assert not isinstance(before, ConversationError)
    assert not isinstance(after, ConversationError)
