"""One bot replica: it handles a stream of users' messages, several at once, each under the lock of its conversation.

Apart from what it writes down, this is what lockstore asks of a bot: `async with locks.lock(conversation)`.
"""

import argparse
import asyncio
import math
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from examples.demo.records import Record, Recorder, What, holder_name, now
from lockstore.client import LockClient
from lockstore.errors import LockError, LockLostError

AT_ONCE = 16  # messages that one bot handles at a time, those in line included
AT_ONCE_EACH = 3  # of one user
WORK_S = (0.005, 0.060, 0.015)  # least, most and usual time for a message
WAIT_S = 60.0  # in line: longer than anybody has to
BUSY_ONE_IN = 4  # users: the first ones are the busy ones
BUSY_SHARE = 6.0  # so many messages of a busy user to one of a quiet one


class Bot:
    """What a replica does with its messages."""

    def __init__(self, given: argparse.Namespace, locks: LockClient, recorder: Recorder) -> None:
        self._given = given
        self._locks = locks
        self._recorder = recorder
        self._random = random.Random(given.name)
        self._users = users = [f"user-{number:02}" for number in range(1, given.conversations + 1)]
        busy = math.ceil(len(users) / BUSY_ONE_IN)
        self._shares = [BUSY_SHARE] * busy + [1.0] * (len(users) - busy)
        self._slots = asyncio.Semaphore(min(AT_ONCE, AT_ONCE_EACH * len(users)))
        self._under_way: Counter[str] = Counter()

    async def serve(self, stop: asyncio.Event) -> None:
        """Handle messages until `stop` is set, and finish those under way."""
        async with asyncio.TaskGroup() as group:
            for call in count(1):
                await self._slots.acquire()
                if stop.is_set():
                    return
                group.create_task(self._handle(call, self._next_user()))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._random.expovariate(self._given.rate)):
                        await stop.wait()

    def _next_user(self) -> str:
        """Choose who writes next. While a slot is free, there is somebody who may."""
        user = next(user for user in self._drawn() if self._under_way[user] < AT_ONCE_EACH)
        self._under_way[user] += 1
        return user

    def _drawn(self) -> Iterator[str]:
        while True:
            yield self._random.choices(self._users, self._shares)[0]

    async def _handle(self, call: int, user: str) -> None:
        self._note(What.ASKED, call, user)
        try:
            holder = holder_name(self._given.name, call)
            async with self._locks.lock(user, wait=WAIT_S, lifetime=self._given.lease, holder=holder) as ticket:
                self._note(What.INSIDE, call, user, ticket=ticket.number)
                await asyncio.sleep(self._random.triangular(*WORK_S))
                self._note(What.LEAVING, call, user, ticket=ticket.number)
            self._note(What.LEFT, call, user)
        except LockLostError as error:
            self._note(What.LEASE_LOST, call, user, detail=str(error))
        except LockError as error:
            self._note(What.REFUSED, call, user, detail=str(error))
        finally:
            self._under_way[user] -= 1
            self._slots.release()

    def _note(self, what: What, call: int, conversation: str, **more: Any) -> None:
        self._recorder.write(
            Record(what=what, at=now(), replica=self._given.name, call=call, conversation=conversation, **more)
        )


async def run(given: argparse.Namespace) -> None:
    """Be a replica until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    recorder = Recorder(given.records)
    async with LockClient(given.url) as locks:
        await Bot(given, locks, recorder).serve(stop)
    recorder.close()


def main() -> None:
    """Read the command line, which only the demonstration writes."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.replica")
    parser.add_argument("--name", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--conversations", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="messages per second that come to this replica")
    parser.add_argument("--lease", type=float, required=True)
    parser.add_argument("--records", type=Path, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
