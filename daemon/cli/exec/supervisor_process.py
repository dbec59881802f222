"""The supervisor process of `daemon.cli.exec.supervisor`. It imports little, and never blocks."""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from daemon.cli.streams import print_exception

__all__ = ["RELAYED", "heard", "supervise"]

RELAYED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
"""The signals that `exec` forwards to the command."""

# Ctrl-Z stops the command and `exec`, which then stops renewing; it must not stop the process that watches the time.
_UNHEARD = (*RELAYED, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE)

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_WORD_MAX_BYTES = 4096
_KILL_AGAIN_S = 0.02  # repeated until all are gone: this finds processes forked meanwhile
_KILL_LIMIT_S = 5.0  # a process that cannot be killed, because of its owner or because it hangs in the kernel, is left
_LEFT_MOST = 20  # of them that are listed
_NEVER = float("inf")


def supervise(wire: socket.socket, argv: Sequence[str]) -> NoReturn:
    """Run the supervisor process until its end."""
    try:
        _SupervisorProcess(wire, argv).run()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - this forked process must not return into the parent's code
        print_exception(*sys.exc_info())
        os._exit(1)


class _SupervisorProcess:
    def __init__(self, wire: socket.socket, argv: Sequence[str]) -> None:
        self._wire = wire
        self._argv = argv
        self._pid: int | None = None  # of the command
        self._code: int | None = None
        self._cut = False
        self._grace_s = 0.0
        self._term_at = self._kill_at = self._give_up_at = _NEVER
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._restored = [number for number in _UNHEARD if signal.getsignal(number) is not signal.SIG_IGN]
        for number in _UNHEARD:
            signal.signal(number, signal.SIG_IGN)
        self._woken, self._waking = os.pipe()
        for end in (self._woken, self._waking):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)

    def run(self) -> None:
        """Start the command when requested, and end when it has ended."""
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {end for end, _ in poll.poll(self._pause_ms())}
            if self._woken in ready:
                os.read(self._woken, 1024)
            if self._wire.fileno() in ready and not self._obey():
                if self._pid is None:
                    return
                poll.unregister(self._wire)
            childless = self._reap()
            self._keep_time(time.monotonic())
            if self._pid is not None and self._is_over(childless=childless):
                self._say("ended", self._code, self._cut, [] if childless else _descendants()[:_LEFT_MOST])
                return

    def _pause_ms(self) -> float | None:
        at = min(self._term_at, self._kill_at, self._give_up_at)
        return None if at == _NEVER else max(0.0, at - time.monotonic()) * 1000

    def _is_over(self, *, childless: bool) -> bool:
        if not self._cut:
            return self._code is not None
        return childless or time.monotonic() >= self._give_up_at

    # --- requests --------------------------------------------------------------------------------------------------

    def _obey(self) -> bool:
        """Execute a request, and return whether more may follow."""
        match json.loads(heard(self._wire) or "[]"):
            case ["start", until, grace_s, variables]:
                self._grace_s = grace_s
                self._safe_until(until)
                return self._start(variables)
            case ["until", until]:
                self._safe_until(until)
            case ["signal", number]:
                if self._pid is not None and self._code is None:
                    _send(number, [self._pid])
            case ["lost"]:
                self._end(time.monotonic())
            case _:  # the other end is gone, so the lease may not be renewed
                self._cut = True
                self._term_at, self._kill_at = _NEVER, 0.0
                return False
        return True

    def _start(self, variables: dict[str, str]) -> bool:
        try:
            command = subprocess.Popen(  # noqa: S603 - the user's own command
                self._argv,
                env={**os.environb, **{name.encode(): value.encode() for name, value in variables.items()}},
                close_fds=False,  # inherit the shell's descriptors: `<(...)`, `3>file`
                preexec_fn=self._before_exec(os.getpid()),  # noqa: PLW1509 - a few system calls without locks
            )
        except OSError as error:
            self._say("failed", error.errno)
            return False
        self._pid = command.pid
        command.returncode = 0  # it is reaped here, together with its orphans
        return True

    def _before_exec(self, supervisor: int) -> Callable[[], None]:
        def prepare() -> None:
            for number in self._restored:
                signal.signal(number, signal.SIG_DFL)
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:  # the parent died before the line above
                os._exit(1)

        return prepare

    def _say(self, *word: Any) -> None:
        with suppress(ConnectionError):  # no reader is left
            self._wire.send(json.dumps(word).encode())

    # --- the end --------------------------------------------------------------------------------------------------

    def _safe_until(self, until: float) -> None:
        if not self._cut:
            self._term_at, self._kill_at = until - self._grace_s, until

    def _end(self, now: float) -> None:
        """Request termination, and prepare to enforce it."""
        self._cut = True
        self._term_at = _NEVER
        self._kill_at = min(self._kill_at, now + self._grace_s)
        if now < self._kill_at:
            pids = _descendants()
            _send(signal.SIGTERM, pids)
            _send(signal.SIGCONT, pids)  # a stopped process handles signals only after it continues

    def _keep_time(self, now: float) -> None:
        if now >= self._term_at:
            self._end(now)
        if now >= self._kill_at:
            self._cut = True
            self._term_at = _NEVER
            self._give_up_at = min(self._give_up_at, now + _KILL_LIMIT_S)
            _send(signal.SIGKILL, _descendants())
            self._kill_at = now + _KILL_AGAIN_S

    def _reap(self) -> bool:
        """Reap ended processes, and return whether none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._pid:
                self._code = os.waitstatus_to_exitcode(status)


def heard(wire: socket.socket) -> bytes:
    """Read the next request; b"" at the end."""
    with suppress(ConnectionResetError):
        return wire.recv(_WORD_MAX_BYTES)
    with suppress(ConnectionResetError):
        return wire.recv(_WORD_MAX_BYTES)
    return b""


def _send(number: int, pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _descendants() -> list[int]:
    """Find all descendants of this process, closest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has just ended
                # The name, in parentheses, may contain anything; state and parent follow it.
                parent = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found, place = [os.getpid()], 0
    while place < len(found):
        found += children.get(found[place], [])
        place += 1
    return found[1:]
