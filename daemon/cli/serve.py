"""`lockstore serve`: runs a daemon until a signal stops it; SIGHUP reloads its configuration."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import structlog
import uvloop

from daemon.broker.connection import innermost
from daemon.cli.exit_codes import BAD_CONFIGURATION, OK
from daemon.cli.options import LogLevel
from daemon.cli.stop_limit import BEYOND_S, StopLimit
from daemon.config import settings
from daemon.config.location import with_location
from daemon.monitoring import log_setup as logs
from daemon.service import Service
from daemon.tracing.start import spans_of
from lockstore.errors import ConfigError
from lockstore.factory import create_store

__all__ = ["run", "serve"]


def serve(config: Path | None, log_level: LogLevel) -> int:
    """Serve, and return the exit code. Configuration errors are logged like everything else."""
    _end_when_told()
    logs.set_up(log_level)
    logs.redirect_stderr()
    try:
        loaded = settings.load(config)
        store = create_store(loaded.lock_store, loaded.daemon.limits, os.environ)
        service = Service(loaded, store, reread=lambda: settings.load(config))
        with _traced(service, loaded) if loaded.daemon.tracing else nullcontext():
            uvloop.run(run(service))
    except ConfigError as error:
        structlog.get_logger().error("daemon.refused", error=with_location(str(error), config))
        return BAD_CONFIGURATION
    return OK


def _end_when_told() -> None:
    """Let a signal end the process immediately until `run` installs its own handlers."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(OK)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


@contextmanager
def _traced(service: Service, loaded: settings.Settings) -> Iterator[None]:
    """Create spans of served batches, and send them until the end."""
    with spans_of(loaded.broker.names) as observer:
        service.observe(observer)
        yield


async def run(service: Service) -> None:
    """Run a service until the process receives SIGTERM or SIGINT; SIGHUP reloads the configuration, unless nohup ignores it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_stop() -> None:
        loop.call_soon_threadsafe(stop.set)

    limit = StopLimit(lambda: service.stop_timeout_s + BEYOND_S, service.describe_left, begin_stop)
    limit.install()
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, service.reload)
    try:
        await service.run(stop)
    except* ConfigError as group:
        raise innermost(group) from None
