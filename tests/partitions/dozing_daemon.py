"""The real daemon that stops itself (SIGSTOP) in the middle of its work: `... serve --config FILE FLAG`.

It does so once, when the third batch is stored after the file FLAG was made. Of many messages that came at once the most are
in its memory then.
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

BATCH = 3


def main() -> None:
    _, serve, option, config, flag = sys.argv
    assert (serve, option) == ("serve", "--config")
    armed = Path(flag)
    stored = 0

    def checkpoint(name: str) -> None:
        nonlocal stored
        if name == "stored" and armed.exists():
            stored += 1
            if stored == BATCH:
                armed.unlink()
                os.kill(os.getpid(), signal.SIGSTOP)

    logs.set_up("debug")
    loaded = settings.load(Path(config))
    uvloop.run(run(Service(loaded, create_store(loaded.lock_store, loaded.daemon.limits), checkpoint)))


main()
