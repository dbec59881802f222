"""Listening for a while to what daemons say, on behalf of somebody who is not one."""

import asyncio
from typing import TYPE_CHECKING

from daemon.broker.connection import opened, raw
from daemon.cluster.heartbeat import Presence, Said
from lockstore.protocol.naming import Names

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["LISTEN_S", "heard"]

LISTEN_S = 2.5  # every daemon says something about every second


async def heard(connection: "AbstractConnection", names: Names, for_s: float = LISTEN_S) -> list[Said]:
    """Listen, and give the daemons that were heard, each with its last word. Raises one of `link.LOST`."""
    found: dict[str, Said] = {}
    channel = await raw(await opened(connection, publisher_confirms=False))
    presence = Presence(channel, names, lambda word: found.update({word.daemon: word}))
    await presence.open()
    await asyncio.sleep(for_s)
    await channel.close()
    return sorted((word for word in found.values() if not word.leaving), key=lambda word: (word.host, word.pid))
