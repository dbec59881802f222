"""kazoo's Lock recipe on ZooKeeper: an ephemeral node for each waiter, each watches the one before it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from kazoo.client import KazooClient

from benchmarks.contest import Places, ThreadHold


@contextmanager
def recipe(places: Places) -> Iterator[ThreadHold]:
    """Hold kazoo's locks, all over one session of this process."""
    client = KazooClient(hosts=places["zookeeper"])
    client.start()

    def hold(key: str) -> AbstractContextManager[object]:
        return cast("AbstractContextManager[object]", client.Lock(f"/{key}"))

    try:
        yield hold
    finally:
        client.stop()
        client.close()
