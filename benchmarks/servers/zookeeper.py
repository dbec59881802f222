"""A private ZooKeeper."""

import asyncio
from pathlib import Path

from benchmarks.servers.missing import NotInstalledError, program
from harness import Server
from harness.ports import LOOPBACK, free_port
from harness.process import Command

_JAR = Path("/usr/share/java/zookeeper.jar")  # names all others in its manifest
_MAIN = "org.apache.zookeeper.server.ZooKeeperServerMain"


class ZooKeeper(Server):
    """One ZooKeeper server with its default settings, except for where it listens and how many may connect."""

    start_limit_s = 60.0
    stop_grace_s = 5.0
    host = LOOPBACK

    def __init__(self, *, folder: Path | None = None, name: str = "zookeeper") -> None:
        super().__init__(name, folder)
        self.port = free_port()

    @property
    def address(self) -> str:
        """Its address, as kazoo reads it."""
        return f"{self.host}:{self.port}"

    def _command(self) -> Command:
        if not _JAR.exists():
            raise NotInstalledError("ZooKeeper")
        settings = {
            "tickTime": "2000",
            "dataDir": str(self.folder / "data"),
            "clientPort": str(self.port),
            "clientPortAddress": self.host,
            "maxClientCnxns": "0",
            "admin.enableServer": "false",
        }
        config = self.folder / "zoo.cfg"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
        argv = (program("java", "Java"), "-Dzookeeper.jmx.log4j.disable=true", "-cp", str(_JAR), _MAIN, str(config))
        return Command(name=self.name, argv=argv, folder=self.folder, log=self.log)

    async def _probe(self) -> bool:
        # It listens before it serves.
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(b"srvr")
            return b"Mode: " in await reader.read()
        finally:
            writer.close()
