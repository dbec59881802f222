"""URLs with a user and a password: none is understood in another way than its writer's, and none is repeated."""

from pathlib import Path
from traceback import format_exception
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import yarl
from pydantic import SecretStr

from lockstore import LockClient
from lockstore.client.reconnect import broker_hosts
from lockstore.errors import ConfigError
from lockstore.stores.redis.connection.addresses import RedisUrl
from lockstore.util.urls import check_amqp_url
from tests.configuration.loading import SECRET, refusal

ENCODING = "percent-encoding"


@pytest.mark.parametrize("sign", [*"/:@?#[]% ", "%2", "%zz", "://", "#/", "/?#@", "@@"])
@pytest.mark.parametrize("where", ["user", "password"])
@pytest.mark.parametrize(("line", "option"), [("broker:\n  url: 'amqp://{}@host/'", "broker.url"), ("lock_store:\n  type: redis\n  host: 'redis://{}@host:6379/0'", "lock_store.host"), ("lock_store:\n  type: redis\n  url: 'rediss://{}@host'", "lock_store.url"), ("lock_store:\n  type: redis\n  host: 'unix://{}@/run/redis.sock'", "lock_store.host")])  # fmt: skip
def test_a_sign_in_user_or_password_that_urls_have_a_meaning_for_needs_percent_encoding(
    line: str, option: str, where: str, sign: str, tmp_path: Path
) -> None:
    who = {"user": f"12{sign}{SECRET}:34", "password": f"u:12{sign}{SECRET}"}[where]
    if where == "user" and sign == ":":
        who = f"12:3:{SECRET}"
    said = refusal(tmp_path, line.format(who) + "\n")
    assert said.startswith(f"{option}: not a URL: ")
    assert ENCODING in said


@pytest.mark.parametrize("password", ["/:@?#[]% ", "ü€😀", "a+b&c=d;e,f'g\"h", "%2F", "\\^`{|}~<>!$*()", "0123"])
def test_a_password_that_is_percent_encoded_is_read_as_it_was(password: str) -> None:
    encoded = quote(password, safe="")
    check_amqp_url(f"amqp://u:{encoded}@host/")
    assert yarl.URL(f"amqp://u:{encoded}@host/").password == password
    assert RedisUrl.parse(f"redis://u:{encoded}@host").password == password
    assert RedisUrl.parse(f"redis://host?password={encoded}").password == password


@pytest.mark.parametrize(
    "url",
    [
        "amqp://host", "amqp://host/", "amqp://host//", "amqp://host/%2F", "amqp://host/%2f", "amqp://host/vh", "amqp://host/a%2Fb",
        "amqp://u@host", "amqp://u:p@host:1/", "amqps://host:65535/", "amqp://[::1]", "amqp://[::1]:5672/vh", "amqp://under_score",
        "amqp://münchen.example/", "amqp://10.0.0.1:5672", "amqp://u:@host", "amqp://u:a+b;c=d,e!f@host/",
        "amqp://u:p@a,b:5673,[::1]:5674,10.0.0.1/vh", "amqps://u:p,q@a,b", "amqp://a:1,a:2",
    ],
)  # fmt: skip
def test_a_url_of_a_broker_may_look_so(url: str) -> None:
    check_amqp_url(url)


BAD = [
    ("", "must begin with amqp:// or amqps://"),
    ("host", "must begin with amqp:// or amqps://"),
    ("AMQP://host", "must begin with amqp:// or amqps://"),
    ("amqp:host", "must begin with amqp:// or amqps://"),
    ("http://host", "must begin with amqp:// or amqps://"),
    (" amqp://host", "must begin with amqp:// or amqps://"),
    ("amqp://", "must contain a host"),
    ("amqp:///vh", "must contain a host"),
    ("amqp://u:p@/vh", "must contain a host"),
    ("amqp://:5672/", "must contain a host"),
    ("amqp://host:/", "the port must be 1 to 65535"),
    ("amqp://host:0/", "the URL's port must be 1 to 65535"),
    ("amqp://host:65536/", "the port must be 1 to 65535"),
    ("amqp://host:-1/", "the port must be 1 to 65535"),
    ("amqp://host:5672x/", "the port must be 1 to 65535"),
    ("amqp://host:amqp/", "the port must be 1 to 65535"),
    ("amqp://::1/", "an IPv6 address needs brackets"),
    ("amqp://[::1/", "an IPv6 address needs brackets"),
    ("amqp://[::1]5672/", "an IPv6 address needs brackets"),
    ("amqp://[::g]/", "an IPv6 address needs brackets"),
    ("amqp://ho st/", "the host name is invalid"),
    ("amqp://ho%20st/", "the host name is invalid"),
    ("amqp://host/a/b", "in the virtual host as %2F"),
    ("amqp://host/vh/", "in the virtual host as %2F"),
    ("amqp://host///", "in the virtual host as %2F"),
    ("amqp://host/%", "write a % as %25"),
    ("amqp://a,/", "must contain a host before and after each comma"),
    ("amqp://u:p@,a/", "must contain a host before and after each comma"),
    ("amqp://a,,b/", "must contain a host before and after each comma"),
    ("amqp://a,:5672/", "must contain a host before and after each comma"),
    ("amqp://a, b/", "the host name is invalid"),
    ("amqp://a;b/", "the host name is invalid"),
    ("amqp://a,b:0/", "the URL's port must be 1 to 65535"),
    ("amqp://a,b:x/", "the port must be 1 to 65535"),
    ("amqp://a,::1/", "an IPv6 address needs brackets"),
    ("amqp://u:p@a,u:p@b/", "percent-encoding"),
    ("amqp://a,amqp://b/", "several hosts go into one URL"),
    ("amqps://u:p@a/vh,amqps://u:p@b/vh", "several hosts go into one URL"),
    ("amqp://a:1,A:1/", "must not name a host twice"),
    ("amqp://a,b,a:5672/", "must not name a host twice"),
    ("amqp://" + ",".join(f"h{number}" for number in range(33)), "at most 32 hosts"),
    ("amqp://host/%FF", "must be UTF-8"),
    ("amqp://u:%00@host/", "must not contain control characters"),
    ("amqp://host/vh#x", ENCODING),
    ("amqp://host/\n", "must not contain control characters"),
]

BAD_PARAMETERS = [
    ("amqp://a,b/?heartbeat=5", "broker.heartbeat"),
    ("amqp://host?", "must not have parameters"),
    (f"amqp://host/?{SECRET}={SECRET}", "must not have parameters"),
    ("amqp://host/?heartbeat=30", "after the ? is not supported; use the option broker.heartbeat"),
    ("amqp://host/?cafile=/x", "after the ? is not supported; use the option broker.ssl_ca_certs"),
    ("amqps://host/?no_verify_ssl=1", "is always verified"),
    ("amqps://host/?verify_ssl=0", "is always verified"),
    ("amqp://host/?auth=external", "auth after the ? is not supported"),
]


@pytest.mark.parametrize(("url", "rule"), [*BAD, *BAD_PARAMETERS])
def test_a_url_of_a_broker_that_cannot_be_is_told_the_rule(url: str, rule: str, tmp_path: Path) -> None:
    written = url.replace("\n", "\\n")
    said = refusal(tmp_path, f'broker:\n  url: "{written}"\n')
    assert said.startswith("broker.url: ")
    assert rule in said


@pytest.mark.parametrize(("url", "rule"), BAD)
def test_the_client_refuses_a_url_with_the_words_of_the_daemon(url: str, rule: str, tmp_path: Path) -> None:
    written = url.replace("\n", "\\n")
    of_daemon = refusal(tmp_path, f'broker:\n  url: "{written}"\n')
    with pytest.raises(ConfigError) as refused:
        LockClient(url)
    assert str(refused.value) == of_daemon.strip().removeprefix("broker.")
    assert rule in str(refused.value)


@pytest.mark.parametrize(
    ("behind", "rule"),
    [
        ("?", "must not have parameters other than cafile, certfile, heartbeat, keyfile after a ?"),
        (f"?{SECRET}={SECRET}", "must not have parameters other than cafile, certfile, heartbeat, keyfile after a ?"),
        (f"?heartbeat=5&{SECRET}", "must not have parameters other than"),
        ("?heartbeat=5&", "must not have parameters other than"),
        ("?no_verify_ssl=1", "the broker's certificate is always verified"),
        ("?cafile=/x&verify_ssl=0", "the broker's certificate is always verified"),
        ("?auth=external", "auth after the ? is not supported"),
        ("?heartbeat=5&name=x", "name after the ? is not supported"),
        ("?heartbeat=", "heartbeat after the ? must be a whole number of seconds, at most 65535"),
        ("?heartbeat=-1", "heartbeat after the ? must be a whole number"),
        ("?heartbeat=1.5", "heartbeat after the ? must be a whole number"),
        ("?heartbeat=65536", "heartbeat after the ? must be a whole number"),
        ("?heartbeat=٣", "heartbeat after the ? must be a whole number"),
        ("?heartbeat=5&heartbeat=6", "each parameter after the ? may appear once"),
        ("?cafile=", "cafile after the ? must name a file"),
        ("?cafile=/%", "write a % as %25"),
        ("?cafile=/x", "cafile after the ? needs amqps://"),
        ("?heartbeat=5#x", ENCODING),
    ],
)
@pytest.mark.parametrize("hosts", ["host", "one,two:5673"])
def test_the_client_refuses_a_parameter_that_it_does_not_have(hosts: str, behind: str, rule: str) -> None:
    scheme = "amqp" if "needs" in rule else "amqps"
    with pytest.raises(ConfigError, match=r"^url: ") as refused:
        LockClient(f"{scheme}://u:{SECRET}@{hosts}/vh{behind}")
    assert rule in str(refused.value)
    assert SECRET not in str(refused.value)
    assert SECRET not in "".join(format_exception(refused.value))


@pytest.mark.parametrize("url", [None, 5, b"amqp://host/", ["amqp://host/"], SecretStr("amqp://u:p@host/")])
def test_the_client_takes_a_text_only(url: object) -> None:
    with pytest.raises(ConfigError, match=r"^url: must be a text, as amqp://"):
        LockClient(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "heartbeat"),
    [
        ("amqp://host", "10"),
        ("amqp://u:p@one,[::1]:5673/vh", "10"),
        ("amqp://host/?heartbeat=0", "0"),
        ("amqps://host/vh?heartbeat=65535", "65535"),
        ("amqps://host/vh?cafile=%2Fetc%2Fca.pem&certfile=/c&keyfile=/k", "10"),
    ],
)
def test_the_client_has_a_heartbeat_of_its_own_and_takes_another_one(url: str, heartbeat: str) -> None:
    asked = parse_qs(urlsplit(url).query)
    for one in broker_hosts(url)._urls:
        assert parse_qs(urlsplit(one).query) == {**asked, "heartbeat": [heartbeat]}


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (f"redis://h?foo={SECRET}", "only db, username and password are supported"),
        (f"redis://h?{SECRET}", "only db, username and password are supported"),
        (f"redis://h?password=a&{SECRET}=b", "only db, username and password are supported"),
        (f"redis://h?password=a+{SECRET}", "write + as %2B"),
        (f"redis://h?password=a&password={SECRET}", "each name may appear once"),
        (f"redis://u:a@h?password={SECRET}", "names a password twice"),
        (f"redis://u:a@h?username={SECRET}", "names a username twice"),
        ("redis://h/1?db=2", "names two databases"),
        ("redis://h?db=x", "the URL's database must be a number"),
        ("rediss://h?ssl_cert_reqs=none", "certificate is always verified"),
        ("rediss://h?ssl_cert_reqs=required", "certificate is always verified"),
        ("rediss://h?ssl_check_hostname=false", "certificate is always verified"),
        ("rediss://h?ssl_ca_certs=/x", "use the option of that name"),
        ("redis://h?socket_timeout=5", "use the option of that name"),
        ("redis://h?protocol=3", "the URL's protocol after the ? is not supported"),
        ("redis://h?decode_responses=true", "the URL's decode_responses after the ? is not supported"),
        ("unix:///run/r.sock?foo=1", "only db, username and password are supported"),
        ("redis://h#x", ENCODING),
        ("redis://h:6379x", "the port must be 1 to 65535"),
        ("redis://h\\n", "must not contain control characters"),
        ("http://h", "must be a host name or an address"),
        ("REDIS://h", "must be a host name or an address"),
    ],
)
@pytest.mark.parametrize("mode", ["standard", "cluster"])
def test_a_url_of_redis_that_cannot_be_is_told_the_rule(mode: str, url: str, rule: str, tmp_path: Path) -> None:
    section = f'lock_store:\n  type: concurrent_redis\n  deployment_mode: {mode}\n  host: "{url}"\n'
    said = refusal(tmp_path, section)
    assert said.startswith("lock_store.host: ")
    assert rule in said
