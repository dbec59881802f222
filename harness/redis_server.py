"""A private Redis."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from harness.ports import LOOPBACK, free_port
from harness.process import Command
from harness.server import Server

# With the socket's name in it, a longer folder does not fit into sockaddr_un (107 characters).
SOCKET_NAME = "redis.sock"

Persistence = Literal["no", "everysec", "always"]


class RedisServer(Server):
    """A Redis server on a port of its own; by default it appends to a file, so a restart keeps its data.

    `persistence` is Redis' `appendfsync`, or "no" for none at all: then a restart forgets everything. `options` are further lines
    of redis.conf, stronger than those here; `{port}` and `{folder}` in their values are replaced, so
    `{"port": "0", "tls-port": "{port}", ...}` makes a server that speaks TLS alone.
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

    @property
    def url(self) -> str:
        """Its address for Redis clients, without TLS or password."""
        return f"redis://{self.host}:{self.port}/0"

    def _command(self) -> Command:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("redis-server is not installed; run: make setup")
        config = self.folder / "redis.conf"
        config.write_text("".join(f"{key} {value}\n" for key, value in self._settings().items()))
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
        # Over its socket in the folder: that is surely this server, whatever port, TLS and password the options ask for.
        reader, writer = await asyncio.open_unix_connection(self.folder / SOCKET_NAME)
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith((b"+PONG", b"-NOAUTH"))
        finally:
            writer.close()
