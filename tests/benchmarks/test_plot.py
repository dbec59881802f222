import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers_places import PEERS
from benchmarks.plot_series import LOOKS, read, spaced

APART = 1.3


def points(*p50_ms: float) -> list[dict[str, Any]]:
    return [{"waiters": 2 * 10**place, "p50_ms": value} for place, value in enumerate(p50_ms)]


def test_names_that_are_far_apart_stay_where_their_lines_end() -> None:
    assert spaced({"a": 1.0, "b": 10.0}, 1.5) == {"a": 1.0, "b": 10.0}


def test_names_that_are_close_together_move_apart_and_keep_their_order() -> None:
    heights = spaced({"c": 1.3, "a": 1.0, "b": 1.01, "far": 100.0}, APART)
    in_order = [heights[name] for name in ("a", "b", "c")]
    assert all(above >= below * APART * 0.999 for below, above in pairwise(in_order))
    assert heights["far"] == 100.0


def test_every_lock_that_is_measured_can_be_drawn() -> None:
    assert set(LOOKS) == set(PEERS)


def test_of_two_files_with_one_lock_the_later_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"waiters": {"etcd": points(1, 2), "lockstore": points(3, 4)}}))
    second.write_text(json.dumps({"waiters": {"lockstore": points(5, 6, 7)}}))
    series = read([first, second])
    assert {name: found[-1]["p50_ms"] for name, found in series.items()} == {"lockstore": 7, "etcd": 2}


@pytest.mark.parametrize("text", ['{"waiters": {}}', '{"waiters": 20}', '{"messages": 100}'])
def test_a_file_without_such_figures_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(SystemExit):
        read([file])
