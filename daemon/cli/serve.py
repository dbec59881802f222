"""What `lockstore serve` does: runs a daemon until a signal stops it. Another one has it read its configuration again."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import structlog
import uvloop

from daemon.broker.connection import innermost
from daemon.cli.exit_codes import BAD_CONFIGURATION, OK
from daemon.cli.options import LogLevel
from daemon.cli.stop_limit import BEYOND_S, StopLimit
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from daemon.service import Service
from daemon.tracing.start import spans_of
from lockstore.errors import ConfigError
from lockstore.factory import create_store

__all__ = ["run", "serve"]


def serve(config: Path | None, log_level: LogLevel) -> int:
    """Serve, and give the exit code. What is wrong with the configuration is logged as all else is."""
    logs.set_up(log_level)
    try:
        loaded = settings.load(config)
        store = create_store(loaded.lock_store, loaded.daemon.limits, os.environ)
        service = Service(loaded, store, reread=lambda: settings.load(config))
        with _traced(service, loaded) if loaded.daemon.tracing else nullcontext():
            uvloop.run(run(service))
    except ConfigError as error:
        structlog.get_logger().error("daemon.refused", error=str(error))
        return BAD_CONFIGURATION
    return OK


@contextmanager
def _traced(service: Service, loaded: settings.Settings) -> Iterator[None]:
    """Have spans made of what is served, and sent until the end."""
    with spans_of(loaded.broker.names) as observer:
        service.observe(observer)
        yield


async def run(service: Service) -> None:
    """Run a service until the process is told to stop; SIGHUP has it read its configuration again."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_stop() -> None:
        loop.call_soon_threadsafe(stop.set)

    limit = StopLimit(lambda: service.stop_timeout_s + BEYOND_S, service.describe_left, begin_stop)
    limit.install()
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    try:
        await service.run(stop)
    except* ConfigError as group:
        raise innermost(group) from None
