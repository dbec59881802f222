"""Collects heartbeats for a while, for commands that are not daemons themselves."""

import asyncio
from typing import TYPE_CHECKING

from daemon.broker.connection import open_channel, underlying_channel
from daemon.cluster.heartbeat import Heartbeat, HeartbeatChannel
from lockstore.protocol.naming import Names

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["LISTEN_S", "collect_heartbeats"]

LISTEN_S = 2.5  # every daemon sends a heartbeat about every second


async def collect_heartbeats(
    connection: "AbstractConnection", names: Names, for_s: float = LISTEN_S
) -> list[Heartbeat]:
    """Return the last heartbeat of each daemon. Raises one of CONNECTION_ERRORS."""
    found: dict[str, Heartbeat] = {}
    channel = await underlying_channel(await open_channel(connection, publisher_confirms=False))
    presence = HeartbeatChannel(channel, names, lambda word: found.update({word.daemon: word}))
    await presence.open()
    await asyncio.sleep(for_s)
    await channel.close()
    return sorted((word for word in found.values() if not word.leaving), key=lambda word: (word.host, word.pid))
