"""Releases that could not be sent when they should have been: they go as soon as there is a connection, in order."""

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

OUTBOX_MOST = 10_000  # letters; those beyond are dropped, and their tickets end by themselves
REFUSED_S = 60.0  # for a letter that the broker does not take: the number of partitions may be changing just now


class ReleaseQueue:
    """A bounded queue of letters, and the task that empties it. Letters are safe to send twice."""

    def __init__(self, link: Reconnector, routes: Routes) -> None:
        self._link = link
        self._routes = routes
        self._letters: asyncio.Queue[OutboundMessage] = asyncio.Queue(OUTBOX_MOST)

    def put(self, letter: OutboundMessage) -> None:
        """Keep a letter until it is sent."""
        try:
            self._letters.put_nowait(letter)
        except asyncio.QueueFull:
            extra = {"code": "lock_client.outbox_full", "conversation_id": letter.conversation_id}
            logger.warning(
                "too many releases wait for the broker; %r ends by itself", letter.conversation_id, extra=extra
            )

    async def run(self) -> None:
        """Send what comes in."""
        while True:
            letter = await self._letters.get()
            try:
                await self._send(letter)
            except LockError:
                raise  # the link has ended
            except Exception:  # one letter must not keep the others
                extra = {"code": "lock_client.release_failed", "conversation_id": letter.conversation_id}
                logger.exception("the release of %r failed; it ends by itself", letter.conversation_id, extra=extra)
            finally:
                self._letters.task_done()

    async def emptied(self) -> None:
        """Wait until everything has been sent."""
        await self._letters.join()

    async def _send(self, letter: OutboundMessage) -> None:
        backoff = Backoff(0.05, 1.0)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + REFUSED_S
        addressed = letter
        while loop.time() < give_up_at:
            epoch = await self._link.epoch()
            try:
                await epoch.publish(addressed, self._routes)
            except BrokerLostError:
                await self._link.after(epoch)
            except NotTakenError as error:
                # There may be fewer partitions than we think. The first one always is, and its daemon says how many.
                elsewhere = isinstance(error, NoQueueError) and addressed is letter
                addressed = replace(letter, partition=0) if elsewhere else letter
                await asyncio.sleep(backoff.next_s())
            else:
                return
        extra = {"code": "lock_client.release_dropped", "conversation_id": letter.conversation_id}
        logger.warning(
            "the broker does not take the release of %r; it ends by itself", letter.conversation_id, extra=extra
        )
