"""What counts as a stall, and what does not."""

from daemon.monitoring.stalls import LOOK_S, ProgressCounter, Stall, StallDetector

LIMIT_S = 5.0


class Part:
    """A part of the pipeline as the test wants it."""

    def __init__(self, name: str = "partition 0") -> None:
        self.has = 0
        self.beat = ProgressCounter(name, lambda: self.has)


class Watched:
    """A pulse that is looked at regularly, on a clock of the test's."""

    def __init__(self, *parts: Part) -> None:
        self.pulse = StallDetector(LIMIT_S)
        self.pulse.watch([part.beat for part in parts])
        self.now = 1000.0
        self.pulse.look(self.now, excused=False)

    def after(self, seconds: float, *, excused: bool = False) -> list[Stall]:
        """Look each second for so long, and give what the last look found."""
        found: list[Stall] = []
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            found = self.pulse.look(self.now, excused=excused)
        return found


def test_a_part_with_work_that_makes_no_step_has_stalled_after_the_limit() -> None:
    part = Part()
    watched = Watched(part)
    part.has = 3
    assert watched.after(LIMIT_S) == []
    (stall,) = watched.after(LOOK_S)
    assert stall == Stall("partition 0", LIMIT_S + LOOK_S, 3)


def test_a_part_without_work_never_stalls() -> None:
    assert Watched(Part()).after(100 * LIMIT_S) == []


def test_work_that_comes_after_a_long_rest_has_the_whole_limit() -> None:
    part = Part()
    watched = Watched(part)
    watched.after(100 * LIMIT_S)
    part.has = 1
    assert watched.after(LIMIT_S) == []


def test_every_step_gives_the_whole_limit_again_and_ends_a_stall() -> None:
    part = Part()
    part.has = 1
    watched = Watched(part)
    assert watched.after(LIMIT_S) == []
    part.beat.step()
    assert watched.after(LIMIT_S + LOOK_S) == []
    assert watched.after(LOOK_S)
    part.beat.step()
    assert watched.after(LOOK_S) == []


def test_who_waits_for_a_store_or_a_broker_that_is_away_is_alive() -> None:
    part = Part()
    part.has = 1
    watched = Watched(part)
    assert watched.after(100 * LIMIT_S, excused=True) == []
    assert watched.after(LIMIT_S) == [], "it has the whole limit when they are back"
    assert watched.after(LOOK_S)


def test_one_partition_that_stalls_is_found_among_others_that_go_on() -> None:
    stuck, busy = Part("partition 0"), Part("partition 1")
    stuck.has = busy.has = 1
    watched = Watched(stuck, busy)
    for _ in range(2 * round(LIMIT_S)):
        busy.beat.step()
        found = watched.after(LOOK_S)
    assert [stall.name for stall in found] == ["partition 0"]


def test_a_process_that_was_stopped_for_long_has_not_stalled() -> None:
    part = Part()
    part.has = 1
    watched = Watched(part)
    watched.now += 1000 * LIMIT_S  # nobody looked: the whole process stood still
    assert watched.after(LOOK_S) == []


def test_of_an_old_session_nothing_is_left() -> None:
    old, new = Part(), Part()
    old.has = new.has = 2
    watched = Watched(old)
    watched.after(2 * LIMIT_S)
    watched.pulse.watch([new.beat])
    assert watched.after(LIMIT_S) == []
    watched.pulse.watch(())
    assert watched.after(2 * LIMIT_S) == []
