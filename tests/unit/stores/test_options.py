"""The options of the Redis stores, without a server: what is taken, what it means, and what is refused and how."""

from typing import Any

import pytest
from pydantic import ValidationError

from lockstore.core.rules import Limits
from lockstore.errors import ConfigError
from lockstore.factory import create_store
from lockstore.stores.redis.connection.addresses import Endpoint, RedisUrl
from lockstore.stores.redis.connection.options import Credentials, RedisOptions

CLUSTER: dict[str, Any] = {"deployment_mode": "cluster"}
SENTINEL: dict[str, Any] = {"deployment_mode": "sentinel"}
TWO = (Endpoint("a", 7000), Endpoint("b", 7001))
SIX = "2001:db8::1"


def made(**given: Any) -> RedisOptions:
    return RedisOptions.model_validate(given)


def refusal(given: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        create_store({"type": "concurrent_redis", **given}, Limits())
    return str(caught.value)


def plain(credentials: Credentials) -> tuple[str | None, str | None]:
    username, password = credentials
    return username, None if password is None else password.get_secret_value()


@pytest.mark.parametrize(
    ("given", "option", "value"),
    [
        pytest.param({"port": "7000"}, "port", 7000, id="port as text"),
        pytest.param({"db": "0"}, "db", 0, id="db as text"),
        pytest.param({"wait_replicas": "2"}, "wait_replicas", 2, id="wait_replicas as text"),
        pytest.param({"wait_replicas_timeout_ms": "250"}, "wait_replicas_timeout_ms", 250, id="timeout_ms as text"),
        pytest.param({"socket_timeout": "10"}, "socket_timeout", 10, id="socket_timeout as text"),
        pytest.param({"socket_timeout": "2.5"}, "socket_timeout", 2.5, id="socket_timeout as text with a point"),
        pytest.param({"use_ssl": "true"}, "use_ssl", True, id="use_ssl as text"),
        pytest.param({"use_ssl": "True"}, "use_ssl", True, id="use_ssl as Python writes it"),
        pytest.param({"use_ssl": "false"}, "use_ssl", False, id="no use_ssl as text"),
        pytest.param({"username": 42}, "username", "42", id="username of digits, without quotes"),
        pytest.param({"host": "redis.example.com/"}, "place", "redis.example.com", id="slash at the end"),
        pytest.param({"url": "redis.example.com/"}, "place", "redis.example.com", id="older name, slash at the end"),
        pytest.param({"host": "under_score"}, "place", "under_score", id="name with an underscore"),
        pytest.param({"host": SIX}, "place", SIX, id="IPv6"),
        pytest.param({"host": f"[{SIX}]"}, "place", SIX, id="IPv6 in brackets"),
        pytest.param({"host": f"[{SIX}]/"}, "place", SIX, id="IPv6 in brackets, slash at the end"),
        pytest.param({"host": f"[{SIX}]", "url": SIX}, "place", SIX, id="host and url agree in two spellings"),
        pytest.param({"host": "fe80::1%eth0"}, "place", "fe80::1%eth0", id="IPv6 with a zone"),
        pytest.param({"host": "redis://h:1/2"}, "place", "redis://h:1/2", id="URL"),
        pytest.param({"host": "unix:///run/r.sock"}, "place", "unix:///run/r.sock", id="URL of a socket"),
        pytest.param({"sentinel_service": "mymaster"}, "sentinel_service", "mymaster", id="default said in standard"),
        pytest.param({"sentinel_password": ""}, "sentinel_credentials", (None, None), id="empty password is none"),
        pytest.param({"endpoints": None}, "endpoints", None, id="no endpoints said in standard"),
        pytest.param(
            {"host": "redis://u:p@h", "username": None, "password": None},
            "place",
            "redis://u:p@h",
            id="null beside URL",
        ),
    ],
)
def test_what_is_tolerated(given: dict[str, Any], option: str, value: Any) -> None:
    assert getattr(made(**given), option) == value


def test_a_password_of_digits_may_stand_without_quotes() -> None:
    assert plain(made(password=1234).credentials) == (None, "1234")


@pytest.mark.parametrize(
    ("endpoints", "nodes"),
    [
        pytest.param(["a:7000", "b:7001"], TWO, id="list"),
        pytest.param(("a:7000", "b:7001"), TWO, id="tuple"),
        pytest.param(TWO, TWO, id="already parsed"),
        pytest.param("a:7000,b:7001", TWO, id="text with commas"),
        pytest.param(" a:7000 , b:7001 ", TWO, id="text with commas and spaces"),
        pytest.param([" a:7000", "b:7001 "], TWO, id="list with spaces"),
        pytest.param("a:7000", TWO[:1], id="text of one"),
        pytest.param([f"[{SIX}]:7000"], (Endpoint(SIX, 7000),), id="IPv6 in brackets"),
        pytest.param(f"[{SIX}]:7000, 10.0.0.1:65535", (Endpoint(SIX, 7000), Endpoint("10.0.0.1", 65535)), id="mixed"),
    ],
)
@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
def test_endpoints_are_the_nodes(mode: str, endpoints: Any, nodes: tuple[Endpoint, ...]) -> None:
    options = made(deployment_mode=mode, endpoints=endpoints)
    assert options.nodes == nodes
    assert options.remarks == []


@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        pytest.param({}, (Endpoint("localhost", 6379),), id="defaults"),
        pytest.param({"host": "h/", "port": "7"}, (Endpoint("h", 7),), id="host and port"),
        pytest.param({"host": f"[{SIX}]"}, (Endpoint(SIX, 6379),), id="IPv6"),
        pytest.param({"url": "redis://h:7/2"}, (Endpoint("h", 7),), id="URL"),
        pytest.param({"host": "rediss://u:p@h"}, (Endpoint("h", 6379),), id="URL without a port"),
        pytest.param({"host": f"redis://[{SIX}]:7"}, (Endpoint(SIX, 7),), id="URL with IPv6"),
        pytest.param({"host": "redis://:p@"}, (Endpoint("localhost", 6379),), id="URL without a host"),
    ],
)
@pytest.mark.parametrize("mode", ["standard", "cluster", "sentinel"])
def test_without_endpoints_the_one_place_is_the_node(
    mode: str, given: dict[str, Any], nodes: tuple[Endpoint, ...]
) -> None:
    assert made(deployment_mode=mode, **given).nodes == nodes


def test_a_socket_is_no_node() -> None:
    assert made(host="unix:///run/redis.sock").nodes == ()


@pytest.mark.parametrize(
    ("given", "own", "at_sentinels"),
    [
        pytest.param({}, (None, None), (None, None), id="none"),
        pytest.param({"username": "u", "password": "p"}, ("u", "p"), ("u", "p"), id="options, for both"),
        pytest.param({"password": "p"}, (None, "p"), (None, "p"), id="password alone"),
        pytest.param({"username": "u"}, ("u", None), ("u", None), id="user alone, as with IAM"),
        pytest.param({"username": "", "password": ""}, (None, None), (None, None), id="empty is none"),
        pytest.param(
            {"username": "u", "password": "p", "sentinel_username": "s", "sentinel_password": "q"},
            ("u", "p"),
            ("s", "q"),
            id="sentinels have their own",
        ),
        pytest.param(
            {"username": "u", "password": "p", "sentinel_password": "q"},
            ("u", "p"),
            (None, "q"),
            id="sentinels have a password without a user",
        ),
        pytest.param({"sentinel_password": "q"}, (None, None), (None, "q"), id="sentinels alone have a password"),
        pytest.param({"host": "redis://u%40x:p%2Fq@h"}, ("u@x", "p/q"), ("u@x", "p/q"), id="URL, decoded"),
        pytest.param({"host": "redis://:p%2520q@h"}, (None, "p%20q"), (None, "p%20q"), id="URL, decoded once"),
        pytest.param({"host": "redis://h?username=u&password=p%2Fq"}, ("u", "p/q"), ("u", "p/q"), id="URL, behind ?"),
        pytest.param({"host": "redis://u@h", "password": "p"}, ("u", "p"), ("u", "p"), id="user of the URL"),
    ],
)
def test_credentials_come_from_the_options_or_the_url(
    given: dict[str, Any], own: tuple[str | None, str | None], at_sentinels: tuple[str | None, str | None]
) -> None:
    options = made(**SENTINEL, **given)
    assert plain(options.credentials) == own
    assert plain(options.sentinel_credentials) == at_sentinels


@pytest.mark.parametrize(
    ("given", "database"),
    [
        pytest.param({}, 1, id="default"),
        pytest.param({"db": "0"}, 0, id="option"),
        pytest.param({"host": "redis://h/3"}, 3, id="URL"),
        pytest.param({"host": "redis://h?db=4"}, 4, id="URL, behind ?"),
        pytest.param({"host": "unix:///r.sock?db=5"}, 5, id="URL of a socket"),
        pytest.param({"host": "redis://h", "db": 6}, 6, id="option beside a URL"),
        pytest.param({**SENTINEL, "host": "redis://h/3"}, 3, id="URL of a sentinel"),
        pytest.param({**CLUSTER, "db": 7}, 0, id="cluster"),
        pytest.param({**CLUSTER, "host": "redis://h/3"}, 0, id="cluster by URL"),
    ],
)
def test_the_database_is_the_options_the_urls_or_in_a_cluster_0(given: dict[str, Any], database: int) -> None:
    assert made(**given).database == database


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({}, [], id="defaults"),
        pytest.param({"db": 3}, [], id="db with one server"),
        pytest.param({**CLUSTER}, [], id="default db in a cluster"),
        pytest.param({**CLUSTER, "db": 0}, [], id="db 0 in a cluster"),
        pytest.param({**SENTINEL, "db": 3}, [], id="db behind sentinels"),
        pytest.param({**CLUSTER, "db": 3}, ["lock_store.db: ignored"], id="db in a cluster"),
        pytest.param({**CLUSTER, "db": 1}, ["lock_store.db: ignored"], id="the default db, said, in a cluster"),
        pytest.param({**CLUSTER, "host": "redis://h/3"}, ["lock_store.db: ignored"], id="db of a URL in a cluster"),
        pytest.param({**CLUSTER, "host": "h", "port": 7}, [], id="host and port without endpoints"),
        pytest.param({**CLUSTER, "endpoints": TWO, "host": "h"}, ["lock_store.host: ignored"], id="host"),
        pytest.param({**SENTINEL, "endpoints": TWO, "url": "h"}, ["lock_store.url: ignored"], id="url"),
        pytest.param({**SENTINEL, "endpoints": TWO, "port": 9}, ["lock_store.port: ignored"], id="port"),
        pytest.param({**SENTINEL, "endpoints": TWO, "url": None}, [], id="url said to be none"),
        pytest.param({**CLUSTER, "endpoints": TWO, "host": "a", "port": 7000}, [], id="host is one of the endpoints"),
        pytest.param(
            {**CLUSTER, "endpoints": TWO, "host": "h", "port": 9, "db": 2},
            ["lock_store.host, port: ignored", "lock_store.db: ignored"],
            id="host, port and db",
        ),
    ],
)
def test_what_is_passed_over_is_said(given: dict[str, Any], said: list[str]) -> None:
    remarks = made(**given).remarks
    assert [remark.partition(", because ")[0] for remark in remarks] == said


def test_endpoints_win_over_host_and_port() -> None:
    assert made(**CLUSTER, endpoints=TWO, host="h", port=9).nodes == TWO


PLACE = "must be a host name or an address"
HOW = "and an IPv6 address in brackets, as [::1]:6379"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"host": "/"}, f"lock_store.host: {PLACE}", id="nothing but a slash"),
        pytest.param({"host": "h:6380"}, f"lock_store.host: {PLACE} (a port goes into the option port", id="port"),
        pytest.param({"url": "a:1,b:2"}, f"lock_store.url: {PLACE}", id="several servers in url"),
        pytest.param({"host": "http://h"}, f"lock_store.host: {PLACE}", id="another scheme"),
        pytest.param({"host": "u:p@h"}, f"lock_store.host: {PLACE}", id="user without a scheme"),
        pytest.param({"host": "h h"}, f"lock_store.host: {PLACE}", id="space in the name"),
        pytest.param({"host": "[::1"}, f"lock_store.host: {PLACE}", id="half a bracket"),
        pytest.param({"host": "1::2::3"}, f"lock_store.host: {PLACE}", id="no IPv6"),
        pytest.param({"host": "redis://h:x"}, "lock_store.host: not a URL: the port", id="URL, port no number"),
        pytest.param({"host": "redis://h:0"}, "lock_store.host: the URL's port must be 1 to 65535", id="URL, port 0"),
        pytest.param({"host": "redis://h:65536"}, "lock_store.host: not a URL: the port", id="URL, port too large"),
        pytest.param({"host": "redis://[::1:7"}, "lock_store.host: not a URL: ", id="URL, half a bracket"),
        pytest.param({"host": "redis://h/x"}, "lock_store.host: the URL's database must be a number", id="URL, db"),
        pytest.param({"host": "unix://"}, "lock_store.host: the URL must name a socket", id="URL without a socket"),
        pytest.param({"port": True}, "lock_store.port: must be a number", id="port yes"),
        pytest.param({"wait_replicas": "two"}, "lock_store.wait_replicas: ", id="wait_replicas in words"),
        pytest.param({"wait_replicas": True}, "lock_store.wait_replicas: must be a number", id="wait_replicas yes"),
        pytest.param({"wait_replicas": "-1"}, "lock_store.wait_replicas: ", id="wait_replicas negative"),
        pytest.param({"wait_replicas_timeout_ms": "0"}, "lock_store.wait_replicas_timeout_ms: ", id="timeout_ms 0"),
        pytest.param({"socket_timeout": "inf"}, "lock_store.socket_timeout: ", id="socket_timeout without an end"),
        pytest.param({"socket_timeout": ".5s"}, "lock_store.socket_timeout: ", id="socket_timeout with a unit"),
        pytest.param({"use_ssl": "${TLS}"}, "lock_store.use_ssl: ", id="use_ssl not filled in"),
        pytest.param({"key_prefix": "a b"}, "lock_store.key_prefix: must be letters and digits only", id="key_prefix"),
        pytest.param({"key_prefix": 42}, "lock_store.key_prefix: ", id="key_prefix a number, which Rasa drops"),
        pytest.param({"password": True}, "lock_store.password: ", id="password yes"),
        pytest.param({"deployment_mode": "Cluster"}, "lock_store.deployment_mode: ", id="mode in capitals"),
    ],
)
def test_what_an_option_cannot_be_is_refused_by_name(given: dict[str, Any], told: str) -> None:
    assert refusal(given).startswith(told)


@pytest.mark.parametrize(
    ("endpoints", "told"),
    [
        pytest.param([], "must name at least one server, as host:port", id="empty list"),
        pytest.param("", "must name at least one server, as host:port", id="empty text"),
        pytest.param(7000, 'must be a list of "host:port", or a text of them, separated by commas', id="number"),
        pytest.param(
            {"a": 7000}, 'must be a list of "host:port", or a text of them, separated by commas', id="mapping"
        ),
        pytest.param(["a:1", "b"], f"entry 2: has no port; write host:port, {HOW}", id="no port"),
        pytest.param("a:1, b", f"entry 2: has no port; write host:port, {HOW}", id="no port in a text"),
        pytest.param(["[::1]"], f"entry 1: has no port; write host:port, {HOW}", id="IPv6 without a port"),
        pytest.param(["::1"], f"entry 1: has no port; write host:port, {HOW}", id="bare IPv6"),
        pytest.param(["1:2:3"], f"entry 1: must be host:port, {HOW}", id="too many colons"),
        pytest.param(["[a]:1"], f"entry 1: must be host:port, {HOW}", id="name in brackets"),
        pytest.param([":7000"], f"entry 1: must be host:port, {HOW}", id="no host"),
        pytest.param(["a b:1"], f"entry 1: must be host:port, {HOW}", id="space in the name"),
        pytest.param(["a:"], "entry 1: the port must be 1 to 65535", id="empty port"),
        pytest.param(["a:0"], "entry 1: the port must be 1 to 65535", id="port 0"),
        pytest.param(["a:65536"], "entry 1: the port must be 1 to 65535", id="port too large"),
        pytest.param(["a:redis"], "entry 1: the port must be 1 to 65535", id="port in words"),
        pytest.param(["a:7²"], "entry 1: the port must be 1 to 65535", id="port of odd digits"),
        pytest.param(["a:1", ""], "entry 2: is empty; each entry must be host:port", id="empty entry"),
        pytest.param("a:1,", "entry 2: is empty; each entry must be host:port", id="comma at the end"),
        pytest.param([{"a": 1}], 'entry 1: must be a text, "host:port", without a space', id="space after the colon"),
        pytest.param(["redis://a:1"], "entry 1: must be host:port; user, password and TLS are", id="URL"),
        pytest.param(["u:geheim@a:1"], "entry 1: must be host:port; user, password and TLS are", id="user"),
        pytest.param("redis://u:geh,eim@a:1", "entry 1: must be host:port; user, password", id="comma in a password"),
    ],
)
@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
def test_endpoints_that_cannot_be_are_refused_with_the_entry(mode: str, endpoints: Any, told: str) -> None:
    said = refusal({"deployment_mode": mode, "endpoints": endpoints})
    assert said.startswith(f"lock_store.endpoints: {told}")
    assert "eim" not in said


SENTINEL_ONLY = "only with deployment_mode sentinel"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param(
            {"endpoints": ["a:1"]},
            "endpoints: only with deployment_mode cluster or sentinel",
            id="endpoints in standard",
        ),
        pytest.param({"sentinel_service": "other"}, f"sentinel_service: {SENTINEL_ONLY}", id="service in standard"),
        pytest.param({"sentinel_password": "q"}, f"sentinel_password: {SENTINEL_ONLY}", id="password in standard"),
        pytest.param(
            {**CLUSTER, "sentinel_username": "s", "sentinel_password": "q"},
            f"sentinel_username: {SENTINEL_ONLY}",
            id="user in a cluster",
        ),
        pytest.param(
            {**CLUSTER, "sentinel_service": "other"}, f"sentinel_service: {SENTINEL_ONLY}", id="service in a cluster"
        ),
        pytest.param(
            {**SENTINEL, "sentinel_username": "s"},
            "sentinel_username: given without sentinel_password",
            id="user without a password",
        ),
        pytest.param(
            {**SENTINEL, "sentinel_username": "s", "sentinel_password": ""},
            "sentinel_username: given without sentinel_password",
            id="user with an empty password",
        ),
        pytest.param(
            {**CLUSTER, "host": "unix:///r.sock"},
            "host: a unix:// URL is one server; deployment_mode cluster takes a host and port, or endpoints",
            id="socket for a cluster",
        ),
        pytest.param(
            {**SENTINEL, "url": "unix:///r.sock"},
            "host: a unix:// URL is one server; deployment_mode sentinel takes a host and port, or endpoints",
            id="socket for sentinels",
        ),
        pytest.param(
            {**CLUSTER, "host": "rediss://u:geheim@h", "endpoints": TWO},
            "endpoints: the host is a URL; name the servers in endpoints only",
            id="endpoints beside a URL",
        ),
        pytest.param(
            {"host": "a", "url": "b"}, "host and url: both are given, and must name the same", id="two servers"
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused_by_name(given: dict[str, Any], told: str) -> None:
    assert refusal(given).startswith(f"lock_store: {told}")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("redis://u:geheim@h:x", id="bad port"),
        pytest.param("redis://u:geheim/x@h", id="a slash in the password"),
        pytest.param("redis://u:[geheim@h", id="a bracket in the password"),
        pytest.param("redis://u:geheim\u2100@h", id="a sign that reads as another one"),
        pytest.param("redis://h/geheim", id="in place of the database"),
        pytest.param("u:geheim@h", id="no scheme"),
    ],
)
def test_no_refusal_of_a_url_repeats_it(url: str) -> None:
    assert "geheim" not in refusal({"host": url})


def test_no_repr_and_no_error_shows_a_secret() -> None:
    secrets = {"username": "u", "password": "geheim", "sentinel_password": "geheim"}
    shown = [
        made(**SENTINEL, **secrets),
        made(host="redis://u:geheim@h"),
        made(**SENTINEL, **secrets).sentinel_credentials,
        made(host="redis://u:geheim@h").credentials,
        RedisUrl.parse("redis://u:geheim@h"),
    ]
    with pytest.raises(ValidationError) as caught:
        made(password="geheim", endpoints=TWO)
    assert "geheim" not in f"{shown!r} {shown[-1]} {caught.value} {caught.value!r}"
