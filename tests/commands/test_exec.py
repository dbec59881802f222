"""`lockstore exec`: one at a time, exit codes and signals pass, and nothing of a command outlives its lease."""

import asyncio
import getpass
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.commands.conftest import LIMIT_S, Place
from tests.commands.terminal import Terminal
from tests.docs.pages import CHECKOUT

SHELLS = 10
PYTHON = sys.executable

COUNT = "n=$(cat {file}); sleep 0.02; echo $((n + 1)) > {file}; echo $LOCKSTORE_TICKET >> {file}.tickets"


def until(what: str, happens: object, limit_s: float = LIMIT_S) -> None:
    give_up_at = time.monotonic() + limit_s
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < give_up_at, f"{what} has not happened"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ten_shells_count_and_none_is_lost(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "counter"
    file.write_text("0\n")
    shells = [place.start("exec", "counter", "--", "sh", "-c", COUNT.format(file=file)) for _ in range(SHELLS)]
    assert [(shell.communicate(timeout=LIMIT_S), shell.returncode) for shell in shells] == [(("", ""), 0)] * SHELLS
    assert file.read_text() == f"{SHELLS}\n"
    tickets = [int(line) for line in Path(f"{file}.tickets").read_text().split()]
    assert tickets == sorted(set(tickets))


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 7", 7), ("kill -TERM $$", 143)],
)
def test_the_exit_code_passes(script: str, code: int, place: Place) -> None:
    ran = place.run("exec", "codes", "--", "sh", "-c", script)
    assert (ran.returncode, ran.stderr) == (code, "")


def test_the_command_has_its_streams_its_arguments_and_the_ticket(place: Place, tmp_path: Path) -> None:
    script = 'cat; echo "$@" >&2; echo three >&3; env | grep ^LOCKSTORE_'
    line = (
        f'exec {shlex.join(place.argv("exec", "streams", "--lifetime", "30", "--", "sh", "-c", script))} "$@" 3>third'
    )
    ran = subprocess.run(
        ["sh", "-c", line, "sh", "name", "--", "-x", "two words"],
        input="from outside\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert ran.returncode == 0
    assert ran.stderr == "-- -x two words\n"
    assert (tmp_path / "third").read_text() == "three\n"
    first, *variables = ran.stdout.splitlines()
    assert first == "from outside"
    told = dict(line.split("=", 1) for line in variables)
    assert set(told) == {f"LOCKSTORE_{name}" for name in ("CONVERSATION", "TICKET", "REQUEST_ID", "EXPIRES_AT")}
    assert told["LOCKSTORE_CONVERSATION"] == "streams"
    assert int(told["LOCKSTORE_TICKET"]) >= 1
    assert 0 < float(told["LOCKSTORE_EXPIRES_AT"]) - time.time() < 30


async def test_operators_see_who_holds_it(place: Place) -> None:
    async with place.client() as locks, aclosing(locks.events("granted", conversation="seen")) as grants:
        heard = asyncio.create_task(anext(grants))
        while not heard.done():  # until the events are subscribed to
            ran = await asyncio.to_thread(place.run, "exec", "seen", "--", "sh", "-c", "echo $PPID")
    assert re.fullmatch(rf"{getpass.getuser()}@{socket.gethostname()}:\d+", heard.result().holder or "")
    assert ran.returncode == 0


HEARING = """
import os, signal, sys, time
def heard(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(9)
for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"):
    signal.signal(getattr(signal, "SIG" + name), heard)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.01)  # not pause(): a signal just before it would not wake it
"""


def test_signals_reach_the_command_once(place: Place) -> None:
    running = place.start("exec", "signals", "--", PYTHON, "-c", HEARING)
    assert running.stdout is not None
    running.stdout.readline()
    for name in ("INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "TERM"):
        running.send_signal(getattr(signal, f"SIG{name}"))
        assert running.stdout.readline() == f"SIG{name}\n"
    assert running.wait(LIMIT_S) == 9
    assert running.communicate() == ("", "")


def test_what_is_ignored_at_the_start_stays_ignored(place: Place) -> None:
    script = "kill -HUP $$; echo still here"
    ran = place.run(
        "exec", "nohup", "--", "sh", "-c", script, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert (ran.returncode, ran.stdout) == (0, "still here\n")


async def test_a_signal_before_the_turn_leaves_the_line(place: Place) -> None:
    async with place.client() as locks, locks.lock("impatient", lifetime=30):
        waiting = place.start("exec", "impatient", "--", "true")
        await place.stand_in_line("impatient", 2)
        waiting.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(waiting.wait, LIMIT_S) == 143
        await place.stand_in_line("impatient", 1)
        assert waiting.communicate() == ("", "")


async def test_a_turn_that_does_not_come_in_time_has_a_code_of_its_own(place: Place) -> None:
    async with place.client() as locks, locks.lock("busy", lifetime=30):
        now, soon = await asyncio.gather(
            asyncio.to_thread(place.run, "exec", "busy", "--wait", "0", "--", "echo", "no"),
            asyncio.to_thread(place.run, "exec", "busy", "--wait", "0.3", "--", "echo", "no"),
        )
    for ran, why in ((now, "the conversation is held"), (soon, "the wait expired before the grant")):
        assert (ran.returncode, ran.stdout) == (124, "")
        assert ran.stderr == (f"lockstore exec: busy: {why}; for details, run: lockstore show busy, lockstore check\n")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        pytest.param(("c", "--", "no-such-command"), 127, "no-such-command: not found", id="not found"),
        pytest.param(("c", "--", "/etc/hostname"), 126, "/etc/hostname: cannot be executed", id="not executable"),
        pytest.param(("c" * 201, "--", "true"), 2, "must be at most 200 bytes", id="too long"),
        pytest.param(("a\nb", "--", "true"), 2, "must not contain", id="control character"),
        pytest.param(("c", "--lifetime", "4000", "--", "true"), 2, "lifetime: must be at most 3600", id="too much"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(argv: tuple[str, ...], code: int, said: str, place: Place) -> None:
    ran = place.run("exec", *argv)
    assert ran.returncode == code
    assert ran.stderr.startswith("lockstore exec: ")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


# It does not let itself be asked, and has a child that has left its session, which beats too.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
else:
    os.wait()
name = f"{sys.argv[1]}.{'leader' if child else 'orphan'}"
os.write(1, f"{os.getpid()}\\n".encode())
while True:
    with open(name, "w") as beat:
        beat.write(repr(time.time()))
    time.sleep(0.005)
"""


class Stubborn:
    """A command that does not end by itself, and what is known of it."""

    def __init__(self, place: Place, conversation: str, folder: Path, lifetime: str) -> None:
        self.file = folder / conversation
        self.exec = place.start(
            *("exec", conversation, "--lifetime", lifetime, "--grace", "0.2"),
            *("--", PYTHON, "-c", STUBBORN, str(self.file)),
        )
        assert self.exec.stdout is not None
        self.pids = [int(self.exec.stdout.readline()) for _ in range(2)]

    def last_beat(self) -> float:
        return max(
            float(self.file.with_name(f"{self.file.name}.{who}").read_text() or 0) for who in ("leader", "orphan")
        )

    def is_gone(self) -> bool:
        return not any(map(lives, self.pids))


def test_nothing_of_the_command_outlives_a_lease_that_is_not_renewed(place: Place, tmp_path: Path) -> None:
    stubborn = Stubborn(place, "unrenewed", tmp_path, "2")
    place.daemon.pause()  # from now on nobody renews
    try:
        lease_end = place.lease_end("unrenewed")
        _, said = stubborn.exec.communicate(timeout=LIMIT_S)
    finally:
        place.daemon.resume()
    assert stubborn.exec.returncode == 75
    assert said.endswith("renewed in time; the command was terminated\n")
    assert stubborn.is_gone()
    assert stubborn.last_beat() < lease_end


def test_the_command_ends_in_time_though_exec_hangs(place: Place, tmp_path: Path) -> None:
    stubborn = Stubborn(place, "hanging", tmp_path, "2")
    stubborn.exec.send_signal(signal.SIGSTOP)
    lease_end = place.lease_end("hanging")
    until("the command's end", stubborn.is_gone)
    assert stubborn.last_beat() < lease_end
    stubborn.exec.send_signal(signal.SIGCONT)
    _, said = stubborn.exec.communicate(timeout=LIMIT_S)
    assert stubborn.exec.returncode == 75
    assert "the command was terminated" in said


def test_a_killed_exec_takes_the_command_with_it_and_frees_the_lock_within_its_lease(
    place: Place, tmp_path: Path
) -> None:
    lifetime_s, patience_s = 3, 3
    stubborn = Stubborn(place, "killed", tmp_path, str(lifetime_s))
    stubborn.exec.kill()
    until("the command's end", stubborn.is_gone)
    lease_end = place.lease_end("killed")
    assert stubborn.last_beat() < lease_end
    ran = place.run("exec", "killed", "--wait", str(lifetime_s + patience_s), "--", "date", "+%s.%N")
    assert ran.returncode == 0
    assert float(ran.stdout) > lease_end
    stubborn.exec.communicate()


def test_a_killed_minder_takes_the_command_with_it(place: Place) -> None:
    with place.start("exec", "unminded", "--", "sh", "-c", "echo $$ $PPID; exec sleep 60") as running:
        assert running.stdout is not None
        command, minder = map(int, running.stdout.readline().split())
        os.kill(minder, signal.SIGKILL)
        assert running.wait(LIMIT_S) == 125
    assert not lives(command)


def test_what_a_command_leaves_running_is_let_run(place: Place) -> None:
    ran = place.run("exec", "leaving", "--", "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!")
    left = int(ran.stdout)
    assert ran.returncode == 0
    assert lives(left)
    os.kill(left, signal.SIGKILL)


COUNTING = """
import os, signal, time
heard = 0
def hear(*_):
    global heard
    heard += 1
signal.signal(signal.SIGINT, hear)
print("ready", flush=True)
while not heard:
    time.sleep(0.01)
time.sleep(0.2)
print("heard", heard, flush=True)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.raise_signal(signal.SIGINT)
"""


def test_ctrl_c_reaches_the_command_once_and_ends_a_shells_loop(place: Place) -> None:
    line = shlex.join(place.argv("exec", "interrupted", "--", PYTHON, "-c", COUNTING))
    with Terminal(["bash", "-c", f"for again in 1 2; do {line}; done; echo after the loop"]) as terminal:
        terminal.expect("ready")
        terminal.type("\x03")
        terminal.expect("heard 1\r")
        rest = terminal.rest()
    assert "ready" not in rest
    assert "after" not in rest


def test_ctrl_z_stops_the_job_and_what_is_stopped_for_too_long_is_ended_in_time(place: Place) -> None:
    line = shlex.join(
        place.argv("exec", "stopped", "--lifetime", "2", "--", "sh", "-c", "echo pid $$; exec sed -u 's/^/heard: /'")
    )
    with Terminal(["bash", "--norc", "--noprofile", "-i"]) as terminal:
        terminal.type(f"{line}\n")
        pid = int(terminal.expect(r"pid (\d+)")[1])
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.type("fg\n")
        terminal.insist("what is typed\n", "heard: what is typed")
        terminal.type("\x1a")
        terminal.expect("Stopped")
        until("the command's end", lambda: not lives(pid))
        terminal.type("fg\n")
        terminal.expect("the command was terminated")
        terminal.type("echo code $?\n")
        terminal.expect("code 75")
        terminal.type("exit\n")
