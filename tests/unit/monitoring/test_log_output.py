"""The log's own thread, and files that hang, fail or are cut off."""

import errno
import fcntl
import os
import pty
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from daemon.monitoring.log_output import DRAIN_S, LogOutput

PATIENCE_S = 60.0


def output_on(descriptor: int) -> LogOutput:
    return LogOutput(descriptor, "{} lost\n".format)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    # What still writes has its end when nobody reads any more; its descriptor stays open until the process ends.


def test_a_pipe_that_nobody_reads_delays_nobody_and_its_reader_hears_how_much_was_lost(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = output_on(writing)
    for number in range(3500):  # the pipe and two backlogs take some 2,000
        output.write(f"{number:0999}\n")
    lost = output.lines_lost
    assert 1000 < lost < 3500
    read, place, reported = b"", 0, 0
    while place < 3500:
        read += os.read(reading, 1_000_000)
        lines = read.decode().split("\n")[:-1]
        place = reported = 0
        for line in lines:  # each report stands where lines are missing; there are two where the thread was late
            if line.endswith(" lost"):
                missing = int(line.removesuffix(" lost"))
                place, reported = place + missing, reported + missing
            else:
                assert int(line) == place
                place += 1
    assert (place, reported) == (3500, lost)


def test_a_pipe_whose_reader_is_gone_takes_every_line_as_lost() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = output_on(writing)
    output.write("a\n")
    output.write("b\n")
    wait_for(lambda: output.lines_lost == 2)


def test_a_full_disk_is_reported_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    room = 5

    def write(_: int, data: bytes) -> int:
        nonlocal room
        taken = min(len(data), room)
        if not taken:
            raise OSError(errno.ENOSPC, "full")
        room -= taken
        written.append(data[:taken])
        return taken

    monkeypatch.setattr(os, "write", write)
    output = output_on(2)
    for number, line in enumerate(("cut off\n", "lost\n"), start=1):
        output.write(line)
        wait_for(lambda number=number: output.lines_lost == number)  # type: ignore[misc]
    room = 1000
    output.write("again\n")
    wait_for(lambda: b"".join(written).endswith(b"again\n"))
    assert b"".join(written) == b"cut o\n2 lost\nagain\n"


def test_a_pipe_that_another_program_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
    output = output_on(writing)
    for number in range(300):
        output.write(f"{number:0999}\n")
    read = b""
    while len(read) < 300_000:
        read += os.read(reading, 1_000_000)
    assert [int(line) for line in read.splitlines()] == list(range(300))
    assert output.lines_lost == 0


def test_the_end_waits_for_lines_but_not_for_a_reader_that_hangs(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = output_on(writing)
    output.write("a\n")
    output.drain()
    assert os.read(reading, 100) == b"a\n"
    output.write("x" * 200_000)
    begun = time.monotonic()
    output.drain()
    assert time.monotonic() - begun >= DRAIN_S


def test_a_signal_handler_may_log_in_the_middle_of_a_line(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = output_on(writing)
    before = signal.signal(signal.SIGUSR1, lambda *_: output.write("b\n"))
    try:
        with output._changed:  # where `write` is when the signal comes
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert os.read(reading, 100) == b"b\n"


def test_what_is_printed_on_standard_error_becomes_whole_lines(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = output_on(writing)
    print("a", "b", "\udcff", file=output.as_file())
    output.drain()
    assert os.read(reading, 100) == b"a b \\udcff\n"


def test_a_character_that_the_terminal_lacks_is_escaped() -> None:
    leader, follower = pty.openpty()
    output = LogOutput(follower, str, "latin-1")
    output.write("é \U0001f600\n")
    assert os.read(leader, 100) == b"\xe9 \\U0001f600\r\n"
    os.close(leader)
