"""A primary that sentinels know the address of: its failovers under load, and how to come in."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness import RedisSentinel, RedisSentinels, RedisServer, Server
from harness.redis_group import awake
from lockstore.core.commands import Command, Request
from lockstore.errors import ConversationError, StoreUnavailableError
from lockstore.stores.base import LockStore
from tests.deployments.conftest import KINDS, ServedMaker, opened, sentinel_section
from tests.support.redis_tls import RedisTls
from tests.support.serve import run_serve

JUMPED = 10**12
"""Numbers go on from the clock, in ms, when another server took over."""

UNTIRING_S = 60
"""A timeout so long that nothing is given up for its sake."""

AFTER_SENTINELS_S = 2.0
"""How long after the sentinels' own time the daemon may take to grant again."""


@pytest_asyncio.fixture
async def sentinels() -> AsyncIterator[RedisSentinels]:
    async with RedisSentinels(replicas=2) as group:
        yield group


Hurt = Callable[[Server], Awaitable[None]]


async def killed(server: Server) -> None:
    await server.kill()


async def paused(server: Server) -> None:
    server.pause()


async def named(group: RedisSentinels, old: RedisServer) -> tuple[RedisServer, float]:
    """Wait until a sentinel names another primary, which says so itself; give it, and the time."""
    async with asyncio.timeout(60):
        while True:
            for sentinel in filter(awake, group.sentinels):
                _, port = await sentinel.admin("SENTINEL", "GET-MASTER-ADDR-BY-NAME", group.service)
                (server,) = (server for server in group.servers if str(server.port) == port)
                if server is not old and (await server.replication())["role"] == "master":
                    return server, time.monotonic()
            await asyncio.sleep(0.02)


async def replaced(
    group: RedisSentinels, hurt: Hurt, waiting: Mapping[str, Callable[[], Awaitable[float]]]
) -> tuple[RedisServer, dict[str, float]]:
    """Hurt the primary, and give it, and how long after the sentinels' own time each of those who wait was served."""
    old = await group.primary()
    began = time.monotonic()
    await hurt(old)
    tasks = [asyncio.ensure_future(wait()) for wait in waiting.values()]
    _, named_at = await named(group, old)
    async with asyncio.timeout(UNTIRING_S / 2):
        served_at = await asyncio.gather(*tasks)
    later = {kind: at - named_at for kind, at in zip(waiting, served_at, strict=True)}
    told = ", ".join(f"{kind} {late:+.2f} s" for kind, late in later.items())
    print(f"{hurt.__name__}: the sentinels took {named_at - began:.2f} s; served again after that: {told}")
    return old, later


# --- under load --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("hurt", [killed, paused])
async def test_a_primary_is_lost_under_load(hurt: Hurt, sentinels: RedisSentinels, serve: ServedMaker) -> None:
    """With replicas that are waited for, so that nothing which was announced can be lost."""
    async with AsyncExitStack() as stack:
        sections = [sentinel_section(kind, sentinels, wait_replicas=1) for kind in KINDS]
        sides = [await stack.enter_async_context(serve(section)) for section in sections]
        for side in sides:
            await side.load.until(10)
        old, later = await replaced(sentinels, hurt, {side.kind: side.load.first_grant for side in sides})
        assert max(later.values()) < AFTER_SENTINELS_S
        if old.running:
            old.resume()
        else:
            await old.start()
        await sentinels.settle()
        assert (await old.replication())["role"] == "slave"
        for side in sides:
            await side.load.until(3)
            await side.finish()
            assert side.daemon.events("store.unavailable"), "the failover was not noticed: the test showed nothing"


# --- planned failovers ---------------------------------------------------------------------------------------------------


async def numbers(store: LockStore, *commands: Command) -> list[int]:
    """Apply commands, and give the numbers that are told of, in order."""
    told: list[int] = []
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)
        told += [notice.event.number for notice in outcome if notice.event.number is not None]
    return told


def ask(place: int, conversation: str = "c") -> Request:
    return Request(conversation, f"request {place}", 60_000, 60_000)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_primary_that_became_a_replica_is_left_at_once(kind: str) -> None:
    async with RedisSentinels() as group, opened(sentinel_section(kind, group)) as store:
        before = await numbers(store, ask(1), ask(2))
        old = await group.primary()
        await group.sentinels[0].admin("SENTINEL", "FAILOVER", group.service)
        new, _ = await named(group, old)
        await old.admin("REPLICAOF", new.host, new.port)  # the sentinels would do it after ten seconds
        with pytest.raises(StoreUnavailableError, match="is now a slave"):
            await store.apply([ask(3)])
        after = await numbers(store, ask(3), ask(4))
        assert after == sorted(after)
        assert before[-1] < after[0], "the numbers go on from those of the old primary"
        assert await numbers(store, ask(1), ask(2)) == before, "the tickets of before still stand"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_primary_that_still_takes_writes_is_left_before_they_are_lost(kind: str) -> None:
    """After SENTINEL FAILOVER the old primary goes on for ten seconds, and nothing fails: then it forgets them."""
    async with RedisSentinels() as group, opened(sentinel_section(kind, group)) as store:
        old = await group.primary()
        given = await numbers(store, ask(0))
        await group.sentinels[0].admin("SENTINEL", "FAILOVER", group.service)
        _, named_at = await named(group, old)
        for place in count(1):
            given += await numbers(store, ask(place))
            if given[-1] > JUMPED:
                break
            await asyncio.sleep(0.05)
        assert (await old.replication())["role"] == "master", "noticed only when the old one was made a replica"
        print(f"{kind}: with the new primary {time.monotonic() - named_at:.2f} s after it was named")
        assert given == sorted(set(given))


async def test_a_planned_failover_under_load_loses_nothing_that_waited_for_the_replica(serve: ServedMaker) -> None:
    """For about a second there are two primaries. What only the old one has was not announced, and is done again."""
    async with RedisSentinels() as group, AsyncExitStack() as stack:
        sections = [sentinel_section(kind, group, wait_replicas=1) for kind in KINDS]
        sides = [await stack.enter_async_context(serve(section)) for section in sections]
        for side in sides:
            await side.load.until(10)
        old = await group.primary()
        await group.sentinels[0].admin("SENTINEL", "FAILOVER", group.service)
        new, _ = await named(group, old)
        await old.admin("REPLICAOF", new.host, new.port)  # nothing is announced without a replica
        for side in sides:
            await side.load.until(5)
            await side.finish()


# --- sentinels that are away -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hurt", [killed, paused])
async def test_a_sentinel_that_is_away_is_passed_over(hurt: Hurt) -> None:
    async with RedisSentinels() as group, AsyncExitStack() as stack:
        await hurt(group.sentinels[0])
        sections = {kind: sentinel_section(kind, group) for kind in KINDS}
        stores = {kind: await stack.enter_async_context(opened(section)) for kind, section in sections.items()}
        before = {kind: await numbers(store, ask(1)) for kind, store in stores.items()}
        await replaced(group, killed, {kind: partial(until_served, store, ask(2)) for kind, store in stores.items()})
        for kind, store in stores.items():
            assert before[kind] < await numbers(store, ask(2))


async def test_a_primary_that_hangs_is_given_up_while_it_is_connected_to() -> None:
    async with RedisSentinels() as group, AsyncExitStack() as stack:
        sections = {kind: sentinel_section(kind, group, socket_timeout=UNTIRING_S) for kind in KINDS}
        stores = {kind: await stack.enter_async_context(opened(section)) for kind, section in sections.items()}
        before = {kind: await numbers(store, ask(1)) for kind, store in stores.items()}
        # Whatever is done next begins with a connection, which the hanging server's kernel still takes.
        await (await group.primary()).admin("CLIENT", "KILL", "TYPE", "normal")
        await replaced(group, paused, {kind: partial(until_served, store, ask(2)) for kind, store in stores.items()})
        for kind, store in stores.items():
            assert before[kind] < await numbers(store, ask(2))


@pytest.mark.parametrize("kind", KINDS)
async def test_every_sentinel_is_remembered(kind: str) -> None:
    """However many connections are made at once while some of them do not answer."""
    async with RedisSentinels() as group, opened(sentinel_section(kind, group)) as store:
        first, *others = group.sentinels
        await first.kill()
        primary = await group.primary()
        for turn in range(3):
            await primary.admin("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.gather(*(until_served(store, ask(turn, f"c{place}")) for place in range(8)))
        await first.start()
        await group.settle()
        for other in others:
            await other.kill()
        await primary.admin("CLIENT", "KILL", "TYPE", "normal")
        async with asyncio.timeout(20):
            await until_served(store, ask(9))


async def until_served(store: LockStore, *commands: Command) -> float:
    """Ask as the daemon does, again and again, and give the time of the answer."""
    while True:
        try:
            await numbers(store, *commands)
        except StoreUnavailableError:
            await asyncio.sleep(0.1)
        else:
            return time.monotonic()


# --- coming in ---------------------------------------------------------------------------------------------------------

SERVERS, SENTINELS, BOTS, WATCHERS = "at-the-servers", "at-the-sentinels", "of-the-bot", "of-the-watcher"

GUARDS: dict[str, dict[str, str]] = {
    "two passwords": {"password": SERVERS, "sentinel_password": SENTINELS},
    "one user": {"username": "bot", "password": BOTS},
    "two users": {
        "username": "bot",
        "password": BOTS,
        "sentinel_username": "watcher",
        "sentinel_password": WATCHERS,
    },
    "a user, and a password at the sentinels": {"username": "bot", "password": BOTS, "sentinel_password": SENTINELS},
}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[RedisTls, RedisTls]:
    """Certificates of the servers and of the sentinels, by two authorities, which all of them trust."""
    both = [RedisTls.made_in(tmp_path_factory.mktemp(whose)) for whose in ("servers", "sentinels")]
    bundle = b"".join((one.folder / "ca.pem").read_bytes() for one in both)
    for one in both:
        (one.folder / "own-ca.pem").write_bytes((one.folder / "ca.pem").read_bytes())
        (one.folder / "ca.pem").write_bytes(bundle)
    return both[0], both[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tls: tuple[RedisTls, RedisTls]) -> AsyncIterator[RedisSentinels]:
    servers, sentinels = (one.server_options for one in tls)
    bot = f"bot on >{BOTS} ~* &* +@all"
    async with RedisSentinels(
        options=servers | {"requirepass": SERVERS, "masterauth": SERVERS, "user": bot},
        sentinel_options=sentinels
        | {"requirepass": SENTINELS, "user": f"{bot}\nuser watcher on >{WATCHERS} ~* &* +@all"},
    ) as group:
        yield group


def guarded_section(kind: str, group: RedisSentinels, tls: RedisTls, **options: Any) -> dict[str, Any]:
    return sentinel_section(kind, group, **tls.section | tls.shown | options)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guard", GUARDS)
async def test_credentials_and_tls_reach_servers_and_sentinels(
    guard: str, kind: str, guarded: RedisSentinels, tls: tuple[RedisTls, RedisTls]
) -> None:
    given = GUARDS[guard]
    async with opened(guarded_section(kind, guarded, tls[0], **given)) as store:
        assert await numbers(store, ask(1))
        primary, first = await guarded.primary(), guarded.sentinels[0]
        assert f"user={given.get('username', 'default')} " in await clients(primary)
        at_sentinels = given.get("sentinel_username", "default" if "sentinel_password" in given else given["username"])
        assert f"user={at_sentinels} " in await clients(first)


async def clients(server: RedisServer | RedisSentinel) -> str:
    """List those who have come in, other than sentinels, which give themselves a name, and this test."""
    lines = (await server.admin("CLIENT", "LIST", "TYPE", "NORMAL")).splitlines()
    return "\n".join(line for line in lines if " name= " in line and "addr=127.0.0.1:" in line)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS)
async def test_one_password_may_do_for_both(kind: str, guarded: RedisSentinels, tls: tuple[RedisTls, RedisTls]) -> None:
    for sentinel in guarded.sentinels:
        await sentinel.admin("ACL", "SETUSER", "default", f">{SERVERS}")
    try:
        async with opened(guarded_section(kind, guarded, tls[0], password=SERVERS)) as store:
            assert await numbers(store, ask(1))
    finally:
        for sentinel in guarded.sentinels:
            await sentinel.admin("ACL", "SETUSER", "default", f"<{SERVERS}")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"password": "wrong-one"},
        {"username": "bot", "password": "wrong-one"},
        {"sentinel_password": "wrong-one"},
        {"sentinel_username": "watcher", "sentinel_password": "wrong-one"},
        {"password": None},
    ],
    ids=str,
)
async def test_a_wrong_password_is_told_in_one_readable_error(
    change: dict[str, Any], kind: str, guarded: RedisSentinels, tls: tuple[RedisTls, RedisTls]
) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        async with opened(guarded_section(kind, guarded, tls[0], **GUARDS["two passwords"] | change)):
            pytest.fail("opened")
    text = str(caught.value)
    print(f"{change}: {text}")
    assert "\n" not in text
    assert not any(secret in text for secret in ("wrong-one", SERVERS, SENTINELS))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whose", ["servers", "sentinels"])
def test_a_server_that_a_stranger_vouches_for_is_refused_at_the_start(
    whose: str, kind: str, guarded: RedisSentinels, tls: tuple[RedisTls, RedisTls], tmp_path: Path
) -> None:
    known = tls[1] if whose == "servers" else tls[0]
    section = guarded_section(kind, guarded, tls[0], **GUARDS["two passwords"])
    section["ssl_ca_certs"] = str(known.folder / "own-ca.pem")
    refused = run_serve({"lock_store": section}, tmp_path)
    print(refused.stderr)
    assert refused.returncode == 2
    assert "lock_store.ssl_ca_certs: " in refused.stderr
    assert " not trusted: " in refused.stderr
    assert "Traceback" not in refused.stderr
    assert SERVERS not in refused.stderr
    assert SENTINELS not in refused.stderr


@pytest.mark.asyncio(loop_scope="module")
async def test_a_failover_is_followed_with_credentials_and_tls(
    guarded: RedisSentinels, tls: tuple[RedisTls, RedisTls]
) -> None:
    async with AsyncExitStack() as stack:
        sections = {
            kind: guarded_section(kind, guarded, tls[0], socket_timeout=UNTIRING_S, **GUARDS["two users"])
            for kind in KINDS
        }
        stores = {kind: await stack.enter_async_context(opened(section)) for kind, section in sections.items()}
        before = {kind: await numbers(store, ask(1)) for kind, store in stores.items()}
        await replaced(guarded, paused, {kind: partial(until_served, store, ask(2)) for kind, store in stores.items()})
        for kind, store in stores.items():
            assert before[kind] < await numbers(store, ask(2))
