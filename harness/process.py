"""One run of a child process, from its start to its exit."""

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

Probe = Callable[[], Awaitable[bool]]

POLL_INTERVAL_S = 0.02
PROBE_LIMIT_S = 5.0
TAIL_LINES = 60  # RabbitMQ says the reason first, and dies with forty lines

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)  # loaded here: between fork and exec it would be too late


class ProcessFailedError(RuntimeError):
    """A process ended or was not ready in time; the message ends with the last lines of its log."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run, where, and where its output goes (appended)."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)


class Process:
    """A child that leads its own process group, and dies when the thread that started it dies.

    The kernel sends the parent-death signal when the starting *thread* ends, not the process: start children from a thread that
    lives as long as they should, in practice the main thread, never from `asyncio.to_thread`.

    The group keeps a terminal's Ctrl-C away from the child, so that who started it decides when it ends. Signals go to this
    child or this group only, and only while the child is not reaped: until then its number cannot belong to anybody else.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.log_start = command.log.stat().st_size if command.log.exists() else 0
        with command.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command.argv,
                cwd=command.folder,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  # one prctl and one getppid: neither takes a lock
            )

    async def become_ready(self, probe: Probe, limit_s: float) -> None:
        """Wait until the probe says that it is ready.

        Raises ProcessFailedError if it ends first or is not ready after `limit_s` seconds; then it does not run any more.
        """
        try:
            await self._await_probe(probe, limit_s)
        except BaseException:
            await self.kill()
            raise

    @property
    def pid(self) -> int:
        """Its process id, and its group's."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for the signal that ended it, or None while it runs."""
        if self._popen.returncode is None and _has_exited(self.pid):
            self._signal_group(signal.SIGKILL)  # helpers that outlived it
            self._popen.wait()
        return self._popen.returncode

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    async def stop(self, grace_s: float) -> int:
        """Ask it to end with SIGTERM, end it with SIGKILL after the grace, and give its exit code."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
            self.resume()  # a paused process takes SIGTERM only when it goes on
        try:
            return await self.wait(grace_s)
        except TimeoutError:
            return await self.kill()
        except asyncio.CancelledError:
            self._signal_group(signal.SIGKILL)  # nobody waits for a clean end any more
            raise

    async def kill(self) -> int:
        """End it and its group with SIGKILL, and give its exit code."""
        if self.running:
            self._signal_group(signal.SIGKILL)
        return await self.wait(None)

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP), as a machine that hangs."""
        if self.running:
            self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause (SIGCONT)."""
        if self.running:
            self._signal_group(signal.SIGCONT)

    async def wait(self, limit_s: float | None) -> int:
        """Wait for its end and give its exit code; raises TimeoutError after `limit_s` seconds."""
        async with asyncio.timeout(limit_s):
            while (code := self.exit_code) is None:  # noqa: ASYNC110  # no event: it must work in any loop
                await asyncio.sleep(POLL_INTERVAL_S)
            return code

    def output(self) -> str:
        """Read what this run has written so far."""
        with self.command.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def failure(self, what: str) -> ProcessFailedError:
        """Make the error for this process: what happened, and the tail of its log."""
        tail = self.output().splitlines()[-TAIL_LINES:] or ["(nothing)"]
        return ProcessFailedError("\n".join([f"{self.command.name} {what}; the last lines of its log:", *tail]))

    async def _await_probe(self, probe: Probe, limit_s: float) -> None:
        deadline = monotonic() + limit_s
        while not await _answers(probe):
            if (code := self.exit_code) is not None:
                raise self.failure(f"ended with exit code {code} before it was ready")
            if monotonic() > deadline:
                raise self.failure(f"was not ready after {limit_s:g} s")
            await asyncio.sleep(POLL_INTERVAL_S)
        if not self.running:
            raise self.failure("was said to be ready but has ended")

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


async def _answers(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            return await probe()
    except OSError:  # a TimeoutError too: not ready, or no longer
        return False


def _has_exited(pid: int) -> bool:
    # WNOWAIT leaves it unreaped, so that its number, which names its group, is still its own.
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _die_with(parent: int) -> Callable[[], None]:
    def before_exec() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return before_exec
