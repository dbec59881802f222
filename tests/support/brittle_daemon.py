"""The real daemon, to be killed between its steps: `python -m tests.support.brittle_daemon serve --config FILE`.

It kills itself with SIGKILL at the next checkpoint whose name is written in the file `die-at` beside FILE. Only tests can start
it this way: nothing that is shipped knows of it.
"""

import os
import signal
import sys
from pathlib import Path

import uvloop

from daemon.cli.serve import run
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from daemon.service import Service
from lockstore.factory import create_store

FLAG = "die-at"
STEPS = ("stored", "announced", "acknowledged", "swept")


def main() -> None:
    _, serve, option, config = sys.argv
    assert (serve, option) == ("serve", "--config")
    flag = Path(config).parent / FLAG

    def checkpoint(name: str) -> None:
        if flag.exists() and flag.read_text() == name:
            os.kill(os.getpid(), signal.SIGKILL)

    logs.set_up("debug")
    loaded = settings.load(Path(config))
    uvloop.run(run(Service(loaded, create_store(loaded.lock_store, loaded.daemon.limits), checkpoint)))


if __name__ == "__main__":
    main()
