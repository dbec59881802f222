"""A repartition that kills itself: `python -m tests.partitions.failing_repartition --config FILE POINT [TIMES]`.

At the checkpoint POINT, when it comes there for the TIMES-th time, SIGKILL.
"""

import os
import signal
import sys
from pathlib import Path

import uvloop

from daemon.admin.repartition import Repartition
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from lockstore.factory import create_store


def main() -> None:
    _, option, config, point, *times = sys.argv
    assert option == "--config"
    left = int(times[0]) if times else 1

    def checkpoint(name: str) -> None:
        nonlocal left
        left -= name == point
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def change() -> None:
        loaded = settings.load(Path(config))
        async with Repartition(loaded, create_store(loaded.lock_store, loaded.daemon.limits), checkpoint) as work:
            await work.change()

    logs.set_up("warning")
    uvloop.run(change())


main()
