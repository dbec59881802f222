"""A private Prometheus that scrapes daemons."""

import asyncio
import json
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from harness.ports import LOOPBACK, free_port
from harness.process import Command
from harness.server import Server

ANSWER_LIMIT_S = 10.0


class Prometheus(Server):
    """Prometheus on a port and in a folder of its own, which scrapes its targets as the job `lockstore`.

    `targets` are `host:port`, `rules` files of alert rules. It scrapes and evaluates every `interval_s` seconds.
    """

    host = LOOPBACK

    def __init__(
        self,
        targets: Sequence[str],
        *,
        rules: Sequence[Path] = (),
        interval_s: int = 1,
        folder: Path | None = None,
        name: str = "prometheus",
    ) -> None:
        super().__init__(name, folder)
        self.port = free_port()
        self._targets = list(targets)
        self._rules = [str(path.resolve()) for path in rules]
        self._interval_s = interval_s

    async def ask(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Ask its HTTP API, below /api/v1/, and give the data of the answer. Raises OSError, also where it refuses."""
        return await asyncio.to_thread(self._ask, path, query or {})

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now, and give what it finds: labels and value of each series."""
        found: list[dict[str, Any]] = (await self.ask("query", {"query": expression}))["result"]
        return found

    def _ask(self, path: str, query: Mapping[str, str]) -> Any:
        url = f"http://{self.host}:{self.port}/api/v1/{path}?{urlencode(query)}"
        with urllib.request.urlopen(url, timeout=ANSWER_LIMIT_S) as answer:
            return json.load(answer)["data"]

    def _command(self) -> Command:
        program = shutil.which("prometheus")
        if program is None:
            raise RuntimeError("prometheus is not installed; run: scripts/setup test")
        config = self.folder / "prometheus.yml"
        settings = {
            "global": {"scrape_interval": f"{self._interval_s}s", "evaluation_interval": f"{self._interval_s}s"},
            "rule_files": self._rules,
            "scrape_configs": [{"job_name": "lockstore", "static_configs": [{"targets": self._targets}]}],
        }
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        argv = (
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.host}:{self.port}",
            "--log.level=warn",
        )
        return Command(name=self.name, argv=argv, folder=self.folder, log=self.log)

    async def _probe(self) -> bool:
        return await asyncio.to_thread(self._is_ready)

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/-/ready", timeout=1):
            return True  # any other answer is an error
