"""A private Redis with replicas, watched by Sentinels."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from harness.ports import LOOPBACK, free_port
from harness.process import Command
from harness.redis_group import REPLICATION_OPTIONS, RedisGroup, awake, out_of_sync, start_all
from harness.redis_server import SOCKET_NAME, AdminSocket, RedisServer, server_program
from harness.server import Server

# Flags of a Sentinel's entry. Others do no harm: another Sentinel is `master_down` for 5 s after it said so of a primary.
_OUT_OF_TOUCH = {"s_down", "o_down", "disconnected"}


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How the Sentinels watch: under which name, how many must agree, and when they act."""

    service: str = "mymaster"
    quorum: int = 2
    down_after_ms: int = 1_000
    failover_timeout_ms: int = 5_000  # a failover that came to nothing is tried again after twice that


class RedisSentinel(Server):
    """One Sentinel process; `RedisSentinels` makes those that belong together.

    `options` are further lines of sentinel.conf, as for `RedisServer`. The file is written at the first start; later it is
    Sentinel's own, which keeps there what it has learned.
    """

    start_limit_s = 20.0
    host = LOOPBACK

    def __init__(self, options: Mapping[str, str] | None = None, *, folder: Path | None = None, name: str) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.id = secrets.token_hex(20)
        self.lines: Sequence[str] = ()  # of sentinel.conf: whom it watches
        self._options = dict(options or {})
        self._configured = False

    async def admin(self, *words: str | int) -> Any:
        """Run one command over its unix socket, as `RedisServer.admin` does."""
        return await self._admin_socket.ask(*words)

    @property
    def _admin_socket(self) -> AdminSocket:
        return AdminSocket.of(self.folder, self._options)

    def _command(self) -> Command:
        # redis-sentinel of Debian's package of that name is a link to this same program: nothing more to install.
        program = server_program()
        config = self.folder / "sentinel.conf"
        if not (self._configured and config.exists()):
            config.write_text("".join(f"{line}\n" for line in self._settings()), encoding="utf-8")
            self._configured = True
        return Command(name=self.name, argv=(program, str(config), "--sentinel"), folder=self.folder, log=self.log)

    def _settings(self) -> list[str]:
        known = {"port": str(self.port), "folder": str(self.folder)}
        defaults = {
            "bind": self.host,
            "port": "{port}",
            "unixsocket": f"{{folder}}/{SOCKET_NAME}",
            "dir": "{folder}",
            "daemonize": "no",
        }
        settings = [f"{key} {value.format_map(known)}" for key, value in (defaults | self._options).items()]
        return [*settings, f"sentinel myid {self.id}", *self.lines]

    async def _probe(self) -> bool:
        return await self._admin_socket.answers()


class RedisSentinels(RedisGroup):
    """A primary, its replicas and their Sentinels, ready when all Sentinels know each other and all replicas are in sync.

    `options` are further lines of every Redis' redis.conf, `sentinel_options` of every sentinel.conf, as for `RedisServer`. With
    passwords `options` need `masterauth`, and `masteruser` if that is not the default user: Sentinels come in as replicas do.
    A primary that was killed may be started again; the Sentinels make it a replica, which takes them ten to twenty seconds.
    In a folder that was used before, the first server is the primary again.
    """

    def __init__(
        self,
        replicas: int = 1,
        sentinels: int = 3,
        *,
        watch: Watch | None = None,
        options: Mapping[str, str] | None = None,
        sentinel_options: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__("sentinels", folder)
        self._replicas = replicas
        self._count = sentinels
        self._watch = watch or Watch()
        self._options = REPLICATION_OPTIONS | dict(options or {})
        self._sentinel_options = dict(sentinel_options or {})

    @property
    def service(self) -> str:
        """The name that clients ask the Sentinels for."""
        return self._watch.service

    @property
    def endpoints(self) -> list[str]:
        """Where clients find the Sentinels: `127.0.0.1:port` of each."""
        return [f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels]

    @cached_property
    def servers(self) -> list[RedisServer]:
        """All Redis servers; when new, the first is the primary."""
        first = RedisServer(self._options, folder=self.folder / "r1", name="redis-1")
        options = {"replicaof": f"{LOOPBACK} {first.port}"} | self._options
        others = range(2, self._replicas + 2)
        return [first, *(RedisServer(options, folder=self.folder / f"r{n}", name=f"redis-{n}") for n in others)]

    @cached_property
    def sentinels(self) -> list[RedisSentinel]:
        """All Sentinels."""
        numbers = range(1, self._count + 1)
        sentinels = [
            RedisSentinel(self._sentinel_options, folder=self.folder / f"s{n}", name=f"sentinel-{n}") for n in numbers
        ]
        for sentinel in sentinels:
            sentinel.lines = self._watching([other for other in sentinels if other is not sentinel])
        return sentinels

    @property
    def members(self) -> list[Server]:
        """The Sentinels and the servers."""
        return [*self.sentinels, *self.servers]

    async def start(self) -> None:
        """Start every process that does not run, and wait until all is in order.

        Raises ProcessFailedError, with the tails of the logs, if it does not get there.
        """
        await start_all(self.servers)
        # A Sentinel asks the primary for its replicas when it starts, and then only every 10 s.
        await self._until(self._unlinked)
        await start_all(self.sentinels)
        await self.settle()

    async def primary(self) -> RedisServer:
        """Ask the Sentinels which server is the primary, running or not; the newest of their answers counts.

        Raises LookupError if none of them answers.
        """
        answers = [answer for answer in await self._answers() if answer is not None]
        if not answers:
            raise LookupError("no Sentinel answers")
        newest = max(answers, key=lambda answer: int(answer["config-epoch"]))
        (server,) = (server for server in self.servers if str(server.port) == newest["port"])
        return server

    async def replicas(self) -> list[RedisServer]:
        """Give all servers but the primary, running or not."""
        primary = await self.primary()
        return [server for server in self.servers if server is not primary]

    def _watching(self, others: Sequence[RedisSentinel]) -> list[str]:
        watch, first = self._watch, self.servers[0]
        lines = [
            f"sentinel monitor {watch.service} {LOOPBACK} {first.port} {watch.quorum}",
            f"sentinel down-after-milliseconds {watch.service} {watch.down_after_ms}",
            f"sentinel failover-timeout {watch.service} {watch.failover_timeout_ms}",
        ]
        # As in a file that Sentinel wrote itself. Else they find each other by messages every 2 s.
        lines += [f"sentinel known-sentinel {watch.service} {LOOPBACK} {other.port} {other.id}" for other in others]
        words = {"auth-user": self._options.get("masteruser"), "auth-pass": self._options.get("masterauth")}
        return lines + [f"sentinel {key} {watch.service} {word}" for key, word in words.items() if word is not None]

    async def _answers(self) -> list[dict[str, str] | None]:
        return await asyncio.gather(*(self._answer(sentinel) for sentinel in self.sentinels if awake(sentinel)))

    async def _answer(self, sentinel: RedisSentinel) -> dict[str, str] | None:
        try:
            return _pairs(await sentinel.admin("SENTINEL", "MASTER", self.service))
        except (OSError, RedisError):  # it ends or hangs
            return None

    async def _unlinked(self) -> str:
        for server in self.servers:
            said = await server.replication()
            if said["role"] != "master" and said["master_link_status"] != "up":
                return f"{server.name} is not in sync"
        return ""

    async def _disorder(self) -> str:
        primary = await self.primary()
        if not awake(primary):
            return f"{primary.name}, the primary, is away"
        replicas = [server for server in self.servers if server is not primary and awake(server)]
        if trouble := await out_of_sync(primary, replicas):
            return trouble
        for sentinel in self.sentinels:
            if awake(sentinel) and (trouble := await self._ignorance(sentinel, primary, replicas)):
                return trouble
        return ""

    async def _ignorance(self, sentinel: RedisSentinel, primary: RedisServer, replicas: Sequence[RedisServer]) -> str:
        """Say what a Sentinel does not know yet."""
        own = _pairs(await sentinel.admin("SENTINEL", "MASTER", self.service))
        if (own["port"], own["flags"]) != (str(primary.port), "master"):
            return f"{sentinel.name} sees {own['port']} as {own['flags']}, and {primary.name} is the primary"
        others = [other for other in self.sentinels if other is not sentinel and awake(other)]
        for what, expected in (("REPLICAS", replicas), ("SENTINELS", others)):
            found = [_pairs(entry) for entry in await sentinel.admin("SENTINEL", what, self.service)]
            good = {entry["port"] for entry in found if _OUT_OF_TOUCH.isdisjoint(entry["flags"].split(","))}
            if missing := [server.name for server in expected if str(server.port) not in good]:
                return f"{sentinel.name} is not in touch with {', '.join(missing)}"
        return ""


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
