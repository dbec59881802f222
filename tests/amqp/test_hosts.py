"""The walk through hosts and their addresses: no server is needed to see in which order it goes, and what it says."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from lockstore.amqp.hosts import BrokerHosts, Endpoint
from lockstore.errors import BrokerLostError
from lockstore.util.tls import certificate_fault

Resolve = Callable[[dict[str, list[str]]], None]


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Let names stand for addresses, as a resolver would; at once, for a thread may be late on a busy machine."""

    def use(names: dict[str, list[str]]) -> None:
        async def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            if host not in names:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, port, 0, 0))
                if ":" in ip
                else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
                for ip in names[host]
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    return use


class Nodes:
    """Some refuse, some are silent, the others let one in. `tried` are the places, in order."""

    def __init__(self, *, refusing: set[str] = frozenset(), silent: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.refusing, self.silent = refusing, silent
        self.tried: list[str] = []
        self.endpoints: list[Endpoint] = []

    async def open(self, endpoint: Endpoint) -> str:
        self.tried.append(endpoint.ip)
        self.endpoints.append(endpoint)
        if endpoint.ip in self.refusing:
            raise ConnectionRefusedError
        if endpoint.ip in self.silent:
            await asyncio.Event().wait()
        return endpoint.ip


def left(hosts: BrokerHosts) -> bool:
    """Tell whether an address is left to be tried at once, afresh at each call."""
    return hosts.has_untried


def as_given(_: list[Any]) -> None:
    """Shuffle nothing."""


THREE = {"a": ["10.0.0.1"], "b": ["10.0.0.2"], "c": ["10.0.0.3"]}
URL = "amqp://u:secret@a,b:1234,c/vh"


async def test_hosts_that_refuse_or_are_silent_are_passed_over_and_said_to_have_been(resolver: Resolve) -> None:
    resolver(THREE)
    nodes = Nodes(refusing={"10.0.0.1"}, silent={"10.0.0.2"})
    hosts = BrokerHosts(URL, 0.05, as_given)
    assert await hosts.connect(nodes.open) == "10.0.0.3"
    assert nodes.tried == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert [endpoint.url for endpoint in nodes.endpoints] == [
        "amqp://u:secret@10.0.0.1/vh",
        "amqp://u:secret@10.0.0.2:1234/vh",
        "amqp://u:secret@10.0.0.3/vh",
    ]
    refused, silent = hosts.passed_over
    assert "nothing listens at a:5672" in refused
    assert "no answer from b:1234" in silent


async def test_hosts_and_addresses_are_taken_in_random_order(resolver: Resolve) -> None:
    resolver(THREE | {"many": ["10.1.0.1", "10.1.0.2", "10.1.0.3"]})
    for url in (URL, "amqp://many/"):
        assert len({await BrokerHosts(url).connect(Nodes().open) for _ in range(100)}) == 3


async def test_the_next_walk_does_not_begin_at_an_address_that_has_failed(resolver: Resolve) -> None:
    resolver({"many": ["10.0.0.1", "10.0.0.2", "::1"]})
    hosts, nodes = BrokerHosts("amqp://many/", 0.05, as_given), Nodes(silent={"10.0.0.1"})
    for _ in range(2):
        assert await hosts.connect(nodes.open) == "10.0.0.2"
    assert nodes.tried == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]
    hosts.mark_failed(nodes.endpoints[-1])  # the connection was lost
    assert left(hosts)
    assert await hosts.connect(nodes.open) == "::1"
    hosts.mark_failed(nodes.endpoints[-1])
    assert not left(hosts)
    nodes.tried.clear()
    assert await hosts.connect(nodes.open) == "10.0.0.2"
    assert nodes.tried == ["10.0.0.1", "10.0.0.2"]  # the one whose failure is longest ago
    hosts.forget_failures()
    assert left(hosts)


async def test_each_address_of_a_name_is_tried_and_named(resolver: Resolve) -> None:
    resolver({"many": ["10.0.0.1", "10.0.0.2", "fd00::1"]})
    nodes = Nodes(refusing={"10.0.0.1"}, silent={"10.0.0.2"})
    assert await BrokerHosts("amqps://u:p@many:1/", 0.05, as_given).connect(nodes.open) == "fd00::1"
    assert [endpoint.address.place for endpoint in nodes.endpoints] == [
        "many:1 (10.0.0.1)",
        "many:1 (10.0.0.2)",
        "many:1 (fd00::1)",
    ]
    assert nodes.endpoints[2].url == "amqps://u:p@[fd00::1]:1/"
    assert [endpoint.tls_name for endpoint in nodes.endpoints] == [{"server_hostname": "many"}] * 3


async def test_if_no_host_answers_the_error_has_each_reason_once_and_no_password(resolver: Resolve) -> None:
    resolver({name: ips for name, ips in THREE.items() if name != "c"})
    hosts = BrokerHosts(URL, 0.05, as_given)
    with pytest.raises(BrokerLostError) as caught:
        await hosts.connect(Nodes(refusing={"10.0.0.1"}, silent={"10.0.0.2"}).open)
    said = str(caught.value)
    assert "nothing listens at a:5672: connection refused; " in said
    assert "no answer from b:1234" in said
    assert "the host c is unknown" in said
    assert "secret" not in said + repr(hosts)
    assert not hosts.has_untried


async def test_brokers_that_are_all_slow_get_more_time_at_the_next_walk(
    resolver: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver(THREE)
    hosts, limits = BrokerHosts(URL, 0.05, as_given), set[float]()
    timeout = asyncio.timeout

    def note_the_limit(delay: float) -> asyncio.Timeout:
        limits.add(delay)
        return timeout(delay)

    monkeypatch.setattr("lockstore.amqp.hosts.timeout", note_the_limit)
    for _ in range(4):
        with pytest.raises(BrokerLostError, match="no answer"):
            await hosts.connect(Nodes(silent={"10.0.0.1", "10.0.0.2", "10.0.0.3"}).open)
    assert sorted(limits) == pytest.approx([0.05, 0.1, 0.15])


async def test_a_certificate_is_at_fault_only_if_it_is_everywhere(resolver: Resolve) -> None:
    resolver(THREE)
    from ssl import SSLCertVerificationError

    def open_with(refusing: str | None) -> Callable[[Endpoint], Any]:
        async def open_one(endpoint: Endpoint) -> None:
            if endpoint.ip == refusing:
                raise ConnectionRefusedError
            error = SSLCertVerificationError("no")
            error.verify_code, error.verify_message = 62, f"Hostname mismatch for {endpoint.address.host}"
            raise error

        return open_one

    for refusing, is_at_fault in ((None, True), ("10.0.0.2", False)):
        with pytest.raises(BrokerLostError) as caught:
            await BrokerHosts(URL).connect(open_with(refusing))
        assert (certificate_fault(caught.value) is not None) == is_at_fault


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example"])
async def test_what_cannot_be_a_name_is_called_unknown(name: str) -> None:
    with pytest.raises(BrokerLostError, match="is unknown"):
        await BrokerHosts(f"amqp://{name}/").connect(Nodes().open)
