"""What a patrol of the shards costs: events that this daemon is publishing itself are not read again each second."""

import asyncio
from collections.abc import Sequence
from typing import cast

from daemon.config.settings import Settings
from daemon.serving.announcer import Announcer
from daemon.serving.deadlines import Withdrawals
from daemon.serving.dispatcher import Dispatcher
from daemon.serving.first_contacts import FirstContacts
from daemon.serving.runtime import create_runtime
from daemon.serving.sweeper import Sweeper
from lockstore.stores.memory import InMemoryLockStore
from lockstore.stores.results import Entry, Patrol, Shard


class Store(InMemoryLockStore):
    """Notes which entries it need not return to a patrol."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        if not self.left_out.done():
            self.left_out.set_result(Entry(3, "1-0") in self.in_hand)
        return await super().patrol(shards, age_ms)


async def test_a_patrol_may_leave_out_what_this_daemon_is_publishing() -> None:
    store = Store()
    runtime = create_runtime(Settings(), store)
    dispatcher = Dispatcher(runtime.outstanding, 30.0, 100, cast("FirstContacts", None))
    dispatcher.late[Entry(3, "1-0")] = object()
    sweeper = Sweeper(runtime, dispatcher, Withdrawals(runtime.deadlines.wakeup))
    sweeping = asyncio.create_task(
        sweeper.run(cast("Announcer", None))
    )  # nothing is left behind, so nothing is published
    assert await store.left_out
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
