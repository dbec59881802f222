"""IAM for ElastiCache: which variables and options it takes, the token by AWS' published rules, and when it is signed."""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from botocore.signers import RequestSigner

from lockstore.errors import ConfigError, StoreUnavailableError
from lockstore.stores.redis.connection.iam import (
    ElastiCacheCredentials,
    IamSettings,
    IamTimes,
    check_iam_options,
    iam_settings,
)
from lockstore.stores.redis.connection.options import RedisOptions

ON = {
    "ELASTICACHE_REDIS_AWS_IAM_ENABLED": "true",
    "IAM_CLOUD_PROVIDER": "aws",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ELASTICACHE_CLUSTER_NAME": "Bot-Locks",
}
SETTINGS = IamSettings("eu-central-1", "bot-locks")
SERVERLESS = IamSettings("eu-central-1", "bot-locks", serverless=True)
KEY_ID, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3Jp/Z2lu+X2Vj=="


# -- the rules for a presigned request, as AWS publishes them


def mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def parts_of(token: str) -> tuple[str, dict[str, str]]:
    """Split a token into its host and its parameters."""
    host, query = token.split("/?")
    pairs = [pair.split("=") for pair in query.split("&")]
    assert len({name for name, _ in pairs}) == len(pairs)
    return host, {unquote(name): unquote(value) for name, value in pairs}


def expected_signature(host: str, parameters: dict[str, str], secret: str) -> str:
    """Sign what a token says with AWS Signature Version 4."""
    signed = {name: value for name, value in parameters.items() if name != "X-Amz-Signature"}
    query = "&".join(sorted(f"{encoded(name)}={encoded(value)}" for name, value in signed.items()))
    request = "\n".join(["GET", "/", query, f"host:{host}", "", "host", hashlib.sha256(b"").hexdigest()])
    _, day, region, service, end = parameters["X-Amz-Credential"].split("/")
    scope = f"{day}/{region}/{service}/{end}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", parameters["X-Amz-Date"], scope, digest])
    key = mac(mac(mac(mac(f"AWS4{secret}".encode(), day), region), service), end)
    return mac(key, to_sign).hex()


# -- what stands around the tests


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Signings:
    """Count signings, note their threads, and hold them up while `gate` is cleared."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()


class Role:
    """What gives a container the credentials of its role: temporary ones, over HTTP."""

    def __init__(self) -> None:
        self.session, self.minutes_left, self.requests = "first", 60, 0

    def answer(self) -> bytes:
        self.requests += 1
        expires_at = datetime.now(UTC) + timedelta(minutes=self.minutes_left)
        credentials = {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": self.session}
        return json.dumps(credentials | {"Expiration": expires_at.isoformat()}).encode()


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    level = logging.getLogger("botocore").level
    yield
    logging.getLogger("botocore").setLevel(level)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def signings(monkeypatch: pytest.MonkeyPatch) -> Signings:
    seen = Signings()
    sign = RequestSigner.generate_presigned_url

    def counted(*args: Any, **options: Any) -> Any:
        seen.threads.append(threading.get_ident())
        assert seen.gate.wait(10)
        return sign(*args, **options)

    monkeypatch.setattr(RequestSigner, "generate_presigned_url", counted)
    return seen


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    given = Role()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = given.answer()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/role")
        yield given
        server.shutdown()
        thread.join()


async def token_of(credentials: ElastiCacheCredentials) -> dict[str, str]:
    _, token = await credentials.get_credentials_async()
    return parts_of(token)[1]


# -- variables


@pytest.mark.parametrize("value", [None, "", "false", "False", "FALSE"])
def test_without_its_switch_iam_is_off_whatever_else_is_set(value: str | None) -> None:
    environ = ON | {"IAM_CLOUD_PROVIDER": "gcp", "ELASTICACHE_REDIS_AWS_IAM_ENABLED": value or ""}
    if value is None:
        del environ["ELASTICACHE_REDIS_AWS_IAM_ENABLED"]
    assert iam_settings(environ) is None


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_the_variables_name_the_cache_which_is_in_lower_case_at_aws(value: str) -> None:
    assert iam_settings(ON | {"ELASTICACHE_REDIS_AWS_IAM_ENABLED": value}) == SETTINGS


@pytest.mark.parametrize(("value", "serverless"), [("", False), ("false", False), ("true", True), ("True", True)])
def test_a_serverless_cache_is_said_to_be_one(value: str, *, serverless: bool) -> None:
    settings = iam_settings(ON | {"AWS_ELASTICACHE_SERVERLESS": value})
    assert settings is not None
    assert settings.serverless is serverless


@pytest.mark.parametrize("name", ["IAM_CLOUD_PROVIDER", "AWS_DEFAULT_REGION", "AWS_ELASTICACHE_CLUSTER_NAME"])
def test_a_variable_that_is_missing_or_empty_is_named(name: str) -> None:
    for environ in ({given: value for given, value in ON.items() if given != name}, ON | {name: ""}):
        with pytest.raises(ConfigError, match=f"^{name}: must be set"):
            iam_settings(environ)


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"^AWS_DEFAULT_REGION, AWS_ELASTICACHE_CLUSTER_NAME: must be set"):
        iam_settings({"ELASTICACHE_REDIS_AWS_IAM_ENABLED": "true", "IAM_CLOUD_PROVIDER": "aws"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ELASTICACHE_REDIS_AWS_IAM_ENABLED", "yes"),
        ("ELASTICACHE_REDIS_AWS_IAM_ENABLED", "1"),
        ("IAM_CLOUD_PROVIDER", "gcp"),
        ("IAM_CLOUD_PROVIDER", "AWS"),
        ("AWS_DEFAULT_REGION", "eu central 1"),
        ("AWS_DEFAULT_REGION", "eu-central-1\n"),
        ("AWS_ELASTICACHE_CLUSTER_NAME", "bot-locks.abc123.euc1.cache.amazonaws.com"),
        ("AWS_ELASTICACHE_CLUSTER_NAME", "bot-locks:6379"),
        ("AWS_ELASTICACHE_CLUSTER_NAME", "bot-locks/"),
        ("AWS_ELASTICACHE_SERVERLESS", "maybe"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_its_variable_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: must be"):
        iam_settings(ON | {name: value})


# -- options


@pytest.mark.parametrize(
    "given",
    [
        {"host": "bot-locks.example", "use_ssl": True, "username": "bot"},
        {"host": "bot-locks.example", "use_ssl": True, "username": "bot", "password": None},
        {"host": "rediss://bot-locks.example", "username": "bot"},
        {"host": "rediss://bot@bot-locks.example"},
        {"deployment_mode": "cluster", "endpoints": "a.example:6379", "use_ssl": True, "username": "bot"},
    ],
)
def test_a_user_and_tls_are_what_iam_needs(given: dict[str, Any]) -> None:
    check_iam_options(RedisOptions(**given))


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("use_ssl", {"username": "bot"}),
        ("use_ssl", {"username": "bot", "use_ssl": False}),
        ("use_ssl", {"username": "bot", "host": "redis://bot-locks.example"}),
        ("username", {"use_ssl": True}),
        ("username", {"use_ssl": True, "username": ""}),
        ("username", {"host": "rediss://bot-locks.example"}),
        ("password", {"use_ssl": True, "username": "bot", "password": "hunter2"}),
        ("password", {"host": "rediss://bot:hunter2@bot-locks.example"}),
    ],
)
def test_options_that_tokens_do_not_go_with_are_refused_and_named(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^lock_store\.{field}: must") as refusal:
        check_iam_options(RedisOptions(**given))
    assert "hunter2" not in str(refusal.value)


# -- the token


@pytest.mark.parametrize("session", [None, SESSION])
@pytest.mark.parametrize("settings", [SETTINGS, SERVERLESS, IamSettings("us-gov-west-1", "x1")])
@pytest.mark.parametrize("user", ["bot", "bot locks+1@example/ü"])
async def test_the_token_is_a_connect_request_signed_by_the_published_rules(
    keys: None, monkeypatch: pytest.MonkeyPatch, session: str | None, settings: IamSettings, user: str
) -> None:
    if session is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", session)
    given_user, token = await ElastiCacheCredentials(user, settings).get_credentials_async()
    assert given_user == user
    assert "://" not in token

    host, parameters = parts_of(token)
    signature, moment = parameters.pop("X-Amz-Signature"), parameters["X-Amz-Date"]
    assert host == settings.cluster_name
    assert parameters == {
        "Action": "connect",
        "User": user,
        **({"ResourceType": "ServerlessCache"} if settings.serverless else {}),
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY_ID}/{moment[:8]}/{settings.region}/elasticache/aws4_request",
        "X-Amz-Date": moment,
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": session} if session else {}),
    }
    assert signature == expected_signature(host, parameters, SECRET)
    signed_at = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - signed_at) < timedelta(minutes=1)


def test_the_signing_key_here_is_the_one_of_the_example_that_aws_documents() -> None:
    key = mac(
        mac(mac(mac(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830"), "us-east-1"), "iam"), "aws4_request"
    )
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"


async def test_the_token_says_how_long_it_is_valid(keys: None) -> None:
    credentials = ElastiCacheCredentials("bot", SETTINGS, times=IamTimes(validity_s=7, refresh_s=1))
    assert (await token_of(credentials))["X-Amz-Expires"] == "7"


def test_by_default_a_token_is_renewed_long_before_it_ends_and_a_connection_too() -> None:
    times = IamTimes()
    assert times.validity_s == 900
    assert times.refresh_s <= times.validity_s / 3
    assert times.reauthenticate_s <= 12 * 60 * 60 / 2
    assert ElastiCacheCredentials("bot", SETTINGS).reauthenticate_s == times.reauthenticate_s
    assert ElastiCacheCredentials("bot", SETTINGS, times=IamTimes(reauthenticate_s=2)).reauthenticate_s == 2


def test_a_token_can_be_had_without_an_event_loop_too(keys: None, signings: Signings) -> None:
    credentials = ElastiCacheCredentials("bot", SETTINGS)
    user, token = credentials.get_credentials()
    host, parameters = parts_of(token)
    assert user == "bot"
    assert parameters.pop("X-Amz-Signature") == expected_signature(host, parameters, SECRET)
    assert credentials.get_credentials() == (user, token)
    assert len(signings.threads) == 1


# -- when it is signed


async def test_a_token_is_given_out_until_it_is_due_and_not_longer(keys: None, signings: Signings) -> None:
    clock = Clock()
    credentials = ElastiCacheCredentials("bot", SETTINGS, times=IamTimes(refresh_s=60), clock=clock)
    for now, signed in ((0.0, 1), (59.9, 1), (60.0, 2), (119.9, 2), (120.0, 3), (5000.0, 4)):
        clock.now = 1_800_000_000 + now
        await credentials.get_credentials_async()
        assert len(signings.threads) == signed


async def test_a_token_from_the_future_is_not_given_out(keys: None, signings: Signings) -> None:
    clock = Clock()
    credentials = ElastiCacheCredentials("bot", SETTINGS, clock=clock)
    await credentials.get_credentials_async()
    clock.now -= 1  # somebody has set the clock back
    await credentials.get_credentials_async()
    assert len(signings.threads) == 2


async def test_a_token_is_as_old_as_the_moment_before_it_was_signed(keys: None, signings: Signings) -> None:
    clock = Clock()
    credentials = ElastiCacheCredentials("bot", SETTINGS, times=IamTimes(refresh_s=60), clock=clock)
    signings.gate.clear()
    caller = asyncio.create_task(credentials.get_credentials_async())
    await until(lambda: bool(signings.threads))
    clock.now += 61  # signing took so long
    signings.gate.set()
    await caller
    await credentials.get_credentials_async()
    assert len(signings.threads) == 2


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def test_callers_at_once_share_one_signing_which_does_not_block_the_loop(keys: None, signings: Signings) -> None:
    credentials = ElastiCacheCredentials("bot", SETTINGS)
    threads = threading.active_count()
    signings.gate.clear()
    callers = [asyncio.create_task(credentials.get_credentials_async()) for _ in range(100)]
    await until(lambda: bool(signings.threads))  # the loop turns while the signing is held up
    assert threading.active_count() <= threads + 1
    signings.gate.set()
    assert len({await caller for caller in callers}) == 1
    assert len(signings.threads) == 1
    assert signings.threads[0] != threading.get_ident()


async def test_a_caller_that_gives_up_leaves_the_signing_to_the_others_and_the_next(
    keys: None, signings: Signings
) -> None:
    credentials = ElastiCacheCredentials("bot", SETTINGS)
    signings.gate.clear()
    waiting = asyncio.create_task(credentials.get_credentials_async())
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await credentials.get_credentials_async()
    next_one = asyncio.create_task(credentials.get_credentials_async())
    signings.gate.set()
    assert await waiting == await next_one
    assert len(signings.threads) == 1


async def test_a_failure_is_told_to_all_who_wait_and_the_next_caller_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = ElastiCacheCredentials("bot", SETTINGS)
    answers = await asyncio.gather(*(credentials.get_credentials_async() for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 5
    assert "Unable to locate credentials" in str(answers[0])

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert (await token_of(credentials))["X-Amz-Credential"].startswith(f"{KEY_ID}/")


# -- the AWS credentials behind it


async def test_half_of_a_key_is_an_error_that_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    with pytest.raises(StoreUnavailableError, match="AWS_SECRET_ACCESS_KEY"):
        await ElastiCacheCredentials("bot", SETTINGS).get_credentials_async()


async def test_credentials_that_somebody_writes_anew_are_read_anew(tmp_path: Path) -> None:
    clock = Clock()
    credentials = ElastiCacheCredentials("bot", SETTINGS, clock=clock)
    for session in ("first", "second"):
        text = f"aws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\naws_session_token = {session}\n"
        (tmp_path / "credentials").write_text(f"[default]\n{text}")
        assert (await token_of(credentials))["X-Amz-Security-Token"] == session
        clock.now += IamTimes().refresh_s


async def test_a_roles_credentials_are_fetched_once_and_again_before_they_end(role: Role) -> None:
    clock = Clock()
    credentials = ElastiCacheCredentials("bot", SETTINGS, clock=clock)
    role.minutes_left = 12  # botocore asks again from a quarter of an hour before their end
    assert (await token_of(credentials))["X-Amz-Security-Token"] == "first"
    asked = role.requests

    role.session, role.minutes_left = "second", 60
    assert (await token_of(credentials))["X-Amz-Security-Token"] == "first"  # this token is good for minutes yet
    assert role.requests == asked
    for _ in range(3):
        clock.now += IamTimes().refresh_s
        assert (await token_of(credentials))["X-Amz-Security-Token"] == "second"
    assert role.requests == asked + 1


async def test_no_token_is_signed_with_credentials_that_are_expired(role: Role) -> None:
    credentials = ElastiCacheCredentials("bot", SETTINGS)
    role.minutes_left = -1
    with pytest.raises(StoreUnavailableError, match="expired"):
        await credentials.get_credentials_async()

    role.session, role.minutes_left = "renewed", 60
    assert (await token_of(credentials))["X-Amz-Security-Token"] == "renewed"


async def test_where_credentials_could_not_be_renewed_others_may_take_their_place(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = ElastiCacheCredentials("bot", SETTINGS)
    role.minutes_left = -1
    with pytest.raises(StoreUnavailableError):
        await credentials.get_credentials_async()

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDANOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert (await token_of(credentials))["X-Amz-Credential"].startswith("AKIDANOTHER/")


# -- secrets, and what is not needed


async def test_no_token_is_in_a_repr_or_in_a_log(role: Role, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "botocore")
    role.session = SESSION
    credentials = ElastiCacheCredentials("bot", SETTINGS)
    parameters = await token_of(credentials)
    shown = [
        repr(credentials),
        *map(repr, vars(credentials).values()),
        *map(str, vars(credentials).values()),
        caplog.text,
    ]
    for secret in (parameters["X-Amz-Signature"], parameters["X-Amz-Signature"][-8:], SECRET, role.session):
        assert not [text for text in shown if secret in text]


@pytest.mark.parametrize(
    "module", ["lockstore.factory", "lockstore.stores.redis.connection.iam", "daemon.cli.app", "daemon.cli.serve"]
)
def test_boto3_is_not_imported_where_iam_is_off(module: str) -> None:
    look = f"import sys, {module}; print(sorted({{'boto3', 'botocore'}} & sys.modules.keys()))"
    seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert seen.stdout == "[]\n"
