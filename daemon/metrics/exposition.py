"""How Prometheus is told: names, types and help of every metric."""

import platform
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.parts import Parts

__all__ = ["registry_of"]


def registry_of(parts: Parts) -> CollectorRegistry:
    """Make the registry of one daemon; nothing else of the process is in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Daemon(parts))
    ProcessCollector(registry=registry)
    return registry


class _Daemon(Collector):
    """Reads the parts of a daemon when it is asked."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Give everything."""
        health = self._parts.health
        yield InfoMetricFamily(
            "lockstore_build",
            "Which version this is, and on which Python it runs.",
            value={"version": version("lockstore"), "python": platform.python_version()},
        )
        yield _gauge(
            "lockstore_messages_in_hand", "Messages taken from RabbitMQ and not done with.", self._parts.current.waiting
        )
        yield _gauge("lockstore_ready", "Whether this daemon serves.", health.is_ready)
        yield _gauge("lockstore_store_up", "Whether the lock store answers.", not health.hinders("store_away"))
        yield _gauge(
            "lockstore_broker_up", "Whether there is a connection to RabbitMQ.", not health.hinders("broker_away")
        )


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)
