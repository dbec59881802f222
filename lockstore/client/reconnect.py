"""The client's connection, made again for ever: it comes and goes as epochs, and whoever needs one waits for it here."""

import asyncio
import logging
from typing import Protocol
from urllib.parse import parse_qs, urlsplit, urlunsplit

from aiormq.abc import DeliveredMessage

from lockstore.client.connection import Connection, open_connection
from lockstore.errors import BrokerLostError, ConfigError, LockError
from lockstore.protocol.naming import Names
from lockstore.util.backoff import Backoff

__all__ = ["Reconnector", "Subscriber", "broker_url"]

logger = logging.getLogger(__name__)

CONNECT_LIMIT_S = 15.0
RECONNECT_FIRST_S = 0.05
RECONNECT_MOST_S = 5.0
STEADY_S = 5.0  # a connection that lasted so long was a good one: the next attempts begin with short pauses again

HEARTBEAT_S = 10
"""Unless the URL says otherwise. aiormq's own 60 would notice a dead peer after three minutes, and a lease lasts one."""


class Subscriber(Protocol):
    """Who is told when a connection comes and goes, and what arrives on it. Called in the event loop, never waits."""

    def connected(self) -> None:
        """Take note of a new connection."""

    def disconnected(self) -> None:
        """Take note that it is over: answers to what was sent on it will not come."""

    def handle_reply(self, message: DeliveredMessage) -> None:
        """Take in what arrived on the reply queue."""


def broker_url(url: str) -> str:
    """Give the URL to connect with. Raises ConfigError, which never repeats it: there is a password in it."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is not a number
    except (AttributeError, ValueError):
        raise ConfigError("url: must be an AMQP URL, as amqp://user:password@host:5672/vhost") from None
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise ConfigError("url: must begin with amqp:// or amqps://, and name a host")
    if "heartbeat" in parse_qs(parts.query):
        return url
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, f"heartbeat={HEARTBEAT_S}"]))))


class Reconnector:
    """One connection at a time. `run` it in a task; it ends only when cancelled."""

    def __init__(self, url: str, names: Names, subscriber: Subscriber) -> None:
        self._url = broker_url(url)
        self._names = names
        self._subscriber = subscriber
        self._number = 0
        self._epoch: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_MOST_S)
        self.failure = "no connection yet"
        self.is_closing = False  # set by who ends `run`, so that the others are told the truth

    @property
    def current(self) -> Connection | None:
        """The live connection, if there is one now."""
        alive = self._epoch.done() and not self._epoch.cancelled() and self._epoch.exception() is None
        return self._epoch.result() if alive else None

    async def epoch(self) -> Connection:
        """Give the live connection, or wait for it. Raises LockError when there will be none: the link has ended."""
        # Shielded: many wait for this one future, and one that is cancelled must not take it from the others.
        return await asyncio.shield(self._epoch)

    @staticmethod
    async def after(epoch: Connection) -> None:
        """Wait until a connection that has failed somebody is no longer the current one."""
        epoch.mark_failed()
        await epoch.ended.wait()

    async def run(self) -> None:
        """Connect, again and again."""
        ended_by: Exception = LockError("the client is closed")
        try:
            await self._connect_for_ever()
        except asyncio.CancelledError:
            if not self.is_closing:
                ended_by = LockError("the client's connection task was cancelled from outside")
            raise
        except Exception as error:  # a programming error: no broker is at fault, and whoever waits gets it as it is
            logger.exception("an error in the client itself", extra={"code": "lock_client.failed"})
            ended_by = error
            raise
        finally:
            if self._epoch.done():
                self._epoch = asyncio.get_running_loop().create_future()
            self._epoch.set_exception(ended_by)
            self._epoch.exception()  # nobody may be waiting for it, which is no mistake

    async def _connect_for_ever(self) -> None:
        while not self.is_closing:
            try:
                await self._live()
            except BrokerLostError as error:
                self.failure = f"the broker cannot be reached: {error}"
                extra = {"code": "lock_client.broker_unreachable", "reason": str(error)}
                logger.warning("the broker cannot be reached, trying again: %s", error, extra=extra)
            else:
                self.failure = "the connection to the broker was lost"
                extra = {"code": "lock_client.connection_lost"}
                logger.warning("the connection to the broker was lost, connecting again", extra=extra)
            await asyncio.sleep(self._backoff.next_s())

    async def _live(self) -> None:
        self._number += 1
        async with open_connection(
            self._number, self._url, self._names, self._subscriber.handle_reply, CONNECT_LIMIT_S
        ) as epoch:
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            self._epoch.set_result(epoch)
            self._subscriber.connected()
            try:
                await epoch.over()
            finally:
                self._epoch = loop.create_future()
                epoch.ended.set()
                self._subscriber.disconnected()
                if loop.time() - began_at > STEADY_S:
                    self._backoff.reset()
