"""A private PostgreSQL."""

import asyncio
import os
import pwd
import signal
import subprocess
from pathlib import Path

from benchmarks.servers.missing import NotInstalledError, program
from harness import Server
from harness.ports import LOOPBACK, free_port
from harness.process import Command

_DEBIANS = Path("/usr/lib/postgresql")
_USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root
_INIT_LIMIT_S = 60


class PostgreSQL(Server):
    """A PostgreSQL server with the settings of a new cluster, except for where it listens and how many may connect.

    Started by root, it runs as another user. Its folder is always its own: that user must be able to reach it.
    """

    start_limit_s = 30.0
    stop_grace_s = 5.0
    host = LOOPBACK

    def __init__(self, *, connections: int = 100, name: str = "postgresql") -> None:
        super().__init__(name)
        self.port = free_port()
        self._connections = connections
        self._user = _unprivileged() if os.geteuid() == 0 else None

    @property
    def conninfo(self) -> str:
        """Its address, as libpq reads it."""
        return f"host={self.host} port={self.port} user=lockstore dbname=postgres"

    async def start(self) -> None:
        """Make its data if there are none, start it, and wait until it takes connections.

        Raises RuntimeError if the data cannot be made, and ProcessFailedError if it does not start.
        """
        if not (self.folder / "data").exists():
            await asyncio.to_thread(self._initialise)
        await super().start()

    async def stop(self) -> int:
        """End it at once, without waiting for its clients to leave."""
        if self.running:
            os.kill(self.pid, signal.SIGINT)
        return await super().stop()

    def _initialise(self) -> None:
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        made = subprocess.run(  # noqa: S603 - no argument comes from outside
            [*self._as_user(), _program("initdb"), "-D", "data", "-U", "lockstore", "-A", "trust", "-E", "UTF8"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_INIT_LIMIT_S,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr or made.stdout}")

    def _command(self) -> Command:
        options = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(self._connections),
        }
        words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        argv = (*self._as_user(), _program("postgres"), "-D", str(self.folder / "data"), *words)
        return Command(name=self.name, argv=argv, folder=self.folder, log=self.log)

    def _as_user(self) -> list[str]:
        if self._user is None:
            return []
        ids = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        # The kernel forgets whose death is to end a process when its user changes.
        return [program("setpriv", "setpriv (util-linux)"), *ids, "--pdeathsig=keep", "--"]

    async def _probe(self) -> bool:
        asking = await asyncio.create_subprocess_exec(
            _program("pg_isready"), "--quiet", "--host", self.host, "--port", str(self.port)
        )
        return await asking.wait() == 0


def _unprivileged() -> pwd.struct_passwd:
    users = {user.pw_name: user for user in pwd.getpwall()}
    return next(users[name] for name in _USERS if name in users)


def _program(name: str) -> str:
    """Find a program of the newest PostgreSQL that Debian has installed: they are not in the PATH."""
    found = sorted(_DEBIANS.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise NotInstalledError("PostgreSQL")
    return str(found[-1])
