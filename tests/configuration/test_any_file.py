"""Whatever stands in a file, loading it gives settings or a ConfigError of one line, and no secret is in the message."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.config.settings import BrokerSettings, DaemonSettings, Settings
from lockstore.errors import ConfigError
from lockstore.stores.redis.connection.options import RedisOptions
from tests.configuration.loading import load_whole, write

SECRET = "§qZ7secretX"  # no name of an option could be so: names are shown, values are not

PIECES = [
    SECRET, f"'{SECRET}'", f'"{SECRET}', f"*{SECRET}", f"&{SECRET} ", f"!{SECRET} ", f"#{SECRET}", f" #{SECRET}", f"@{SECRET}", f"|{SECRET}",
    "lock_store", "broker", "daemon", "type", "redis", "concurrent_redis", "in_memory", "password", "url", "host", "port", "lifetime", "http",
    ":", ": ", ":\n", "\n", "\n  ", "\n    ", "- ", "? ", "{", "}", "[", "]", ", ", "#", " #", "'", '"', "|", ">", "|-\n", "&a ", "*a", "<<: *a", "<<",
    "!!str ", "!!python/name:os.system ", "! ", "---\n", "...\n", "%YAML 1.1\n", "\t", "\ufeff", "\r\n", "\x85", "\u2028", "\x00", "\ud800",
    "~", "null", "yes", "0123", "1e400", "12:30:45", "9" * 400, "${HOME}", "${", "$${", "${credential:x}", "${X:y}", "\\", "\\ud800", "\\x00",
    f"amqp://u:{SECRET}@h/", f"amqp://u:1#{SECRET}@h", f"redis://u:{SECRET}/x@h", f"rediss://h?password={SECRET}&{SECRET}", "@", "`", "%", "=",
]  # fmt: skip

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(PIECES), st.dates(), st.binary(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def options(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=10), VALUES, max_size=4)


FILES = st.fixed_dictionaries(
    {},
    optional={
        "lock_store": options("type", *RedisOptions.model_fields).map(lambda given: {"type": "redis", **given}),
        "broker": options(*BrokerSettings.model_fields),
        "daemon": options(*DaemonSettings.model_fields),
        "others": VALUES,
    },
)


def check(folder: Path, content: str | bytes) -> None:
    """Load a file, and hold what comes of it against the one rule."""
    file = write(folder, content)
    try:
        loaded = load_whole(file, {"HOME": SECRET})
    except ConfigError as error:
        said = str(error)
        assert SECRET not in said
        assert said.isprintable()
        said.encode()
        for word in ("Input should", "Extra inputs", "Value error", "input_value"):
            assert word not in said
    else:
        assert isinstance(loaded, Settings)
        assert SECRET not in repr(loaded.broker.url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30))
def test_of_pieces_that_mean_something_in_yaml(folder: Path, pieces: list[str]) -> None:
    check(folder, "".join(pieces))


@MANY
@given(lines=st.lists(st.tuples(st.sampled_from(["", "  ", "    "]), st.sampled_from(["type", "password", "host", "url", "x"]), st.lists(st.sampled_from(PIECES), max_size=4)), max_size=8))  # fmt: skip
def test_of_lines_that_look_like_options(folder: Path, lines: list[tuple[str, str, list[str]]]) -> None:
    body = "".join(f"{indent}{name}: {''.join(pieces)}\n" for indent, name, pieces in lines)
    check(folder, f"lock_store:\n  type: redis\n{body}")


@MANY
@given(data=FILES)
def test_of_sections_with_values_of_any_type(folder: Path, data: dict[str, Any]) -> None:
    check(folder, yaml.dump(data, allow_unicode=True))


@MANY
@given(content=st.binary(max_size=200))
def test_of_any_bytes(folder: Path, content: bytes) -> None:
    check(folder, content)
