"""Counting by size, as Prometheus wants it."""

from daemon.monitoring.histogram import Histogram


def test_buckets_count_what_is_at_most_so_large() -> None:
    histogram = Histogram((0.1, 1, 10))
    for value in (0.05, 0.1, 0.2, 5, 100):
        histogram.add(value)
    assert histogram.cumulative() == [("0.1", 2), ("1.0", 3), ("10.0", 4), ("+Inf", 5)]
    assert histogram.sum == 105.35


def test_several_that_are_equal_count_as_often() -> None:
    one_by_one, at_once = Histogram((1, 2)), Histogram((1, 2))
    one_by_one.add_all([1.5] * 3)
    at_once.add(1.5, 3)
    assert one_by_one.cumulative() == at_once.cumulative() == [("1.0", 0), ("2.0", 3), ("+Inf", 3)]
    assert one_by_one.sum == at_once.sum == 4.5


def test_of_nothing_there_is_nothing() -> None:
    assert Histogram((1,)).cumulative() == [("1.0", 0), ("+Inf", 0)]
