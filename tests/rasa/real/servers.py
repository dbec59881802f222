"""Rasa servers in processes of their own, from the environment that scripts/test-rasa prepares."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from harness.ports import LOOPBACK, free_port
from harness.process import Command
from harness.server import Server

_QUIET = {
    "RASA_TELEMETRY_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore",
}


class RasaServer(Server):
    """`rasa run`, with the REST channel and the HTTP API."""

    start_limit_s = 240.0
    stop_grace_s = 60.0

    def __init__(self, python: Path, model: Path, name: str, endpoints: Mapping[str, Any], lifetime_s: int) -> None:
        super().__init__(name)
        self._python, self._model, self._endpoints, self._lifetime_s = python, model, endpoints, lifetime_s
        self._port = free_port()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self._port}"

    def _command(self) -> Command:
        (self.folder / "endpoints.yml").write_text(json.dumps(self._endpoints))
        (self.folder / "credentials.yml").write_text("rest:\n")
        argv = ["run", "--enable-api", "--model", str(self._model), "--interface", LOOPBACK, "--port", str(self._port)]
        argv += ["--endpoints", "endpoints.yml", "--credentials", "credentials.yml"]
        return Command(
            name=self.name,
            argv=(str(self._python), "-m", "rasa", *argv),
            folder=self.folder,
            log=self.log,
            env={**os.environ, **_QUIET, "TICKET_LOCK_LIFETIME": str(self._lifetime_s)},
        )

    async def _probe(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/status") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False
