"""Each Lua script keeps to its contract header, and the Python side to the script."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from redis.crc import key_slot

from lockstore.core.commands import (
    Command,
    Expire,
    Finish,
    ForceRelease,
    Issue,
    Release,
    Renew,
    Request,
    Settle,
    Withdraw,
)
from lockstore.core.line import SETTLE_MAX
from lockstore.stores.redis.concurrent.store import ConcurrentRedisLockStore
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.connection.scripts import load
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from tests.architecture.lua_contract import FIELDS, List, contract, names

ALL = names()
VERBS = [name for name in ALL if not name.startswith("_")]
PARTS = [name for name in ALL if name.startswith("_")]
LISTS: tuple[List, List] = ("KEYS", "ARGV")


@pytest.mark.parametrize("name", VERBS)
class TestAVerb:
    def test_begins_so_that_redis_guards_its_keys(self, name: str) -> None:
        assert re.fullmatch(r"#!lua( flags=(no-writes|allow-oom))?", contract(name).text.partition("\n")[0])

    def test_declares_everything(self, name: str) -> None:
        header = contract(name).header
        assert all(header.get(field) for field in FIELDS), header

    def test_says_whether_it_may_be_called_again(self, name: str) -> None:
        assert re.match(r"(safe|NOT safe): ", contract(name).header["RETRY"])

    @pytest.mark.parametrize("which", LISTS)
    def test_uses_what_it_declares_and_nothing_else(self, name: str, which: List) -> None:
        script = contract(name)
        declared, used = script.declared(which), script.used(which)
        assert declared == set(range(1, len(declared) + 1)), "a place is not explained"
        if script.uses_computed(which):
            assert used <= declared
        else:
            assert used == declared

    def test_writes_nothing_if_it_says_so(self, name: str) -> None:
        script = contract(name)
        commands = set(re.findall(r"redis\.call\('(\w+)'", script.body))
        if "no-writes" in script.text.partition("\n")[0]:
            assert commands <= {
                "TIME",
                "GET",
                "HGET",
                "HGETALL",
                "LRANGE",
                "PTTL",
                "ZCARD",
                "ZCOUNT",
                "ZRANGE",
                "ZSCORE",
                "XLEN",
                "XRANGE",
            }

    def test_names_no_key_but_those_it_was_given(self, name: str) -> None:
        first_arguments = set(re.findall(r"redis\.call\('(?!INFO')\w+',\s*([^,)]+)", contract(name).body))
        assert not {argument for argument in first_arguments if argument.startswith(("'", '"'))}
        assert not re.search(r"redis\.call\('(KEYS|SCAN|EVAL|FLUSH\w*|RANDOMKEY)'", contract(name).body)

    def test_is_loaded_with_what_it_includes(self, name: str) -> None:
        text = load(name).text
        assert text.startswith("#!lua")
        assert text.count("#!lua") == 1
        for part in contract(name).included:
            assert contract(part).text.partition("\n")[0] in text
            assert set(re.findall(r"^local function .*$", contract(part).text, re.MULTILINE)) <= set(text.splitlines())
        assert "-- REST" not in text
        assert not re.search(r"^local [A-Z]", text, re.MULTILINE), "numbers stand in place of constants"


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_included_by_some_verb_and_says_what_it_takes(name: str) -> None:
    assert any(name in contract(verb).included for verb in VERBS)
    assert not contract(name).text.startswith("#!")
    assert contract(name).header.keys() & {"KEYS", "ARGV"}


def test_every_verb_is_somebodys() -> None:
    users = [path.read_text() for path in Path(str(files("lockstore"))).rglob("*.py")]
    assert [verb for verb in VERBS if not any(f'"{verb}"' in user for user in users)] == []


@pytest.mark.parametrize(
    "command",
    [
        Request("c", "r", 1, 1),
        Release("c", 1),
        Renew("c", 1),
        Expire("c", 1),
        Settle("c"),
        Withdraw("c", 1, "q"),
        ForceRelease("c", "anna"),
        Issue("c", 1),
        Finish("c", 1),
    ],
    ids=lambda command: type(command).__name__,
)
def test_python_gives_as_many_arguments_as_the_header_explains(
    command: Command,
) -> None:
    store = ConcurrentRedisLockStore(RedisOptions())
    call = store._call(command, 0)
    assert len(call.args) == len(contract(call.script.name).declared("ARGV"))


def test_python_gives_as_many_keys_as_the_headers_explain() -> None:
    concurrent, values = ConcurrentKeys(), RedisKeys()
    assert len(concurrent.of_line("c", 0)) == len(contract("_line").declared("KEYS"))
    assert len(concurrent.of_shard(0)) == len(contract("find_due").declared("KEYS"))
    assert len(concurrent.of_shard(0)) == len(contract("backlog").declared("KEYS"))
    assert len(concurrent.of_index(0)) == len(contract("stats").declared("KEYS"))
    assert len(values.of("c")) == len(contract("read_lock").declared("KEYS"))
    assert len([*values.of("c"), values.history(0)]) == len(contract("read_for_update").declared("KEYS"))
    assert len([*values.of("c"), values.agenda(0)]) == len(contract("compare_and_set").declared("KEYS"))
    assert len([*values.of("c"), values.agenda(0)]) == len(contract("inspect_lock").declared("KEYS"))
    assert len([*concurrent.of_line("c", 0)[:6], *concurrent.of_index(0)]) == len(contract("inspect").declared("KEYS"))


def test_a_limit_that_is_written_twice_is_the_same() -> None:
    assert f"local may_settle = {SETTLE_MAX}" in contract("_steps").text


@pytest.mark.parametrize("conversation_id", ["c", "*", "a}b{c", "{x}", "😀", "{", "x" * 200])
def test_all_keys_of_a_line_fall_into_one_slot(conversation_id: str) -> None:
    concurrent, values = ConcurrentKeys("bot"), RedisKeys("bot", clustered=True)
    shard, slot = concurrent.shard_of(conversation_id), values.slot_of(conversation_id)
    of_line, of_value = concurrent.of_line(conversation_id, shard), values.of(conversation_id)
    for keys in (
        [*of_line, *concurrent.of_shard(shard), *concurrent.of_index(shard), concurrent.mark_of(of_line[0])],
        [*of_value, values.agenda(slot), values.history(slot), values.mark_of(of_value.lock)],
    ):
        assert len({key_slot(key.encode()) for key in keys}) == 1
