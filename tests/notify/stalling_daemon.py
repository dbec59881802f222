"""The real daemon, of which one part stops on purpose: `python -m tests.notify.stalling_daemon serve --config FILE`.

It waits for ever for the broker's confirms of a batch that has to do with the conversation `stuck`, as a daemon would that
has lost one. What has no step for a second counts as stalled here.
"""

import asyncio
import sys
from pathlib import Path
from unittest.mock import patch

import uvloop

from daemon import logs, parts, settings
from daemon.announcer import Announced, Announcing
from daemon.commands.serving import run
from daemon.pulse import Pulse
from daemon.service import Service
from lockstore.factory import create_store

STUCK = "stuck"
STALL_S = 1.0

_judged = Announcing.judged


async def judged(self: Announcing) -> Announced:
    if any(notice.event.conversation_id == STUCK for notice in self._notices):
        await asyncio.Event().wait()
    return await _judged(self)


def main() -> None:
    _, serve, option, config = sys.argv
    assert (serve, option) == ("serve", "--config")
    logs.set_up("info")
    loaded = settings.load(Path(config))
    with patch.object(Announcing, "judged", judged), patch.object(parts, "Pulse", lambda _: Pulse(STALL_S)):
        uvloop.run(run(Service(loaded, create_store(loaded.lock_store, loaded.daemon.limits))))


if __name__ == "__main__":
    main()
