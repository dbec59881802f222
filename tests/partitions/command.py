"""`lockstore repartition`, run as its users run it."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LIMIT_S = 60.0


@dataclass(frozen=True)
class Ran:
    """How it ended, and what it said."""

    exit_code: int
    said: str
    error: str

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.said)
        return found


def with_partitions(config: dict[str, Any], partitions: int) -> dict[str, Any]:
    return config | {"broker": config["broker"] | {"partitions": partitions}}


async def repartition(
    config: dict[str, Any], folder: Path, *argv: str, program: tuple[str, ...] = ("-m", "daemon", "repartition")
) -> Ran:
    """Run it to its end."""
    file = folder / "repartition.yml"
    file.write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        "--config",
        str(file),
        *argv,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            said, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, said.decode(), error.decode())
