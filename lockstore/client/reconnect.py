"""Keeps the client connected: reconnects forever, and provides the current connection to those who wait for it."""

import asyncio
import logging
from math import inf
from typing import Protocol
from urllib.parse import parse_qs

from aiormq.abc import DeliveredMessage

from lockstore.amqp.hosts import CONNECT_LIMIT_S, BrokerHosts
from lockstore.client.cleanup import run_to_end
from lockstore.client.connection import Connection, open_connection
from lockstore.client.waiting_line import WaitingLine
from lockstore.errors import BrokerLostError, ConfigError, LockError
from lockstore.protocol.naming import Names
from lockstore.util.backoff import Backoff
from lockstore.util.urls import CLIENT_PARAMETERS, check_amqp_url

__all__ = ["Reconnector", "Subscriber", "broker_hosts"]

logger = logging.getLogger(__name__)

RECONNECT_FIRST_S = 0.05
RECONNECT_MOST_S = 5.0
STEADY_S = 5.0  # a connection that lasted this long was stable: the backoff starts again

HEARTBEAT_S = 10
"""Default heartbeat. aiormq's default of 60 would detect a dead peer after three minutes, but a lease lasts one."""


class Subscriber(Protocol):
    """Receives connection changes and replies. Called in the event loop; must not block."""

    def connected(self) -> None:
        """Handle a new connection."""

    def disconnected(self) -> None:
        """Handle the loss of the connection: answers to what was sent on it will not arrive."""

    async def give_all_back(self) -> None:
        """Give everything back before the client ends: its tasks were cancelled from outside."""

    def handle_reply(self, message: DeliveredMessage) -> None:
        """Handle a message from the reply queue."""


def broker_hosts(url: str, connect_limit_s: float = CONNECT_LIMIT_S) -> BrokerHosts:
    """Return the hosts to connect to. Raises ConfigError, without repeating the URL, which contains a password."""
    if not isinstance(url, str):
        raise ConfigError("url: must be a text, as amqp://user:password@host:5672/vhost")
    try:
        check_amqp_url(url, CLIENT_PARAMETERS)
    except ValueError as error:
        raise ConfigError(f"url: {error}") from None
    if not 0 < connect_limit_s < inf:
        raise ConfigError("connect_timeout: must be more than 0, and finite")
    _, has_parameters, query = url.partition("?")
    if "heartbeat" not in parse_qs(query):
        url = f"{url}{'&' if has_parameters else '?'}heartbeat={HEARTBEAT_S}"
    return BrokerHosts(url, connect_limit_s)


class Reconnector:
    """Maintains one connection at a time. Run `run` in a task; it ends only when cancelled."""

    def __init__(self, hosts: BrokerHosts, names: Names, subscriber: Subscriber) -> None:
        self._hosts = hosts
        self._has_said_unseen = False
        self._names = names
        self._subscriber = subscriber
        self._number = 0
        self._connection: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._line = WaitingLine()
        self._backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_MOST_S)
        self.failure = "no connection yet"
        self.is_closing = False  # set before `run` is cancelled, so that waiting callers get the right error

    @property
    def current(self) -> Connection | None:
        """The live connection, None if there is none."""
        alive = self._connection.done() and not self._connection.cancelled() and self._connection.exception() is None
        return self._connection.result() if alive else None

    async def wait_connected(self, place: float = 0.0) -> Connection:
        """Return the live connection, waiting for one if necessary. Raises LockError if the client was closed.

        Those who wait go on in the order of their places, the lowest first, and nobody who comes later overtakes them.
        """
        if self._line.is_taken or not self._connection.done():
            await self._line.wait(place)
            while not self._connection.done():  # lost again in between
                await self._line.wait(place)
        return self._connection.result()

    @staticmethod
    async def wait_replaced(connection: Connection) -> None:
        """Wait until a failed connection has been replaced or dropped."""
        connection.mark_failed()
        await connection.ended.wait()

    async def run(self) -> None:
        """Connect, again and again."""
        ended_by: Exception = LockError("the client is closed")
        try:
            await self._connect_for_ever()
        except asyncio.CancelledError:
            if not self.is_closing:
                ended_by = LockError("the client's connection task was cancelled from outside")
                await run_to_end(self._connect_to_give_back())
            raise
        except Exception as error:  # a programming error, passed on unchanged to all callers
            logger.exception("an error in the client itself", extra={"code": "lock_client.failed"})
            ended_by = error
            raise
        finally:
            if self._connection.done():
                self._connection = asyncio.get_running_loop().create_future()
            self._connection.set_exception(ended_by)
            self._connection.exception()  # retrieved, since perhaps no caller awaits it
            self._line.open()

    async def _connect_to_give_back(self) -> None:
        """Connect once more, until everything is given back.

        Whoever cancels every task of the event loop, as `asyncio.run` does at its end, also cancels those of the connection.
        Tasks that begin afterwards are not cancelled.
        """
        connecting = asyncio.create_task(self._connect_for_ever(), name="lockstore reconnector, at the end")
        try:
            await self._subscriber.give_all_back()
        finally:
            connecting.cancel()
            await asyncio.wait({connecting})

    async def _connect_for_ever(self) -> None:
        while not self.is_closing:
            try:
                node = await self._live()
            except BrokerLostError as error:
                node, self.failure = None, f"the broker cannot be reached: {error}"
            else:
                self.failure = f"the connection to the broker was lost: {node}"
            # Try another host immediately; once all have failed, pause.
            pause_s = 0 if self._hosts.has_untried else self._backoff.next_s()
            self._say_failed(node, pause_s)
            await asyncio.sleep(pause_s)

    async def _live(self) -> str:
        """Connect, wait for the end of the connection, and return its node."""
        self._number += 1
        async with open_connection(self._number, self._hosts, self._names, self._subscriber.handle_reply) as connection:
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            self._connection.set_result(connection)
            self._line.open()
            self._say_connected(connection.node, connection.unseen)
            self._subscriber.connected()
            try:
                await connection.over()
            finally:
                self._connection = loop.create_future()
                self._line.close()
                connection.ended.set()
                self._subscriber.disconnected()
                if loop.time() - began_at > STEADY_S:
                    self._backoff.reset()
                    self._hosts.forget_failures()
        return connection.node

    def _say_failed(self, node: str | None, pause_s: float) -> None:
        """Log why there is no connection. `node`: the one to which it was lost."""
        next_try = f"next try in {pause_s:.1f} s"
        if node is None:
            reason = self.failure.partition(": ")[2]
            extra = {"code": "lock_client.broker_unreachable", "reason": reason}
            logger.warning("cannot connect to %s: %s; %s", self._hosts.description, reason, next_try, extra=extra)
        else:
            extra = {"code": "lock_client.connection_lost", "node": node}
            logger.warning("the connection to %s was lost; %s", node, next_try, extra=extra)

    def _say_connected(self, node: str, unseen: str | None) -> None:
        others = self._hosts.passed_over
        extra = {"code": "lock_client.connected", "node": node, "passed_over": others}
        logger.info(
            "connected to the broker: %s%s", node, f", after: {'; '.join(others)}" if others else "", extra=extra
        )
        if unseen is not None and not self._has_said_unseen:
            self._has_said_unseen = True
            extra = {"code": "lock_client.exchange_unseen", "reason": unseen}
            logger.info("whether %s exists cannot be checked: %s", self._names.requests, unseen, extra=extra)
