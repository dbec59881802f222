"""A daemon that works on partition 0 alone, and repairs no exchange: `python -m tests.support.careless_daemon serve ...`."""

from daemon.serving.topology_watch import TopologyWatch


async def look(_: TopologyWatch) -> None:
    """Repair nothing."""


TopologyWatch._look = look  # type: ignore[assignment, method-assign]

from tests.support import partial_daemon  # noqa: E402, F401 - it serves at once
