"""A bot process for test_original_faults: `python -m tests.stores.visitor SECTION COUNT`, SECTION as JSON.

It says `ready`, waits for a line on its standard input, takes the lock of one conversation COUNT times, and writes
[number, entered, left] of each, in nanoseconds of the clock that all processes of a machine share.
"""

import asyncio
import json
import sys
import time

from lockstore.core.line import Limits
from lockstore.factory import create_store


async def main() -> None:
    section, count = json.loads(sys.argv[1]), int(sys.argv[2])
    store = create_store(section, Limits())
    await store.open()
    await store.issue_ticket("warm-up", 0.001)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    visits = []
    for _ in range(count):
        async with store.lock("c") as lock:
            entered_ns = time.monotonic_ns()
            await asyncio.sleep(0)
            visits.append((lock.tickets[0].number, entered_ns, time.monotonic_ns()))
    await store.close()
    sys.stdout.write(json.dumps(visits))


asyncio.run(main())
