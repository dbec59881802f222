"""A private RabbitMQ node, and an epmd of its own."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiormq

from harness.ports import LOOPBACK, free_port, is_listening
from harness.process import Command, Process
from harness.server import Server

# Debian's scripts without the wrapper of /usr/sbin, which insists on root and the user rabbitmq.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")

EPMD_START_LIMIT_S = 10.0
EPMD_GRACE_S = 2.0
CTL_LIMIT_S = 110.0

# Without busy waiting an idle node leaves the processor to what is tested.
_ERLANG_FLAGS = (
    "+sbwt none +sbwtdcpu none +sbwtdio none"
    " -kernel inet_dist_use_interface {127,0,0,1} -kernel inet_dist_listen_min {dist} -kernel inet_dist_listen_max {dist}"
)


@dataclass(frozen=True, slots=True)
class Membership:
    """What the nodes of one cluster share."""

    cookie: str
    epmd_port: int


class RabbitMQ(Server):
    """A RabbitMQ node with no plugins, no heartbeat settings of its own, and its data in its folder.

    `config` are further lines of rabbitmq.conf, stronger than those here. Its epmd, which Erlang would otherwise start for the
    whole machine and leave behind, is a child too; it lives from the first `start` to `close`.
    """

    start_limit_s = 90.0
    host = LOOPBACK

    def __init__(
        self,
        config: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
        name: str = "rabbitmq",
        cluster: Membership | None = None,
    ) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self.node = f"lockstore-{self.port}@localhost"
        self._config = dict(config or {})
        self._dist_port = free_port()
        self._cluster = cluster
        self._epmd_port = free_port() if cluster is None else cluster.epmd_port
        self._epmd: Process | None = None

    @property
    def url(self) -> str:
        """Its address for AMQP clients, with the user that every new node has."""
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    async def start(self) -> None:
        """Start the node, on the data that are there, and wait until it takes AMQP connections.

        Raises ProcessFailedError, with the tail of its log, if it does not get there.
        """
        if self._cluster is not None:
            self._write_cookie(self._cluster.cookie)
        if not is_listening(self._epmd_port) and (self._epmd is None or not self._epmd.running):
            self._epmd = Process(self._epmd_command())
            await self._epmd.become_ready(self._epmd_answers, EPMD_START_LIMIT_S)
        await super().start()

    async def close(self) -> None:
        """End the node and its epmd and remove its temporary folder; may be called again."""
        try:
            await super().close()
        finally:
            if self._epmd is not None:
                await self._epmd.stop(EPMD_GRACE_S)

    async def join(self, other: "RabbitMQ") -> None:
        """Join another node's cluster. This node must be running, and loses what it has."""
        await self.ctl("stop_app")
        await self.ctl("join_cluster", other.node)
        await self.ctl("start_app")

    async def ctl(self, *argv: str, tool: str = "rabbitmqctl") -> str:
        """Run `rabbitmqctl`, or another tool such as `rabbitmq-diagnostics`, on this node and give what it prints.

        Takes one to two seconds, most of it Erlang's start. Raises CalledProcessError with its output if it fails.
        """
        return await asyncio.to_thread(self._ctl, str(SCRIPTS / tool), *argv)

    def _ctl(self, program: str, *argv: str) -> str:
        return subprocess.run(
            [program, "--quiet", "--node", self.node, *argv],
            cwd=self.folder,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=CTL_LIMIT_S,
            check=True,
        ).stdout

    def _command(self) -> Command:
        server = SCRIPTS / "rabbitmq-server"
        if not server.exists():
            raise RuntimeError("rabbitmq-server is not installed; run: make setup")
        (self.folder / "rabbitmq.conf").write_text(
            "".join(f"{key} = {value}\n" for key, value in (self._defaults() | self._config).items())
        )
        (self.folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
        (self.folder / "advanced.config").write_text("[].\n", encoding="utf-8")
        return Command(name=self.name, argv=(str(server),), folder=self.folder, log=self.log, env=self._env())

    def _write_cookie(self, cookie: str) -> None:
        file = self.folder / ".erlang.cookie"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(cookie, encoding="ascii")

    def _defaults(self) -> dict[str, str]:
        return {
            "listeners.tcp.1": f"{self.host}:{self.port}",
            "disk_free_limit.absolute": "50MB",
            "raft.wal_max_size_bytes": "67108864",  # quorum queues keep up to this much in memory; RabbitMQ's default is 512 MB
            "log.file": "false",
            "log.console": "true",
            "log.console.level": "info",
            "log.console.use_colors": "off",
        }

    def _env(self) -> dict[str, str]:
        # Nothing of another node's settings gets in: neither from this environment nor from /etc/rabbitmq.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        inherited.pop("NOTIFY_SOCKET", None)
        folder = self.folder
        return inherited | {
            "HOME": str(folder),  # for its own .erlang.cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_FLAGS.replace("{dist}", str(self._dist_port)),
            # The script becomes the node instead of its parent: then our signals, and our death, reach the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    async def _probe(self) -> bool:
        if not is_listening(self.port):
            return False
        try:
            connection = await aiormq.connect(self.url)
        except aiormq.AMQPError:
            return False
        await connection.close()
        return True

    def _epmd_command(self) -> Command:
        program = shutil.which("epmd")
        if program is None:
            raise RuntimeError("Erlang's epmd is not installed; run: make setup")
        argv = (program, "-port", str(self._epmd_port), "-address", LOOPBACK)
        return Command(name="epmd", argv=argv, folder=self.folder, log=self.folder / "epmd.log", env=self._env())

    async def _epmd_answers(self) -> bool:
        return is_listening(self._epmd_port)
