"""A private cluster of RabbitMQ nodes."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from harness.context import StartedContext
from harness.ports import free_port
from harness.rabbitmq import Membership, RabbitMQ


class RabbitMQCluster(StartedContext):
    """RabbitMQ nodes that form one cluster. Each is a `RabbitMQ`, which a test can kill, pause or start.

    `config`: further settings for every node's rabbitmq.conf. All nodes use the epmd that the first one starts; it survives
    that node. A `folder` that the caller provides is kept.
    """

    def __init__(self, count: int = 3, config: Mapping[str, str] | None = None, *, folder: Path | None = None) -> None:
        self._count = count
        self._config = dict(config or {})
        self._folder = folder
        self._own_folder: Path | None = None
        self._membership = Membership(secrets.token_hex(10).upper(), free_port())

    @cached_property
    def nodes(self) -> list[RabbitMQ]:
        """All nodes."""
        folder = self._folder
        if folder is None:
            folder = self._own_folder = Path(tempfile.mkdtemp(prefix="lockstore-rabbitmq-cluster-"))
        return [
            RabbitMQ(self._config, folder=folder / f"n{number}", name=f"rabbitmq-{number}", cluster=self._membership)
            for number in range(1, self._count + 1)
        ]

    @property
    def url(self) -> str:
        """The URL with the addresses of all nodes, for clients that accept several hosts."""
        return f"amqp://guest:guest@{','.join(f'{node.host}:{node.port}' for node in self.nodes)}/"

    def node_at(self, place: str) -> RabbitMQ:
        """Return the node with this host and port. Raises LookupError."""
        for node in self.nodes:
            if place == f"{node.host}:{node.port}":
                return node
        raise LookupError(f"no node is at {place}")

    async def start(self) -> None:
        """Start every node that is not running; new ones join the cluster.

        Raises ProcessFailedError, with the tail of a log.
        """
        first, *others = self.nodes
        is_new = not (first.folder / "mnesia").exists()
        await first.start()  # first, since it starts the epmd of all
        await asyncio.gather(*(node.start() for node in others))
        if is_new:
            for node in others:  # one at a time: two that join at once may wait for each other
                await node.join(first)

    async def close(self) -> None:
        """Stop all nodes and remove the temporary folder; may be called again."""
        first, *others = self.nodes
        try:
            await asyncio.gather(*(node.close() for node in others))
        finally:
            await first.close()
            if self._own_folder is not None:
                shutil.rmtree(self._own_folder, ignore_errors=True)
