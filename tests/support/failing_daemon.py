"""The real daemon with a failpoint: `python -m tests.support.failing_daemon serve --config FILE POINT FLAG`.

It kills itself with SIGKILL at the checkpoint POINT, once, as soon as the file FLAG exists. Only tests can start it this
way: nothing that is shipped knows of failpoints.
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


def main() -> None:
    _, serve, option, config, point, flag = sys.argv
    assert (serve, option) == ("serve", "--config")
    armed = Path(flag)

    def checkpoint(name: str) -> None:
        if name == point and armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    logs.set_up("debug")
    loaded = settings.load(Path(config))
    uvloop.run(run(Service(loaded, create_store(loaded.lock_store, loaded.daemon.limits), checkpoint)))


main()
