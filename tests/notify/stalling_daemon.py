"""The real daemon, of which one part stops on purpose: `python -m tests.notify.stalling_daemon serve --config FILE`.

It waits for ever before it acknowledges a batch that has to do with the conversation `stuck`, as a daemon would that
has lost its way. What has no step for a second counts as stalled here.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop

from daemon.cli.serve import run
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from daemon.monitoring.stalls import StallDetector
from daemon.service import Service
from daemon.serving import runtime as parts
from daemon.serving.pipeline import Pipeline
from lockstore.factory import create_store

STUCK = "stuck"
STALL_S = 1.0

_finish = Pipeline._finish


async def finish(self: Pipeline, batch: Any, *others: Any) -> None:
    if any(notice.event.conversation_id == STUCK for notice in batch.notices):
        await asyncio.Event().wait()
    await _finish(self, batch, *others)


def main() -> None:
    _, serve, option, config = sys.argv
    assert (serve, option) == ("serve", "--config")
    logs.set_up("info")
    loaded = settings.load(Path(config))
    with (
        patch.object(Pipeline, "_finish", finish),
        patch.object(parts, "StallDetector", lambda _: StallDetector(STALL_S)),
    ):
        uvloop.run(run(Service(loaded, create_store(loaded.lock_store, loaded.daemon.limits))))


if __name__ == "__main__":
    main()
