from benchmarks.contest import Stay
from benchmarks.contest_figures import RACE_S, Again, Lines, Window, cycles_per_s, most_overtaken, out_of_turn, overlaps


def stays(*moments: tuple[float, float, float], tickets: tuple[int | None, ...] = ()) -> list[Stay]:
    numbers = tickets or (None,) * len(moments)
    return [Stay(place, *moment, numbers[place]) for place, moment in enumerate(moments)]


def test_nobody_is_out_of_turn_who_came_in_as_they_had_asked() -> None:
    assert out_of_turn(stays((0.0, 1.0, 2.0), (0.1, 2.1, 3.0), (0.2, 3.1, 4.0))) == [False, False, False]


def test_whoever_comes_in_before_one_who_asked_earlier_is_out_of_turn() -> None:
    assert out_of_turn(stays((0.5, 1.0, 2.0), (0.6, 2.1, 3.0), (0.0, 3.1, 4.0))) == [True, True, False]


def test_asking_at_nearly_the_same_time_is_a_race_that_anybody_may_win() -> None:
    late = RACE_S * 0.9
    assert out_of_turn(stays((late, 1.0, 2.0), (0.0, 2.1, 3.0))) == [False, False]
    assert out_of_turn(stays((late, 1.0, 2.0), (0.0, 2.1, 3.0)), race_s=late / 2) == [True, False]


def test_tickets_know_no_race_and_no_time_of_asking() -> None:
    asked_later = stays((0.5, 1.0, 2.0), (0.0, 2.1, 3.0), tickets=(1, 2))
    assert out_of_turn(asked_later) == [False, False]
    assert out_of_turn(stays((0.0, 1.0, 2.0), (0.5, 2.1, 3.0), tickets=(2, 1))) == [True, False]


def test_the_unluckiest_waiter_counts_only_those_who_asked_later_and_came_in_while_it_waited() -> None:
    line = stays(
        (-1.0, 0.5, 0.9),  # in before it asked again
        (0.8, 1.0, 2.0),  # asked before
        (1.5, 2.1, 3.0),
        (2.5, 3.1, 4.0),
        (1.0, 4.1, 5.0),
        (4.2, 5.1, 6.0),  # in after it
    )
    assert most_overtaken(line) == 2
    assert most_overtaken(sorted(line, key=lambda stay: stay.asked)[:1]) == 0


def test_two_inside_at_once_are_seen_also_behind_a_long_stay() -> None:
    assert overlaps(stays((0.0, 1.0, 2.0), (0.0, 2.0, 3.0))) == 0
    assert overlaps(stays((0.0, 1.0, 9.0), (0.0, 2.0, 3.0), (0.0, 8.0, 9.0))) == 2


def test_a_hand_off_lasts_from_a_release_to_the_next_entry() -> None:
    lines = Lines()
    lines.add(stays((0.0, 1.0, 2.0), (0.1, 2.5, 3.0), (0.2, 4.0, 5.0)))
    assert lines.handoffs_s == [0.5, 1.0]
    assert lines.served_s == [2.0]


def test_an_entry_of_the_last_holder_itself_is_no_hand_off() -> None:
    back_at_once = [Stay(0, 0.0, 1.0, 1.1, None), Stay(0, 1.1, 1.2, 1.3, None), Stay(1, 0.5, 1.5, 1.6, None)]
    found = Again.of(back_at_once, 2, Window(0.0, 2.0))
    assert (found.entries_per_s, found.handoffs_per_s) == (1.5, 0.5)
    assert (found.most, found.fewest) == (2, 1)
    assert found.out_of_turn == 1 / 3


def test_only_entries_in_the_window_are_counted() -> None:
    entries = stays((0.0, 0.9, 1.0), (0.0, 1.0, 1.1), (0.0, 2.9, 3.0), (0.0, 3.0, 3.1))
    assert cycles_per_s(entries, Window(1.0, 3.0)) == 1.0
