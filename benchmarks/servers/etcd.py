"""A private etcd."""

from pathlib import Path

from benchmarks.servers.missing import program
from harness import Server
from harness.ports import LOOPBACK, free_port, is_listening
from harness.process import Command


class Etcd(Server):
    """A cluster of one etcd, with its default settings except for where it listens."""

    start_limit_s = 30.0
    stop_grace_s = 5.0
    host = LOOPBACK

    def __init__(self, *, folder: Path | None = None, name: str = "etcd") -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self._peer_port = free_port()

    @property
    def address(self) -> str:
        """Its address, as gRPC reads it."""
        return f"{self.host}:{self.port}"

    def _command(self) -> Command:
        ours, peers = f"http://{self.host}:{self.port}", f"http://{self.host}:{self._peer_port}"
        options = {
            "name": "bench",
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": ours,
            "advertise-client-urls": ours,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"bench={peers}",
        }
        argv = (program("etcd", "etcd"), *(f"--{key}={value}" for key, value in options.items()))
        return Command(name=self.name, argv=argv, folder=self.folder, log=self.log)

    async def _probe(self) -> bool:
        return is_listening(self.port)
