"""The process between `exec` and its command, without a lock."""

import subprocess
import sys

# The supervisor is stopped while the command ends and more is said to it than it reads before it ends itself.
MANY_WORDS = """
import asyncio, os, signal, time
from daemon.cli.exec.supervisor import Supervisor

async def main(supervisor):
    outcome = supervisor.start(time.monotonic() + 60, 1.0, {})
    await asyncio.sleep(0.1)
    os.kill(supervisor._pid, signal.SIGSTOP)
    await asyncio.sleep(0.5)
    for _ in range(5):
        supervisor.keep(time.monotonic() + 60)
    os.kill(supervisor._pid, signal.SIGCONT)
    print(await asyncio.wait_for(outcome, 30))

with Supervisor(["sh", "-c", "sleep 0.3; exit 3"]) as supervisor:
    asyncio.run(main(supervisor))
"""


def test_what_it_says_last_is_heard_though_it_has_not_heard_all_that_it_was_told() -> None:
    ran = subprocess.run([sys.executable, "-c", MANY_WORDS], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.stdout, ran.stderr) == ("Ended(code=3, cut=False, left=())\n", "")
