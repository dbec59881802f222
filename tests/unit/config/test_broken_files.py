"""Files that cannot be used as they are: each is refused with the line and what to do, soon, whatever is in it."""

import os
from pathlib import Path

import pytest

from daemon.config.file import FILE_MAX_BYTES
from daemon.config.settings import load
from daemon.config.yaml_document import DEPTH_MAX, NODES_MAX
from lockstore.errors import ConfigError
from tests.configuration.loading import SECRET, load_whole, refusal, write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lock_store: {type: redis}\nlock_store:\n  type: in_memory\n", "line 2: lock_store is defined twice, in line 1 and in line 2"),
        ("broker: {}\ndaemon: {}\nbroker: {}\n", "line 3: broker is defined twice, in line 1 and in line 3"),
        ("lock_store:\n  type: redis\n  host: a\n  type: in_memory\n", "line 4: lock_store: type is defined twice, in line 2 and in line 4"),
        ("daemon: {wait: 1,\n  'wait': 2}\n", "line 2: daemon: wait is defined twice, in line 1 and in line 2"),
        ("lock_store:\n  type: a.B\n  deep:\n  - x:\n      c: 1\n      c: 2\n", "line 6: lock_store.deep.x: c is defined twice, in line 5 and in line 6"),
        ("others:\n  x: 1\n  x: 2\n", "line 3: others: x is defined twice, in line 2 and in line 3"),
        ("on: 1\ntrue: 2\n", "line 2: true is defined twice"),
        ("1: 1\n0_1: 2\n", "line 2: a name is defined twice"),
        ("~: 1\nnull: 2\n", "line 2: null is defined twice"),
        ("a: &a {x: 1}\nlock_store:\n  <<: *a\n  <<: *a\n", "line 4: lock_store: a name is defined twice, in line 3 and in line 4"),
        ("lock_store:\ntype: redis\nhost: x\n", "line 1: lock_store: is empty, and host, type follows unindented: indent"),
        ("lock_store:\n# type: redis\n", "line 1: lock_store: is empty: indent the lines of its options, or, if this is intended, write type: in_memory"),
        ("lock_store: null\n", "line 1: lock_store: is empty"),
        ("broker:\nurl: amqp://h\n", "line 1: broker: is empty, and url follows unindented: indent"),
        ("daemon:\nlifetime: 5\n", "line 1: daemon: is empty, and lifetime follows unindented: indent"),
        ("daemon:\n", "line 1: daemon: is empty: indent the lines of its options, or, if this is intended, write daemon: {}"),
        ("lock_store:\n  type: redis\nhost: x\n", "line 3: host: is not inside lock_store: indent this line"),
        ("lockstore: {type: redis}\n", "line 1: lockstore: is not a section of lockstore; did you mean lock_store?"),
        ("lock-store: {type: redis}\n", "did you mean lock_store?"),
        ("Broker: {}\n", "did you mean broker?"),
        ("deamon: {}\n", "did you mean daemon?"),
        ("lock_store: [redis]\n", "line 1: lock_store: must be a mapping of options, each on an indented line of its own, not a list"),
        (f"lock_store: {SECRET}\n", "line 1: lock_store: must be a mapping of options, each on an indented line of its own, not a text"),
        (f"lock_store:\n  password:{SECRET}\n", "line 2: lock_store: must be a mapping of options"),
        (f"lock_store:\n  type: redis\n  password:{SECRET}\n", "a name must be followed by a colon and a space"),
        (f"lock_store:\n  type: redis\n  password:{SECRET}: x\n", "an unknown name"),
        (f"lock_store: {{type: redis, password:{SECRET}}}\n", "an unknown name"),
        ("lock_store:\n  type:\n  # redis\n", "lock_store.type: is required"),
        ("lock_store: {host: x}\n", "lock_store.type: is required"),
        ("", "FILE: the file is empty"),
        ("# broker: {}\n", "FILE: the file is empty"),
        ("---\n...\n", "FILE: the file is empty"),
        ("broker: {}\n---\nlock_store: {}\n", "line 2: a second document begins"),
        ("- broker\n", "line 1: must be a mapping of sections (lock_store, broker, daemon), not a list"),
        (f"{SECRET}\n", "line 1: must be a mapping of sections (lock_store, broker, daemon), not a text"),
        ("lock_store: {1: 2}\n", "line 1: lock_store: a name that YAML could read as a number"),
        ("lock_store: {yes: 2}\n", "a name that YAML could read as"),
        ("lock_store: {null: 2}\n", "a name that YAML could read as"),
        ("lock_store: {2026-11-28: 2}\n", "a name that YAML could read as"),
        ("lock_store: {[a]: 2}\n", "a name must be plain text"),
        ("lock_store: {!x a: 2}\n", "a name must be plain text"),
        ("lock_store: !x {}\n", "line 1: lock_store: begins with !"),
        ("lock_store:\n\ttype: redis\n", "line 2: not valid YAML at lock_store: a tab character: indent with spaces"),
        ("lock_store:\n  type: redis\n   host: x\n", "check the indentation"),
        ("lock_store:\n   type: redis\n  host: x\n", "check the indentation"),
        ("lock_store: {type: redis\n", "unclosed [ or {"),
        ("a: &a [*a]\n", "line 1: a: a recursive alias (*)"),
        ("lock_store: &a {type: redis, x: {y: *a}}\n", "line 1: lock_store.x.y: a recursive alias (*)"),
        ("a: &a {<<: *a}\nlock_store: *a\n", "a recursive alias (*)"),
        ("lock_store: {<<: 3}\n", "lock_store: << must be an alias"),
        ("a: \x07\n", "line 1: a character not allowed in YAML (U+0007)"),
        ("a: 1\nb: \ud800\n", "line 2: must be valid UTF-8"),
        ("%YAML 3.0\n---\nlock_store: {}\n", "line 1: not valid YAML"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_is_refused(encoding: str, tmp_path: Path) -> None:
    said = refusal(tmp_path, f"lock_store: {{type: redis, password: ä{SECRET}}}\n".encode(encoding))
    assert "must be valid UTF-8" in said or "a character not allowed in YAML (U+0000)" in said


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\xef\xbb\xbfdaemon: {wait: 3}\n", 3),
        (b"daemon:\r\n  wait: 3\r\n", 3),
        (b"daemon:\r  wait: 3\r", 3),
        (b"---\ndaemon: {wait: 3}\n...\n", 3),
        (b"%YAML 1.2\n---\ndaemon: {wait: 3}\n", 3),
        (b"others: !include {a: b}\ndaemon: {wait: 3}\n", 3),
        (b"x: &x {wait: 3}\ndaemon:\n  <<: *x\n  lifetime: 5\n", 3),
        (b"x: &x {wait: 4}\ndaemon:\n  wait: 3\n  <<: *x\n", 3),
        (b"x: &x {wait: 3}\ny: &y {wait: 4}\ndaemon:\n  <<: [*x, *y]\n", 3),
        (b"daemon: {wait: &w 3, lifetime: *w}\n", 3),
        (b"lock_store: {}\nbroker: {}\ndaemon: {wait: 3}\n", 3),
    ],
)
def test_what_is_fine_is_taken(content: bytes, value: float, tmp_path: Path) -> None:
    assert load_whole(write(tmp_path, content)).daemon.wait == value


def bomb(kind: str) -> str:
    """Make a small file that grows to 10 to the power of 12 values where aliases are followed."""
    first, each = {"list": ("[x]", "[{}]"), "mapping": ("{{x: 1}}", "{{<<: [{}]}}")}[kind]
    lines = [f"a0: &a0 {first.format()}"]
    lines += [f"a{level}: &a{level} {each.format(','.join([f'*a{level - 1}'] * 10))}" for level in range(1, 13)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(bomb("list") + "lock_store: {type: my.Store, x: *a12}\n", f"more than {NODES_MAX} values", id="bomb"),
        pytest.param(bomb("mapping") + "lock_store: *a12\n", f"more than {NODES_MAX} values", id="bomb of mappings"),
        pytest.param("a: " + "[" * 100_000, f"more than {DEPTH_MAX} levels deep", id="lists"),
        pytest.param("a: " + "{a: " * 50_000, f"more than {DEPTH_MAX} levels deep", id="mappings"),
        pytest.param("- " * 100_000, f"more than {DEPTH_MAX} levels deep", id="dashes"),
        pytest.param("? " * 100_000, f"more than {DEPTH_MAX} levels deep", id="question marks"),
        pytest.param("".join(" " * level + "a:\n" for level in range(600)), f"more than {DEPTH_MAX} levels deep", id="indented"),
        pytest.param("a: [" + "1," * 120_000 + "]\n", f"more than {NODES_MAX} values", id="many values"),
        pytest.param("a: [" + "1 , " * 60_000 + "]\n", f"more than {NODES_MAX} values", id="many values with spaces"),
        pytest.param("".join(f"k{line}: 1\n" for line in range(20_000)), f"more than {NODES_MAX} values", id="many names"),
        pytest.param("#" * (FILE_MAX_BYTES + 1), f"larger than {FILE_MAX_BYTES} bytes", id="large"),
        pytest.param("#" * FILE_MAX_BYTES, "the file is empty", id="one comment"),
    ],
)  # fmt: skip
def test_no_file_takes_long_or_ends_the_process(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, text)


def test_a_bomb_in_a_section_of_others_is_left_alone(tmp_path: Path) -> None:
    assert load(write(tmp_path, bomb("list") + "lock_store: {}\n")).lock_store == {}


def test_only_a_regular_file_is_read_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, said in [
        (tmp_path / "fifo", "it is not a regular file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), "it is not a regular file"),
        (tmp_path / "absent", "No such file or directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path(os.fsdecode(bytes(tmp_path) + b"/\xff")), "No such file or directory"),
    ]:
        with pytest.raises(ConfigError, match=f"cannot be read: {said}") as refused:
            load(path)
        assert str(refused.value).isprintable()
        str(refused.value).encode()
