"""Releases that could not be sent immediately: they are sent in order as soon as there is a connection."""

import asyncio
import logging
from dataclasses import replace

from lockstore.client.connection import NoQueueError, NotTakenError
from lockstore.client.outbound import OutboundMessage, Routes
from lockstore.client.reconnect import Reconnector
from lockstore.errors import BrokerLostError, LockError
from lockstore.util.backoff import Backoff

__all__ = ["ReleaseQueue"]

logger = logging.getLogger(__name__)

RELEASES_MOST = 10_000  # messages; further ones are dropped, and their leases expire
REFUSED_S = 60.0  # how long to retry a message that the broker rejects: the number of partitions may be changing


class ReleaseQueue:
    """A bounded queue of releases, and the task that sends them. Releases are safe to repeat."""

    def __init__(self, reconnector: Reconnector, routes: Routes) -> None:
        self._reconnector = reconnector
        self._routes = routes
        self._queue: asyncio.Queue[OutboundMessage] = asyncio.Queue(RELEASES_MOST)

    def put(self, outbound: OutboundMessage) -> None:
        """Queue a message until it is sent."""
        try:
            self._queue.put_nowait(outbound)
        except asyncio.QueueFull:
            extra = {"code": "lock_client.outbox_full", "conversation_id": outbound.conversation_id}
            logger.warning(
                "too many releases are waiting for the broker; the lease of %r will expire",
                outbound.conversation_id,
                extra=extra,
            )

    async def run(self) -> None:
        """Send queued messages."""
        while True:
            outbound = await self._queue.get()
            try:
                await self._send(outbound)
            except asyncio.CancelledError:
                self.put(outbound)  # still to be sent, by another task
                raise
            except LockError:
                raise  # the client was closed
            except Exception:  # one message must not block the others
                extra = {"code": "lock_client.release_failed", "conversation_id": outbound.conversation_id}
                logger.exception(
                    "the release of %r failed; its lease will expire", outbound.conversation_id, extra=extra
                )
            finally:
                self._queue.task_done()

    async def emptied(self) -> None:
        """Wait until everything has been sent."""
        await self._queue.join()

    async def _send(self, outbound: OutboundMessage) -> None:
        backoff = Backoff(0.05, 1.0)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + REFUSED_S
        addressed = outbound
        while loop.time() < give_up_at:
            connection = await self._reconnector.wait_connected()
            try:
                await connection.publish(addressed, self._routes)
            except BrokerLostError:
                await self._reconnector.wait_replaced(connection)
            except NotTakenError as error:
                # There may be fewer partitions than configured. The first one always exists, and its daemon reports their
                # number.
                elsewhere = isinstance(error, NoQueueError) and addressed is outbound
                addressed = replace(outbound, partition=0) if elsewhere else outbound
                await asyncio.sleep(backoff.next_s())
            else:
                return
        extra = {"code": "lock_client.release_dropped", "conversation_id": outbound.conversation_id}
        logger.warning(
            "the broker rejects the release of %r; its lease will expire", outbound.conversation_id, extra=extra
        )
