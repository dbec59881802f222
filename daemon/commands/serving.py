"""What `lockstore serve` does: runs a daemon until a signal stops it."""

import asyncio
import os
import signal
from pathlib import Path

import structlog
import uvloop

from daemon import logs, settings
from daemon.commands.ends import BAD_CONFIGURATION, DONE
from daemon.commands.options import LogLevel
from daemon.link import innermost
from daemon.service import Service
from lockstore.errors import ConfigError
from lockstore.factory import create_store

__all__ = ["run", "serve"]


def serve(config: Path | None, log_level: LogLevel) -> int:
    """Serve, and give the exit code. What is wrong with the configuration is logged as all else is."""
    logs.set_up(log_level)
    try:
        loaded = settings.load(config)
        service = Service(loaded, create_store(loaded.lock_store, loaded.daemon.limits, os.environ))
        uvloop.run(run(service))
    except ConfigError as error:
        structlog.get_logger().error("daemon.refused", error=str(error))
        return BAD_CONFIGURATION
    return DONE


async def run(service: Service) -> None:
    """Run a service until the process is told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await service.run(stop)
    except* ConfigError as group:
        raise innermost(group) from None
