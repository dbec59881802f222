"""How the page says things, draws things and names places: text in, text out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from daemon.http.status_page.plots import HEIGHT, WIDTH, plot
from daemon.http.status_page.urls import conversation_id_of, conversation_place
from daemon.views.text import (
    age,
    clock,
    describe_event,
    number,
    per_second,
    plain,
    ranges,
    release_command,
    stamp,
    whole,
)

IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)
ODD_IDS = [
    "a/b",
    "/",
    "..",
    ".",
    "../..",
    "a\\b",
    "a b+c",
    "%2F",
    "%",
    "ü",
    "👩‍👧",
    "a?b=c&d#e",
    "\n",
    "//x",
    "c:\\..\\x",
]


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (None, "\u2013"),
        (0, "0.0 s"),
        (449, "0.4 s"),
        (9_949, "9.9 s"),
        (9_960, "10 s"),
        (59_499, "59 s"),
        (59_600, "1 min"),
        (250_000, "4 min 10 s"),
        (7_500_000, "2 h 5 min"),
        (7_200_000, "2 h"),
        (300_000_000, "3 d 11 h"),
        (-32_000, "\u221232 s"),
    ],
)
def test_a_time_is_said_in_at_most_two_units(ms: int | None, said: str) -> None:
    assert age(ms) == said


def test_numbers_keep_the_digits_that_matter() -> None:
    assert [number(value) for value in (None, 0, 0.04, 58.0, 99.94, 99.96, 1234.5)] == [
        "\u2013",
        "0",
        "0.0",
        "58.0",
        "99.9",
        "100",
        "1\u202f234",
    ]
    assert (whole(None), whole(100_000), per_second(None), per_second(2.0)) == (
        "\u2013",
        "100\u202f000",
        "\u2013",
        "2.0/s",
    )


def test_a_moment_tells_its_date_only_where_it_is_another_day() -> None:
    assert stamp(1_795_459_434_123) == "2026-11-23T18:43:54.123Z"
    assert clock(1_795_459_434_123, 1_795_459_500_000) == "18:43:54.123"
    assert clock(1_795_459_434_123, 1_795_559_500_000) == "2026-11-23 18:43:54.123"


def test_numbers_in_a_row_are_said_as_a_range() -> None:
    assert ranges([]) == ""
    assert ranges([3], "Partition", "Partitions") == "Partition 3"
    assert ranges([0, 2, 3, 4, 9], "Partition", "Partitions") == "Partitions 0, 2\u20134, 9"


def test_what_cannot_be_seen_in_a_text_is_shown_by_its_number() -> None:
    assert plain("a\u202eb\x00c\u2028") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+2028⟩"
    assert plain("a\u3164b\ufe00c\u115f") == "a⟨U+3164⟩b⟨U+FE00⟩c⟨U+115F⟩"
    assert plain("a\u00a0b\u2003c\u3000") == "a⟨U+00A0⟩b⟨U+2003⟩c⟨U+3000⟩"
    assert plain("a\u200db\u200cc\u200d") == "a⟨U+200D⟩b⟨U+200C⟩c⟨U+200D⟩"
    assert plain("\U0001f469\u200d\u200d\U0001f467 \u200d") == "\U0001f469⟨U+200D⟩⟨U+200D⟩\U0001f467 ⟨U+200D⟩"
    assert plain(None) == ""


def test_the_command_that_takes_a_lease_away_can_be_pasted_into_a_shell() -> None:
    assert release_command("user-42") == "lockstore release --force user-42"
    assert release_command("a b; rm -rf $HOME") == "lockstore release --force 'a b; rm -rf $HOME'"
    assert release_command("--help") == "lockstore release --force -- --help"
    assert release_command("a\u202eb") is None
    assert release_command("a\u00a0b") is None


def test_emoji_and_all_scripts_stay_as_they_are() -> None:
    text = "👩‍👧 👩🏽‍🚀 🏳️‍🌈 ü 日本 شكراً <b> &"
    assert plain(text) == text


def test_each_event_says_what_it_tells() -> None:
    said = [
        describe_event({"type": "queued", "position": 3}),
        describe_event({"type": "granted", "waited": 1.5, "behind": 2}),
        describe_event({"type": "released", "held": 0.384, "reason": "holder"}),
        describe_event({"type": "released", "held": 70.0, "reason": "forced", "by": "ann"}),
        describe_event({"type": "expired", "phase": "held"}),
        describe_event({"type": "expired", "phase": "waiting"}),
        describe_event({"type": "cancelled", "reason": "unreachable"}),
        describe_event({"type": "cancelled", "reason": "forced", "by": "ann"}),
    ]
    assert said == [
        "3 ahead",
        "after 1.5 s, 2 behind",
        "held 384 ms",
        "held 1 min 10 s, by force, by ann",
        "its lease ended",
        "its wait ended",
        "its reply queue is gone",
        "by force, by ann",
    ]


@given(IDS)
def test_every_conversation_has_a_place_that_leads_back_to_it(conversation_id: str) -> None:
    check_place(conversation_id)


@pytest.mark.parametrize("conversation_id", ODD_IDS)
def test_odd_conversations_have_a_place_too(conversation_id: str) -> None:
    check_place(conversation_id)


def check_place(conversation_id: str) -> None:
    url = URL(f"http://localhost/{conversation_place(conversation_id)}", encoded=True)
    in_path = conversation_id_of(url.raw_path, "conversations/")
    assert (in_path or url.query.get("id")) == conversation_id
    assert re.fullmatch(r"/conversations/[^/\\]*", url.raw_path)
    # A client that puts the path in order, as browsers and proxies do, still means the same.
    assert conversation_id_of(URL(f"http://localhost{url.raw_path}").raw_path, "conversations/") == in_path


def test_a_path_that_names_nothing_readable_is_none() -> None:
    assert conversation_id_of("/conversations/", "conversations/") is None
    assert conversation_id_of("/conversations/%FF", "conversations/") is None


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_a_plot_stands_on_zero_and_its_edge_is_a_round_number() -> None:
    drawn = plot([0.0, 30.0, 61.0])
    (path,) = drawn.paths
    (_, zero), _, (right, highest) = points(path)
    assert drawn.top == 80
    assert right == WIDTH
    assert zero == pytest.approx(HEIGHT, abs=2)
    assert highest < HEIGHT / 2


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=20), st.lists(st.none() | st.floats(0, 1e9), max_size=20))
def test_a_plot_never_leaves_its_box(first: list[float | None], second: list[float | None]) -> None:
    drawn = plot(first, second)
    for path in (drawn.area, *drawn.paths):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(path))


def test_what_is_not_known_is_a_gap_and_no_zero() -> None:
    assert plot([1.0, 2.0, None, None, 3.0, 4.0]).paths[0].count("M") == 2
    assert plot([None, None]).paths == ("",)


def test_a_moment_between_gaps_is_still_seen() -> None:
    (path,) = plot([None, 1.0, None]).paths
    (left, _), (right, _) = points(path)
    assert left < right


def test_two_series_share_one_scale() -> None:
    drawn = plot([1.0, 1.0], [100.0, 100.0])
    (_, low), _ = points(drawn.paths[0])
    (_, high), _ = points(drawn.paths[1])
    assert high < low
    assert drawn.top == 100
