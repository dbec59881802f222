"""`lockstore exec`: obtains the lock, runs the command under supervision, and releases the lock."""

import asyncio
import errno
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.cli.client import create_client
from daemon.cli.exec.signals import Relay, die_by
from daemon.cli.exec.supervisor import Ended, Failed, Supervisor
from daemon.cli.exit_codes import BAD_CONFIGURATION, BUSY, FAILED, LOST, NOT_EXECUTABLE, NOT_FOUND, SIGNALLED
from daemon.cli.output import print_error
from daemon.cli.remarks import print_client_warnings
from daemon.config import settings
from lockstore.client import HeldTicket, LockClient
from lockstore.errors import BusyError, ConfigError, LockError, LockLostError, RefusedError, WaitExpiredError
from lockstore.util.escaping import escape
from lockstore.util.identity import our_process

__all__ = ["ExecRequest", "run"]

_GRACE_SHARE = (
    1 / 3
)  # of the lease remaining after its grant: a longer grace period would end leases that are about to be renewed
_KILL_EARLY_S = 0.05  # before the client considers the lease lost, so that the command ends before the release
_LOOKS, _LOOK_LEAST_S = 20, 0.01  # checks per lease
_PATIENCE_S = 1.0  # before a message that the command is waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """The arguments of the command line."""

    conversation: str
    argv: Sequence[str]
    wait_s: float | None
    lifetime_s: float | None
    holder: str | None
    grace_s: float


def run(config: Path | None, request: ExecRequest, supervisor: Supervisor) -> int:
    """Run the command, and return the exit code. Raises ConfigError."""
    if not request.argv or not request.argv[0]:
        raise ConfigError("COMMAND: must not be empty")
    loaded = settings.load(config)
    if (code := _unfit(request.argv[0])) is not None:
        return code
    print_client_warnings("exec")
    client, relay = create_client(loaded.broker), Relay()
    code = asyncio.run(_Execution(request, supervisor, relay).run(client))
    if code == -signal.SIGINT:
        die_by(signal.SIGINT)
    return code if code >= 0 else SIGNALLED - code


def _unfit(program: str) -> int | None:
    """Check that the command exists before waiting in line; None: it does."""
    if shutil.which(program) is not None:
        return None
    there = os.path.exists(program) if "/" in program else shutil.which(program, os.F_OK) is not None  # noqa: PTH110 - as in shutil.which
    return _not_started(program, errno.EACCES if there else errno.ENOENT)


def _not_started(program: str, number: int) -> int:
    if number == errno.ENOENT:
        print_error("exec", f"{program}: not found; use a command in PATH, or a path")
        return NOT_FOUND
    print_error("exec", f"{program}: cannot be executed: {os.strerror(number)}")
    return NOT_EXECUTABLE


class _Execution:
    def __init__(self, request: ExecRequest, supervisor: Supervisor, relay: Relay) -> None:
        self._request = request
        self._supervisor = supervisor
        self._relay = relay
        self._outcome: asyncio.Future[Failed | Ended] | None = None  # None: the command has not been started
        self._signal: int | None = None  # that arrived before
        self._task: asyncio.Task[int] | None = None

    async def run(self, client: LockClient) -> int:
        """Obtain, run, release. Returns an exit code, or minus a signal that ended the command or the wait."""
        self._task = asyncio.current_task()
        self._relay.follow(self._heard)
        conversation = escape(self._request.conversation)
        try:
            async with client as locks:
                return await self._hold(locks)
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            return -self._signal
        except (BusyError, WaitExpiredError) as error:
            look = f"lockstore show {shlex.quote(conversation)}, lockstore check"
            print_error("exec", f"{conversation}: {error}; for details, run: {look}")
            return BUSY
        except LockError as error:
            print_error("exec", f"{conversation}: {error}")
            return BAD_CONFIGURATION if isinstance(error, RefusedError) and error.reason == "invalid" else FAILED

    async def _hold(self, locks: LockClient) -> int:
        request, why = self._request, ""
        hint = asyncio.get_running_loop().call_later(_PATIENCE_S, self._tell_waiting)
        lock = locks.lock(
            request.conversation,
            wait=request.wait_s,
            lifetime=request.lifetime_s,
            holder=request.holder or our_process(),
        )
        try:
            async with lock as ticket:
                hint.cancel()
                self._outcome = self._start(ticket)
                keeping = asyncio.create_task(self._keep(ticket))
                try:
                    outcome = await asyncio.shield(self._outcome)
                finally:
                    keeping.cancel()
        except LockLostError as error:
            assert self._outcome is not None  # noqa: S101 - it was lost by who had it
            self._supervisor.terminate()
            outcome, why = await self._outcome, f"{error}"
        finally:
            hint.cancel()
        return self._code_of(outcome, why)

    def _start(self, ticket: HeldTicket) -> "asyncio.Future[Failed | Ended]":
        left_s = ticket.safe_until - time.monotonic()
        variables = {
            "LOCKSTORE_CONVERSATION": ticket.conversation_id,
            "LOCKSTORE_TICKET": str(ticket.number),
            "LOCKSTORE_REQUEST_ID": ticket.request_id,
            "LOCKSTORE_EXPIRES_AT": f"{ticket.expires_at:.3f}",
        }
        grace_s = min(self._request.grace_s, left_s * _GRACE_SHARE)
        return self._supervisor.start(ticket.safe_until - _KILL_EARLY_S, grace_s, variables)

    async def _keep(self, ticket: HeldTicket) -> None:
        """Notify the supervisor of renewals by polling, many times per lease."""
        while True:
            await asyncio.sleep(max(_LOOK_LEAST_S, (ticket.safe_until - time.monotonic()) / _LOOKS))
            self._supervisor.keep(ticket.safe_until - _KILL_EARLY_S)

    def _heard(self, number: int, is_for_us: bool) -> None:  # noqa: FBT001 - called by the relay alone
        if self._outcome is not None:
            if is_for_us:  # the terminal's own signals have already reached the command
                self._supervisor.signal(number)
        elif number != signal.SIGWINCH and self._task is not None and self._signal is None:
            self._signal = number
            self._task.cancel()

    def _tell_waiting(self) -> None:
        if sys.stderr.isatty():
            print_error("exec", f"waiting for {self._request.conversation}")

    def _code_of(self, outcome: Failed | Ended, why: str) -> int:
        match outcome:
            case Failed(number):
                return _not_started(self._request.argv[0], number)
            case Ended(code=int(code), cut=False) if not why:
                return code
            case Ended(code=None, left=()):
                print_error("exec", "the supervisor process was killed, and the command with it")
                return FAILED
            case Ended(cut=cut, left=left):
                lost = why or f"{escape(self._request.conversation)}: the lease could not be renewed in time"
                what = "the command was terminated" if cut else "the command had already ended"
                print_error("exec", f"{lost}; {what}")
                if left:
                    print_error("exec", f"these processes could not be terminated: {', '.join(map(str, left))}")
                return LOST
