"""The course of the demonstration: everything starts, works, is hurt, ends, and is judged."""

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from rich.console import Console

from examples.demo import report
from examples.demo.board import Board
from examples.demo.options import Options
from examples.demo.records import Reader, Record, Recorder, now
from examples.demo.replicas import LEASE_S, Troupe
from examples.demo.screen import TICK_S, Scene, Screen
from examples.demo.verdict import Verdict, handoffs_ms, judge
from harness import ProcessFailedError, Server, Workplace, workplace
from lockstore.client import LockClient
from lockstore.protocol.messages import ExpiredMessage

__all__ = ["play"]

AnyServer = TypeVar("AnyServer", bound=Server)

KILL_AT, STOP_AT = 0.3, 0.5  # of the whole time
STOP_S = 1.5 * LEASE_S
FIRST_GRANT_LIMIT_S = 10.0
VICTIM_LIMIT_S = 2.0  # for a replica to be seen inside a conversation
SETTLE_LIMIT_S = 2 * LEASE_S + 2.0  # for the tickets of the killed to end
NAMED = 2  # conversations in one line of text
POLL_S = 0.005
WARM_UP_S = 0.02
RECENT = 5_000  # records from which the hand-off so far is taken
RECENT_EVERY_S = 1.0


def play(options: Options) -> int:
    """Run the demonstration and give its exit code. Raises KeyboardInterrupt after a Ctrl-C, when all has ended."""
    logging.getLogger().addHandler(logging.NullHandler())  # what the libraries warn of would tear the table
    return asyncio.run(_play(options))


async def _play(options: Options) -> int:
    console = Console(highlight=False)
    screen = Screen(console, now())
    try:
        async with workplace() as place:
            conductor = Conductor(place, options, screen)
            try:
                verdict = await conductor.perform()
            except asyncio.CancelledError:
                await conductor.break_off()
                raise
            finally:
                screen.clear()
            report.show(console, verdict)
            exit_code = 0 if verdict.is_well else 1
    except* ProcessFailedError as failures:
        console.print(_first(failures), style="red", soft_wrap=True)
        exit_code = 1
    return exit_code


class Conductor:
    """One performance."""

    def __init__(self, place: Workplace, options: Options, screen: Screen) -> None:
        self._place = place
        self._options = options
        self._screen = screen
        self._records = place.folder / "records"
        self._records.mkdir()
        self._board = Board()
        self._troupe = Troupe(place.folder, self._records, options)
        self._started_at = now()
        self._heard = asyncio.Event()
        self._servers: list[Server] = []

    async def perform(self) -> Verdict:
        """Do everything in its order, and judge it."""
        url = await self._start_servers()
        async with LockClient(url) as locks, asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow(locks))
            await self._see_events(locks)
            self._troupe.start(url)
            self._say(
                f"{self._options.replicas} bots start; {self._options.conversations} users write; leases of {LEASE_S:g} s"
            )
            showing = tasks.create_task(self._show())
            await self._work()
            await self._end()
            following.cancel()
            showing.cancel()
        self._troupe.close()
        return judge(Reader(self._records).new())

    async def break_off(self) -> None:
        """End quietly after a Ctrl-C, with the verdict so far."""
        for number in (signal.SIGINT, signal.SIGHUP):  # who is impatient now would leave something behind
            signal.signal(number, signal.SIG_IGN)
        await self._troupe.break_off()
        self._screen.clear()
        self._say("broken off")
        verdict = judge(Reader(self._records).new())
        if verdict.grants:
            report.show(self._screen.console, verdict)

    # --- starting -----------------------------------------------------------------------------------------------------

    async def _start_servers(self) -> str:
        self._say("starting a private RabbitMQ and Redis")
        redis, rabbitmq = await asyncio.gather(
            self._announced(self._place.redis(), "Redis is ready"),
            self._announced(self._place.rabbitmq(), "RabbitMQ is ready"),
        )
        config = {
            "lock_store": {"type": "concurrent_redis", "host": redis.host, "port": redis.port},
            "broker": {"url": rabbitmq.url},
        }
        if self._options.misbehave:
            starting = self._place.daemon(config, module="examples.demo.faulty_daemon")
            await self._announced(starting, "the daemon is ready: one that misbehaves on purpose")
        else:
            await self._announced(self._place.daemon(config), "the daemon is ready")
        return rabbitmq.url

    async def _announced(self, starting: Awaitable[AnyServer], text: str) -> AnyServer:
        server = await starting
        self._servers.append(server)
        self._say(text)
        return server

    async def _see_events(self, locks: LockClient) -> None:
        """Make sure that the public events arrive, so that none of the replicas' is missed."""
        while not self._heard.is_set():
            async with locks.lock("warm-up"):
                await asyncio.sleep(WARM_UP_S)

    # --- working ------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        await _until(lambda: self._board.grants > 0, FIRST_GRANT_LIMIT_S)
        self._say("the first grant")
        begin, seconds = now(), self._options.seconds
        if not self._options.calm:
            killed, stopped = list(self._troupe.states)[:2]
            await _sleep_until(begin + KILL_AT * seconds)
            await self._kill(killed)
            await _sleep_until(begin + STOP_AT * seconds)
            await self._stop(stopped)
        await _sleep_until(begin + seconds)

    async def _kill(self, name: str) -> None:
        held = await self._held_by(name)
        await self._troupe.kill(name)
        self._say(f"{name} is killed (SIGKILL){held}", "red")

    async def _stop(self, name: str) -> None:
        held = await self._held_by(name)
        self._troupe.stop(name)
        self._say(f"{name} is stopped for {STOP_S:g} s (SIGSTOP){held}", "red")
        await asyncio.sleep(STOP_S)
        self._troupe.let_go_on(name)
        self._say(f"{name} goes on (SIGCONT)", "green")

    async def _held_by(self, name: str) -> str:
        """Wait until a replica is seen inside a conversation, though not for ever, and say which one."""
        await _until(lambda: bool(self._board.held_by(name)), VICTIM_LIMIT_S)
        held = self._board.held_by(name)
        more = f" and {len(held) - NAMED} more" if len(held) > NAMED else ""
        return f" inside {', '.join(held[:NAMED])}{more}" if held else ""

    async def _end(self) -> None:
        self._say("the bots finish what they have begun")
        await self._troupe.finish()
        await _until(lambda: not self._board.open_tickets(), SETTLE_LIMIT_S)

    # --- watching -----------------------------------------------------------------------------------------------------

    async def _follow(self, locks: LockClient) -> None:
        diary = Recorder(self._records / "public.jsonl")
        async with aclosing(locks.events()) as events:
            async for event in events:
                self._heard.set()
                record = self._board.hear(event, now())
                if record is None:
                    continue
                diary.write(record)
                if isinstance(event, ExpiredMessage):
                    self._say(f"{record.conversation}: ticket {record.ticket} of {record.replica} has expired", "red")

    async def _show(self) -> None:
        reader, recent, read_at = Reader(self._records), deque[Record](maxlen=RECENT), now()
        scene = Scene(self._board, self._troupe.states)
        while True:
            self._check()
            scene.now = now()
            scene.at_s = scene.now - self._started_at
            if scene.now >= read_at + RECENT_EVERY_S:
                read_at = scene.now
                recent.extend(reader.new())
                scene.handoffs_ms = handoffs_ms(recent)
            self._screen.show(scene)
            await asyncio.sleep(TICK_S)

    def _check(self) -> None:
        """Raise ProcessFailedError if something has ended that nobody ended."""
        self._troupe.check()
        for server in self._servers:
            if not server.running:
                raise server.process.failure(f"ended with exit code {server.exit_code}")

    def _say(self, text: str, style: str = "") -> None:
        self._screen.say(now(), text, style)


async def _until(comes_true: Callable[[], bool], limit_s: float) -> None:
    deadline = now() + limit_s
    while not comes_true() and now() < deadline:  # noqa: ASYNC110 - the board is pure, so it wakes nobody
        await asyncio.sleep(POLL_S)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - now()))


def _first(failures: BaseExceptionGroup[ProcessFailedError]) -> str:
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return str(failure)
