"""Stores of a user's own: how they are found and built, and the examples of docs/custom-stores.md.

The shared tests run over the SQLite example too (kind `custom_sqlite`). Run as a module, `python -m
tests.stores.test_custom_stores SECTION COUNT`, this is a bot process: it says `ready`, waits for a line, takes the lock of one
conversation COUNT times, and writes [number, entered, left] of each, in ns of the clock that all processes share.
"""

import asyncio
import json
import sqlite3
import sys
import time
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from examples import sqlite_lock_store
from examples.sqlite_lock_store import SqliteLockStore
from harness import RedisServer
from lockstore.core.commands import Expire, Request
from lockstore.core.events import Granted
from lockstore.core.rules import Limits
from lockstore.core.ticket import Ticket, TicketLock
from lockstore.errors import ConfigError, ConversationError, LockError, StoreUnavailableError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from lockstore.stores.custom import EndpointConfig
from tests.docs.pages import CHECKOUT, blocks
from tests.stores.conftest import OpenStore
from tests.stores.table import done, line_of

PAGE = CHECKOUT / "docs" / "custom-stores.md"
EXAMPLE = CHECKOUT / "examples" / "sqlite_lock_store.py"

PROCESSES, VISITS, POLL_S = 3, 40, 0.002

METHODS = """
    def get_lock(self, conversation_id): ...
    def save_lock(self, lock): ...
    def delete_lock(self, conversation_id): ...
"""
STORE = f"from lockstore import LockStore\nclass Store(LockStore):{METHODS}"

only_sqlite = pytest.mark.parametrize("kind", ["custom_sqlite"])

Writer = Callable[[str], str]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    """Write a module as a user does, and give its name; a name of its own, so that no other test has imported it."""
    names: list[str] = []

    def write(text: str) -> str:
        name = f"user_{uuid.uuid4().hex[:8]}"
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


def refusal(kind: str, **options: Any) -> str:
    """Give what is said about a section that is refused."""
    with pytest.raises(ConfigError) as caught:
        create_store({"type": kind, **options}, Limits())
    return str(caught.value)


class TestAModule:
    def test_that_is_not_there_is_told(self) -> None:
        assert refusal("no_such_module.Store") == (
            "lock_store.type: cannot import 'no_such_module': No module named 'no_such_module'; "
            "modules are searched in sys.path, which PYTHONPATH extends"
        )
        assert refusal("tests.no_such_package.stores.Store").startswith(
            "lock_store.type: cannot import 'tests.no_such_package.stores': No module named 'tests.no_such_package'; "
        )
        assert "'json.decoder' is not a package" in refusal("json.decoder.inner.Store")

    @pytest.mark.parametrize("path", [".Store", "stores.", "stores..Store", "..", "."])
    def test_cannot_be_named_by_half_a_path(self, path: str) -> None:
        assert refusal(path) == "lock_store.type: must be in_memory, redis, concurrent_redis or path.to.module.Class"

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("\nimport no_such_driver", "ModuleNotFoundError: No module named 'no_such_driver' ({file}, line 2)"),
            ("from json import no_such_name", "ImportError: cannot import name 'no_such_name' from 'json' ({json})"),
            (
                "import json\njson.nothing()",
                "AttributeError: module 'json' has no attribute 'nothing' ({file}, line 2)",
            ),
            ("def f():\n    raise OSError('no route')\nf()", "OSError: no route ({file}, line 2)"),
            ("raise SystemExit('run me with arguments')", "SystemExit: run me with arguments ({file}, line 1)"),
            ("x = 1\nclass Store(:\n    pass", "SyntaxError: invalid syntax ({name}.py, line 2)"),
        ],
    )
    def test_that_cannot_be_imported_is_not_taken_for_one_that_is_not_there(
        self, write_module: Writer, tmp_path: Path, text: str, told: str
    ) -> None:
        name = write_module(text)
        file = tmp_path / f"{name}.py"
        expected = told.format(file=file, name=name, json=json.__file__)
        message = refusal(f"{name}.Store")
        assert message.startswith(f"lock_store.type: {name!r} was found, but importing it failed: {expected}")

    def test_that_lacks_a_module_beside_it_is_not_taken_for_one_that_is_not_there(self, write_module: Writer) -> None:
        name = write_module("")
        lacking = write_module(f"import {name}.helpers")
        assert f"importing it failed: ModuleNotFoundError: No module named '{name}.helpers'" in refusal(
            f"{lacking}.Store"
        )


class TestAClass:
    def test_that_is_not_there_is_told(self, write_module: Writer) -> None:
        name = write_module(STORE)
        assert refusal(f"{name}.Stroe") == f"lock_store.type: module {name!r} has no 'Stroe'"

    def test_that_is_no_store_is_told(self, write_module: Writer) -> None:
        name = write_module("class Store: ...\nstore = Store()")
        for kind in ("Store", "store"):
            told = f"lock_store.type: {name}.{kind} is not a class derived from lockstore.LockStore"
            assert refusal(f"{name}.{kind}") == told

    def test_that_derives_from_another_lock_store_is_told_so(self, write_module: Writer) -> None:
        rasas = write_module("class LockStore: ...")
        name = write_module(f"from {rasas} import LockStore\nclass Store(LockStore):{METHODS}")
        assert refusal(f"{name}.Store") == (
            f"lock_store.type: {name}.Store is not a class derived from lockstore.LockStore, but from {rasas}.LockStore"
        )

    @pytest.mark.parametrize("lacking", ["get_lock", "save_lock", "delete_lock"])
    def test_that_lacks_a_method_is_told_which(self, write_module: Writer, lacking: str) -> None:
        name = write_module("\n".join(line for line in STORE.splitlines() if lacking not in line))
        assert refusal(f"{name}.Store") == f"lock_store.type: {name}.Store does not define {lacking}"

    def test_that_has_no_method_at_all_is_told_all(self) -> None:
        told = "lock_store.type: lockstore.LockStore does not define get_lock, save_lock, delete_lock"
        assert refusal("lockstore.LockStore") == told

    def test_that_is_abstract_is_told_what_is_left_to_define(self, write_module: Writer) -> None:
        head = "import abc\nfrom lockstore import LockStore\nclass Store(LockStore, abc.ABC):"
        some = "\n    @abc.abstractmethod\n    def table(self): ...\n"
        name = write_module(head + METHODS.replace("    def get", "    @abc.abstractmethod\n    def get") + some)
        assert refusal(f"{name}.Store") == f"lock_store.type: {name}.Store does not define get_lock, table"

    def test_may_have_its_methods_from_another(self, write_module: Writer) -> None:
        name = write_module(f"from lockstore import LockStore\nclass Base:{METHODS}\nclass Store(Base, LockStore): ...")
        assert isinstance(create_store({"type": f"{name}.Store"}, Limits()), LockStore)


class TestAConstructor:
    @pytest.mark.parametrize(
        ("signature", "given", "told"),
        [
            ("self", {"colour": 1}, "unknown keys: 'colour'"),
            ("self, url", {"url": "x", "colour": 1}, "unknown keys: 'colour' (accepted: 'url')"),
            ("self, url, *, size=1", {"url": 1, "a": 1, "b": 1}, "unknown keys: 'a', 'b' (accepted: 'url', 'size')"),
            ("self, url, table", {}, "missing keys: 'url', 'table'"),
            ("self, url", {"ulr": 1}, "unknown keys: 'ulr' (accepted: 'url'); missing keys: 'url'"),
            ("self, url, **rest", {"colour": 1}, "missing keys: 'url'"),
            (
                "self, endpoint_config, app",
                {"app": 1},
                "missing keys: 'app'; its constructor must accept 'endpoint_config', which contains all keys, as its only required argument",
            ),
        ],
    )
    def test_that_does_not_fit_the_keys_is_told_by_their_names(
        self, write_module: Writer, signature: str, given: dict[str, Any], told: str
    ) -> None:
        name = write_module(f"{STORE}    def __init__({signature}): ...\n")
        assert refusal(f"{name}.Store", **given) == f"lock_store: {name}.Store does not take these keys: {told}"

    def test_that_raises_is_told_with_its_error(self, write_module: Writer) -> None:
        name = write_module(f"{STORE}    def __init__(self, **keys): self.dsn = keys['dsn']\n")
        assert refusal(f"{name}.Store") == f"lock_store: {name}.Store could not be built: KeyError: 'dsn'"

    def test_may_refuse_its_keys_in_its_own_words(self, write_module: Writer) -> None:
        raising = "from lockstore.errors import ConfigError\n        raise ConfigError('lock_store.dsn: must be short')"
        name = write_module(f"{STORE}    def __init__(self, dsn):\n        {raising}\n")
        assert refusal(f"{name}.Store", dsn="long") == "lock_store.dsn: must be short"


class TestRasasShape:
    def test_has_the_keys_that_rasa_knows_as_attributes_and_the_others_as_kwargs(self, write_module: Writer) -> None:
        name = write_module(f"{STORE}    def __init__(self, endpoint_config): self.config = endpoint_config\n")
        known = {
            "url": "db://x",
            "params": {"a": 1},
            "headers": {"b": 2},
            "basic_auth": {"username": "u", "password": "p"},
            "token": "geheim",
            "token_name": "key",
            "cafile": "ca.pem",
        }
        store: Any = create_store({"type": f"{name}.Store", **known, "table": "locks", "port": 5}, Limits())
        assert {key: getattr(store.config, key) for key in known} == known
        assert store.config.type == f"{name}.Store"
        assert store.config.kwargs == {"table": "locks", "port": 5}

    def test_has_rasas_defaults(self) -> None:
        config = EndpointConfig()
        assert (config.url, config.token, config.cafile, config.type) == (None, None, None, None)
        assert (config.params, config.headers, config.basic_auth, config.kwargs) == ({}, {}, {}, {})
        assert config.token_name == "token"

    def test_does_not_show_what_may_be_a_secret(self) -> None:
        assert "geheim" not in repr(EndpointConfig("db://u:geheim@x", token="geheim", password="geheim"))


class TestThePage:
    def test_shows_the_sqlite_example_as_it_is(self) -> None:
        shown = [block.text for block in blocks("python", PAGE) if "class SqliteLockStore" in block.text]
        assert shown == [EXAMPLE.read_text()]

    def test_names_every_method_that_it_says_a_store_has(self) -> None:
        text = PAGE.read_text()
        for name in ("get_lock", "save_lock", "delete_lock", "open", "close", "warnings", "transform", "patrol"):
            assert f"| `{name}(" in text
            assert callable(getattr(LockStore, name))

    @pytest.mark.parametrize("name", ["FileLockStore", "PlainLockStore"])
    async def test_has_examples_that_keep_order_numbers_and_what_is_damaged_apart(
        self, name: str, write_module: Writer, tmp_path: Path, redis_server: RedisServer
    ) -> None:
        (text,) = (block.text for block in blocks("python", PAGE) if f"class {name}" in block.text)
        place = f"redis://{redis_server.host}:{redis_server.port}/3"
        options = {
            "FileLockStore": {"folder": str(tmp_path / "locks")},
            "PlainLockStore": {"url": place, "key_prefix": tmp_path.name},
        }[name]
        section = {"type": f"{write_module(text)}.{name}", **options}
        store = create_store(section, Limits())
        await store.open()
        entered: list[int] = []

        async def enter() -> None:
            async with store.lock("c", wait_time_in_seconds=0.05) as lock:
                entered.append(lock.tickets[0].number)

        await asyncio.gather(*(enter() for _ in range(5)))
        await store.close()

        again = create_store(section, Limits())
        await again.open()
        assert await again.issue_ticket("c") == len(entered) == 5
        assert entered == sorted(entered)
        await self.spoil("damaged", again)
        damaged, served = await again.apply([Request(name, "r", 1000, 0) for name in ("damaged", "d")])
        assert isinstance(damaged, ConversationError)
        assert not isinstance(served, ConversationError)
        for conversation in ("c", "d", "damaged"):
            await done(again.delete_lock(conversation))
            assert await line_of(again, conversation) is None
        await again.close()

    async def spoil(self, conversation_id: str, store: Any) -> None:
        """Have something stored there that is not a line."""
        if hasattr(store, "_file"):
            store._file(conversation_id).write_bytes(b"\xff{")
        else:
            await store._client.set(f"{store._key_prefix}:{conversation_id}", b"\xff{")


@only_sqlite
class TestTheSqliteExample:
    async def test_keeps_its_promises_of_the_disk(self, store: LockStore, section: dict[str, Any]) -> None:
        assert isinstance(store, SqliteLockStore)
        database = await store._in_thread(store._connected)

        def settings() -> list[Any]:
            return [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

        assert await store._in_thread(settings) == ["wal", 2]  # 2: FULL
        with closing(sqlite3.connect(section["path"])) as plain:
            plan = plain.execute("EXPLAIN QUERY PLAN SELECT conversation FROM locks WHERE look_at_ms <= 5").fetchone()
        assert "locks_due" in plan[3], "patrol reads all lines"

    async def test_is_one_line_for_several_stores(self, open_store: OpenStore) -> None:
        stores = [await open_store() for _ in range(4)]
        inside: list[int] = []
        numbers: list[int] = []

        async def visit(store: LockStore) -> None:
            async with store.lock("c", wait_time_in_seconds=POLL_S) as lock:
                inside.append(1)
                numbers.append(lock.tickets[0].number)
                await asyncio.sleep(0)
                assert len(inside) == 1
                inside.pop()

        await asyncio.gather(*(visit(stores[place % 4]) for place in range(40)))
        assert numbers == list(range(40))

    async def test_is_one_line_for_several_processes(self, open_store: OpenStore, section: dict[str, Any]) -> None:
        store = await open_store()
        processes = await asyncio.gather(*(start_bot(section) for _ in range(PROCESSES)))
        outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
        told = [
            (entered, left, number, bot)
            for bot, (output, _) in enumerate(outputs)
            for number, entered, left in json.loads(output)
        ]
        visits = sorted(told)
        assert [number for _, _, number, _ in visits] == list(range(PROCESSES * VISITS))
        assert [(one, other) for one, other in pairwise(visits) if one[1] > other[0]] == []
        hand_overs = sum(one[3] != other[3] for one, other in pairwise(visits))
        assert hand_overs > VISITS, "they came one after the other: the test showed nothing"
        assert not await store.is_someone_waiting("c")

    async def test_writes_nothing_where_nothing_changes(self, store: LockStore, section: dict[str, Any]) -> None:
        await store.issue_ticket("c")
        with closing(sqlite3.connect(section["path"])) as plain:
            before = plain.execute("PRAGMA data_version").fetchone()
            await store.turn("c", 0)
            assert plain.execute("PRAGMA data_version").fetchone() == before
            await store.cleanup("c", 0)
            assert plain.execute("PRAGMA data_version").fetchone() != before

    async def test_lets_others_work_while_the_file_is_busy(self, section: dict[str, Any]) -> None:
        store = create_store(section | {"busy_timeout": 20}, Limits())
        await store.open()
        with closing(sqlite3.connect(section["path"], isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(store.issue_ticket("c"))
            longest_s = await longest_pause(0.3)
            assert not waiting.done()
            other.execute("COMMIT")
            assert await waiting == 0
        await store.close()
        assert longest_s < 10  # of the 20 s for which a call would have held it up

    async def test_that_stays_busy_is_away_and_then_it_is_back(self, section: dict[str, Any]) -> None:
        store = create_store(section | {"busy_timeout": 0.05}, Limits())
        await store.open()
        with closing(sqlite3.connect(section["path"], isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for attempt in (store.apply([Request("c", "r", 1000, 0)]), store.issue_ticket("c")):
                with pytest.raises(StoreUnavailableError, match=r"locks\.db: database is locked"):
                    await attempt
            assert await line_of(store, "c") is None  # reading goes on
            other.execute("COMMIT")
        assert await store.issue_ticket("c") == 0
        await store.close()

    async def test_leaves_everything_as_it_was_when_a_step_fails(self, store: LockStore) -> None:
        await store.issue_ticket("c")

        def fail(lock: TicketLock, now_ms: int) -> tuple[TicketLock, None]:
            raise ConversationError("no")

        with pytest.raises(ConversationError):
            await store.transform("c", fail)
        assert await store.issue_ticket("c") == 1

    @pytest.mark.parametrize(
        "line", ["{", "7", "[]", '{"tickets": []}', '{"conversation_id": "x", "tickets": 1}', "CAST(x'ff7b' AS TEXT)"]
    )
    async def test_keeps_a_damaged_row_to_itself(self, store: LockStore, section: dict[str, Any], line: str) -> None:
        value = line if line.startswith("CAST") else f"'{line}'"
        with closing(sqlite3.connect(section["path"], isolation_level=None)) as plain:
            plain.execute(f"INSERT INTO locks VALUES ('damaged', {value}, 0)")
        damaged, served = await store.apply([Request(name, "r", 1000, 0) for name in ("damaged", "c")])
        assert isinstance(damaged, ConversationError)
        assert str(damaged).startswith("its row is damaged: ")
        assert not isinstance(served, ConversationError)
        found = await store.patrol(store.shards(), 0)
        assert [notice.event.conversation_id for notice in found.unannounced] == ["c"]

    async def test_finds_what_is_due_whoever_wrote_it(self, open_store: OpenStore) -> None:
        first = await open_store()
        await first.apply([Request("c", "holder", 1, 0), Request("c", "waiter", 60_000, 60_000)])
        await first.apply([Request("d", "holder", 60_000, 0)])
        await first.close()
        second = await open_store()
        await asyncio.sleep(0.01)
        assert list(second.shards()) == []
        overdue = (await second.patrol(second.shards(), 10**6)).overdue
        assert overdue == [Expire("c", 0)]
        (outcome,) = await second.apply(overdue)
        assert not isinstance(outcome, ConversationError)
        assert [notice.event.request_id for notice in outcome if isinstance(notice.event, Granted)] == ["waiter"]
        assert (await second.patrol(second.shards(), 10**6)).overdue == []

    async def test_finds_a_bounded_number_of_lines_and_the_others_later(
        self, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_lock_store, "DUE_MOST", 2)
        await (await open_store()).apply([Request(name, "r", 1, 0) for name in "cdefg"])
        store = await open_store()
        await asyncio.sleep(0.01)
        ended: set[str] = set()
        for _ in range(3):
            overdue = (await store.patrol((), 10**6)).overdue
            assert len(overdue) <= 2
            ended |= {command.conversation_id for command in overdue}
            for outcome in await store.apply(overdue):
                assert not isinstance(outcome, ConversationError)
                await store.confirm([notice.entry for notice in outcome if notice.entry])
        assert ended == set("cdefg")

    async def test_never_goes_back_in_its_numbers(self, store: LockStore) -> None:
        for _ in range(3):
            last = await store.issue_ticket("c")
        await done(store.save_lock(TicketLock("c", [Ticket(0, time.time() + 60)])))
        assert await store.issue_ticket("c") == last + 1
        await done(store.delete_lock("c"))
        assert not await store.is_someone_waiting("c")
        assert await store.issue_ticket("c") == last + 2
        await store.create_lock("c")
        assert await store.issue_ticket("c") == last + 3

    async def test_can_be_closed_twice_and_used_again(self, store: LockStore) -> None:
        await store.issue_ticket("c")
        await store.close()
        await store.close()
        assert await store.issue_ticket("c") == 1


def test_the_sqlite_example_refuses_what_cannot_be(tmp_path: Path) -> None:
    kind = "examples.sqlite_lock_store.SqliteLockStore"
    missing = tmp_path / "nowhere"
    assert refusal(kind, path=str(missing / "locks.db")) == f"lock_store.path: no such folder: {missing}"
    assert "unknown keys: 'file'" in refusal(kind, file="locks.db")
    assert "could not be built: ValueError" in refusal(kind, path=str(tmp_path / "x.db"), busy_timeout="long")


async def longest_pause(most_s: float) -> float:
    """Give the longest time for which the event loop did not come round."""
    longest_s, until = 0.0, time.monotonic() + most_s
    while (before := time.monotonic()) < until:
        await asyncio.sleep(0.005)
        longest_s = max(longest_s, time.monotonic() - before)
    return longest_s


async def start_bot(section: dict[str, Any]) -> Process:
    argv = ["-m", "tests.stores.test_custom_stores", json.dumps(section), str(VISITS)]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, cwd=CHECKOUT, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def be_a_bot(section: dict[str, Any], count: int) -> None:
    store = create_store(section, Limits())
    await store.open()
    print("ready", flush=True)
    sys.stdin.readline()
    visits: list[tuple[int, int, int]] = []
    while len(visits) < count:
        with suppress(LockError):
            async with store.lock("c", wait_time_in_seconds=POLL_S) as lock:
                entered_ns = time.monotonic_ns()
                await asyncio.sleep(POLL_S)  # long enough for the others to come into the line
                visits.append((lock.tickets[0].number, entered_ns, time.monotonic_ns()))
    await store.close()
    print(json.dumps(visits))


if __name__ == "__main__":
    asyncio.run(be_a_bot(json.loads(sys.argv[1]), int(sys.argv[2])))
