"""Finds a RabbitMQ node that answers: the hosts of a URL in random order, each of their addresses in turn."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from random import SystemRandom
from typing import Any, TypeVar

from lockstore.amqp.address import BrokerAddress
from lockstore.amqp.errors import broker_errors
from lockstore.errors import BrokerLostError
from lockstore.util.timeouts import timeout
from lockstore.util.tls import certificate_fault
from lockstore.util.urls import replace_host, split_hosts

__all__ = ["CONNECT_LIMIT_S", "BrokerHosts", "Endpoint"]

CONNECT_LIMIT_S = 3.0
"""For one address, from the TCP connection to the opened virtual host, by default."""

_PATIENCE_MOST = 3  # times the limit; so that slow brokers are not given up for good
_ADDRESSES_MOST = 32  # of one name
_FAULTS_SHOWN = 8

_random = SystemRandom()
_Opened = TypeVar("_Opened")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of one of the hosts."""

    url: str = field(repr=False)  # with the IP address as host; contains the password
    address: BrokerAddress
    ip: str

    @property
    def tls_name(self) -> dict[str, Any]:
        """The argument for the TLS connection: the certificate is verified for the name, not for its address."""
        return {"server_hostname": self.address.host} if self.url.startswith("amqps://") else {}

    @property
    def key(self) -> tuple[str, int, str]:
        """The identity of the address."""
        return self.address.host, self.address.port, self.ip


class BrokerHosts:
    """The hosts of one broker, and which of their addresses have failed: those are tried after all others."""

    def __init__(
        self,
        url: str,
        limit_s: float = CONNECT_LIMIT_S,
        shuffle: Callable[[list[Any]], None] = _random.shuffle,
    ) -> None:
        """Use a valid URL. `limit_s`: seconds for one address, until the connection is open."""
        self._urls = split_hosts(url)
        self._limit_s = limit_s
        self._shuffle = shuffle
        self._slow_rounds = 0
        self._failed: dict[tuple[str, int, str], None] = {}  # the oldest failure first
        self._known: dict[str, list[Endpoint]] = {}  # by URL; what its host's name stood for when last asked
        self.passed_over: list[str] = []
        """Why the addresses before the one that was taken last were not."""

    @property
    def names(self) -> str:
        """The hosts as the URL names them, without user and password."""
        return ", ".join(BrokerAddress.of(url).host for url in self._urls)

    @property
    def description(self) -> str:
        """Where the URL leads: `host:5672 (vhost /, user guest)`, without a password."""
        each = [BrokerAddress.of(url) for url in self._urls]
        places = ", ".join(address.place for address in each)
        return f"{places} (vhost {each[0].vhost}, user {each[0].user})"

    @property
    def are_several(self) -> bool:
        """Whether the URL names more than one host."""
        return len(self._urls) > 1

    @property
    def has_untried(self) -> bool:
        """Whether an address is left that has not failed since the last steady connection."""
        each = [self._known.get(url) for url in self._urls]
        return any(known is None or any(endpoint.key not in self._failed for endpoint in known) for known in each)

    def mark_failed(self, endpoint: Endpoint) -> None:
        """Try this address after all others: it could not be reached, or what was begun there came to nothing."""
        self._failed.pop(endpoint.key, None)
        self._failed[endpoint.key] = None

    def forget_failures(self) -> None:
        """Begin anew: a connection has lasted."""
        self._failed.clear()

    async def connect(self, open_one: Callable[[Endpoint], Awaitable[_Opened]]) -> _Opened:
        """Try one address after the other. Raises BrokerLostError with the reasons of all if none can be opened.

        The limit holds for each address; there is none for all, so that the last one has its turn too.
        """
        faults: list[BrokerLostError] = []
        limit_s = self._limit_s * min(1 + self._slow_rounds, _PATIENCE_MOST)
        async with aclosing(self._walk(faults, limit_s)) as endpoints:
            async for endpoint in endpoints:
                try:
                    with broker_errors(endpoint.address):
                        async with timeout(limit_s):
                            opened = await open_one(endpoint)
                except BrokerLostError as error:
                    self.mark_failed(endpoint)
                    faults.append(error)
                else:
                    self._slow_rounds = 0
                    self.passed_over = _sentences(faults)
                    return opened
        self._slow_rounds += any(isinstance(fault.__cause__, TimeoutError) for fault in faults)
        raise _sum_up(faults)

    async def try_each(self, open_one: Callable[[Endpoint], Awaitable[None]]) -> dict[str, BrokerLostError | None]:
        """Try every address, all at once, and give by place what went wrong there; None: nothing."""
        faults: list[BrokerLostError] = []
        endpoints = [endpoint async for endpoint in self._walk(faults, self._limit_s)]

        async def attempt(endpoint: Endpoint) -> BrokerLostError | None:
            try:
                with broker_errors(endpoint.address):
                    async with timeout(self._limit_s):
                        await open_one(endpoint)
            except BrokerLostError as error:
                return error
            return None

        results = await asyncio.gather(*map(attempt, endpoints))
        return {str(fault): fault for fault in faults} | {
            endpoint.address.place: result for endpoint, result in zip(endpoints, results, strict=True)
        }

    async def _walk(self, faults: list[BrokerLostError], limit_s: float) -> AsyncGenerator[Endpoint, None]:
        urls, later = list(self._urls), list[Endpoint]()
        self._shuffle(urls)
        for url in urls:
            try:
                self._known[url] = await _resolve(url, limit_s)
            except BrokerLostError as error:
                self._known[url] = []
                faults.append(error)
            endpoints = list(self._known[url])
            self._shuffle(endpoints)
            later += [endpoint for endpoint in endpoints if endpoint.key in self._failed]
            for endpoint in endpoints:
                if endpoint not in later:
                    yield endpoint
        order = {key: number for number, key in enumerate(self._failed)}
        for endpoint in sorted(later, key=lambda endpoint: order.get(endpoint.key, -1)):
            yield endpoint


async def _resolve(url: str, limit_s: float) -> list[Endpoint]:
    """Find the addresses of a URL's host. Raises BrokerLostError."""
    address = BrokerAddress.of(url)
    loop = asyncio.get_running_loop()
    try:
        with broker_errors(address):
            async with timeout(limit_s):
                found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # what is no name at all: a part of it is empty, or too long
        raise BrokerLostError(f"the host {address.host} is unknown") from error
    except BrokerLostError as error:
        if not isinstance(error.__cause__, TimeoutError):
            raise
        raise BrokerLostError(f"the name of the host {address.host} is not resolved: no answer") from error.__cause__
    ips = list(dict.fromkeys(_ip_of(entry[4]) for entry in found))[:_ADDRESSES_MOST]
    if not ips:
        raise BrokerLostError(f"the host {address.host} has no address")
    return [Endpoint(replace_host(url, ip), replace(address, ip=ip) if len(ips) > 1 else address, ip) for ip in ips]


def _ip_of(socket_address: tuple[Any, ...]) -> str:
    """Return the address as text. A link-local IPv6 address needs its interface."""
    host = str(socket_address[0])
    scope = socket_address[3] if len(socket_address) > 3 else 0  # noqa: PLR2004 - host, port, flow, scope
    return f"{host}%{scope}" if scope and "%" not in host else host


def _sentences(faults: Iterable[BrokerLostError]) -> list[str]:
    return list(dict.fromkeys(map(str, faults)))


def _sum_up(faults: list[BrokerLostError]) -> BrokerLostError:
    """Make one error of all. A certificate counts only if it is at fault everywhere: else another try may be better."""
    said = _sentences(faults)
    if len(said) == 1:
        return faults[0]
    more = f"; and {len(said) - _FAULTS_SHOWN} more" if len(said) > _FAULTS_SHOWN else ""
    error = BrokerLostError(f"no host can be connected to: {'; '.join(said[:_FAULTS_SHOWN])}{more}")
    if all(certificate_fault(fault) is not None for fault in faults):
        error.__cause__ = faults[0]
    return error
