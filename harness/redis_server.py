"""A private Redis."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from harness.ports import LOOPBACK, free_port
from harness.process import Command
from harness.server import Server

# With the socket's name in it, a longer folder does not fit into sockaddr_un (107 characters).
SOCKET_NAME = "redis.sock"
ADMIN_LIMIT_S = 10.0

Persistence = Literal["no", "everysec", "always"]


def server_program() -> str:
    """Find the server to run: redis-server, or what LOCKSTORE_TEST_REDIS names, such as valkey-server."""
    name = os.environ.get("LOCKSTORE_TEST_REDIS") or "redis-server"
    program = shutil.which(name)
    if program is None:
        message = f"{name} is not installed; run: make setup"
        raise RuntimeError(message)
    return program


@dataclass(frozen=True)
class AdminSocket:
    """The unix socket in a server's folder: that is surely this server, whatever port, TLS and users the options ask for."""

    path: Path
    username: str | None = None
    password: str | None = None

    @classmethod
    def of(cls, folder: Path, options: Mapping[str, str]) -> "AdminSocket":
        """Find it in the folder; `options` say who may come in: `requirepass`, or else `masteruser` with `masterauth`."""
        path = folder / SOCKET_NAME
        if "requirepass" not in options and "masteruser" in options:
            return cls(path, options["masteruser"], options.get("masterauth"))
        return cls(path, None, options.get("requirepass"))

    async def answers(self) -> bool:
        """Tell whether the server takes commands, or at least wants a password first."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith((b"+PONG", b"-NOAUTH"))
        finally:
            writer.close()

    async def ask(self, *words: str | int) -> Any:
        """Run one command, on a connection of its own, and give its reply as Redis sends it; text is `str`.

        Raises redis-py's errors, and TimeoutError after `ADMIN_LIMIT_S`: the server may be paused.
        """
        # RESP2 without retries: nothing is sent but AUTH and the command, so a Sentinel understands it too.
        client = Redis(
            unix_socket_path=str(self.path),
            username=self.username,
            password=self.password,
            protocol=2,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            # The limit below is enough. redis-py's own is made with asyncio.wait_for, which loses a cancellation now and then.
            socket_timeout=None,
        )
        client.response_callbacks.clear()  # made for whole names such as "CLUSTER INFO", and for few of them
        async with asyncio.timeout(ADMIN_LIMIT_S), client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]


class RedisServer(Server):
    """A Redis server on a port of its own; by default it appends to a file, so a restart keeps its data.

    `persistence` is Redis' `appendfsync`, or "no" for none at all: then a restart forgets everything. `options` are further lines
    of redis.conf, stronger than those here; `{port}` and `{folder}` in their values are replaced, so
    `{"port": "0", "tls-port": "{port}", ...}` makes a server that speaks TLS alone.

    The file is written at the first start. What Redis itself writes into it later (a Sentinel that changes roles makes it do
    so) holds at the next start.
    """

    start_limit_s = 20.0
    host = LOOPBACK

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        persistence: Persistence = "everysec",
        folder: Path | None = None,
        name: str = "redis",
    ) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self._persistence = persistence
        self._options = dict(options or {})
        if self._options.get("cluster-enabled") == "yes":
            # Redis' own choice for the bus, 10000 higher, is anybody's guess.
            self._options.setdefault("cluster-port", str(free_port()))
        self._configured = False

    @property
    def url(self) -> str:
        """Its address for Redis clients, without TLS or password."""
        return f"redis://{self.host}:{self.port}/0"

    async def admin(self, *words: str | int) -> Any:
        """Run one command over its unix socket, past port and TLS, and give its reply as Redis sends it.

        It is run by the default user with `requirepass`, or else by `masteruser`, as the options say. Raises redis-py's errors,
        and TimeoutError if the server does not answer for `ADMIN_LIMIT_S`.
        """
        return await self.admin_socket.ask(*words)

    async def replication(self) -> dict[str, str]:
        """Read what it says of its role and its links to others (INFO replication)."""
        lines = (await self.admin("INFO", "replication")).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    @property
    def admin_socket(self) -> AdminSocket:
        """Where `admin` commands go."""
        return AdminSocket.of(self.folder, self._options)

    def _command(self) -> Command:
        program = server_program()
        config = self.folder / "redis.conf"
        if not (self._configured and config.exists()):
            config.write_text("".join(f"{key} {value}\n" for key, value in self._settings().items()), encoding="utf-8")
            self._configured = True
        return Command(name=self.name, argv=(program, str(config)), folder=self.folder, log=self.log)

    def _settings(self) -> dict[str, str]:
        known = {"port": str(self.port), "folder": str(self.folder)}
        defaults = {
            "bind": self.host,
            "port": "{port}",
            "unixsocket": f"{{folder}}/{SOCKET_NAME}",
            "dir": "{folder}",
            "daemonize": "no",
            "save": '""',
            "appendonly": "no" if self._persistence == "no" else "yes",
            "appendfsync": self._persistence,
        }
        return {key: value.format_map(known) for key, value in (defaults | self._options).items()}

    async def _probe(self) -> bool:
        return await self.admin_socket.answers()
