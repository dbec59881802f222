"""A lockstore daemon in a process of its own."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.process import Command
from harness.server import Server

READY_EVENT = "daemon.ready"
DEBUG = ("--log-level", "debug")
"""Arguments of a daemon whose log is to tell of each batch."""
LISTENING_EVENT = "http.listening"

_OF_A_SERVICE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_CHECKOUT = Path(__file__).resolve().parents[1]


class DaemonProcess(Server):
    """`python -m daemon serve --config FILE`, ready when its log says so.

    `config` becomes the YAML file; change the attribute before a `restart` to start with another. `argv` goes after it.
    `daemon.http` is null where the configuration does not name it: daemons side by side must not want one port. With
    `127.0.0.1:0` it takes a free one, which `http_url` tells.
    `env` is added to this process's environment. `module` is what to run instead of `daemon`: it is given the same arguments and
    must write the same line when it is ready.
    """

    start_limit_s = 30.0

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        module: str = "daemon",
        folder: Path | None = None,
        name: str = "daemon",
    ) -> None:
        super().__init__(name, folder)
        self.config = dict(config)
        self._argv = tuple(argv)
        self._env = dict(env or {})
        self._module = module

    @property
    def config_file(self) -> Path:
        """The file that the daemon is given."""
        return self.folder / "endpoints.yml"

    def log_lines(self) -> list[dict[str, Any]]:
        """Read what all runs have logged; lines that are not JSON objects, such as a traceback's, are left out."""
        return list(_json_objects(self.log.read_text(encoding="utf-8", errors="replace"))) if self.log.exists() else []

    def events(self, name: str) -> list[dict[str, Any]]:
        """Read the log lines of one event."""
        return [line for line in self.log_lines() if line.get("event") == name]

    @property
    def http_url(self) -> str:
        """Where the current run, or the last one, listens for HTTP: `http://host:port/`."""
        return str(self.events(LISTENING_EVENT)[-1]["url"])

    def _command(self) -> Command:
        self.config_file.write_text(json.dumps(without_http(self.config), ensure_ascii=False))
        # Works in a checkout where nothing is installed, and finds custom lock stores that the tests bring.
        path = os.pathsep.join(filter(None, [str(_CHECKOUT), os.environ.get("PYTHONPATH")]))
        # Who started us may itself be a service; these are words between it and its manager.
        inherited = {name: value for name, value in os.environ.items() if name not in _OF_A_SERVICE}
        return Command(
            name=self.name,
            argv=(
                os.environ.get("LOCKSTORE_DAEMON_PYTHON", sys.executable),
                "-m",
                self._module,
                "serve",
                "--config",
                str(self.config_file),
                *self._argv,
            ),
            folder=self.folder,
            log=self.log,
            env={**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **self._env},
        )

    async def _probe(self) -> bool:
        return any(line.get("event") == READY_EVENT for line in _json_objects(self.process.output()))


def without_http(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration whose daemon listens nowhere, unless it says where."""
    section = config.get("daemon")
    if section is not None and not isinstance(section, Mapping):
        return dict(config)  # a mistake that is made on purpose
    return {**config, "daemon": {"http": None, **(section or {})}}


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue  # half a line: it is being written
