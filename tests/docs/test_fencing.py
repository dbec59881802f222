"""The fenced writes of docs/fencing.md refuse what the page says, on real servers where they can be had."""

import itertools
import random
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers.postgresql import PostgreSQL
from harness import RedisServer
from tests.docs.pages import CHECKOUT, blocks, section

PAGE = CHECKOUT / "docs" / "fencing.md"
Write = Callable[[str, str, int, str], bool]


def shown(heading: str, language: str) -> str:
    [block] = (block.text for block in blocks(language, PAGE) if block.text in section(PAGE, heading))
    return block


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@contextmanager
def run(text: str, connection: str = "", **names: Any) -> Iterator[Write]:
    """Run an example, give its `write`, and close its connection, which is named so."""
    names["__name__"] = "example"
    exec(compile(text, str(PAGE), "exec"), names)
    yield names["write"]
    if connection:
        names[connection].close()


def check_rule(write: Write) -> None:
    """Check each row of the page's table, twice, as the state may have changed although it was refused."""
    for conversation in ("user-42", "user-43"):
        assert write(conversation, "first", 7, "b7c1")
        assert write(conversation, "the same again", 7, "b7c1")
        assert not write(conversation, "another with the same number", 7, "e0aa")
        assert write(conversation, "later, as large as a time", 1795459434123, "c3d9")
        for _ in range(2):
            assert not write(conversation, "too late", 7, "b7c1")
            assert not write(conversation, "too late", 1795459434122, "f4b2")
        assert write(conversation, "last", 1795459434124, "a1a1")
    assert write("user-44", "the first number of a store", 0, "b7c1")


def test_the_write_for_sqlite(tmp_path: Path) -> None:
    text = replaced(shown("SQLite", "python"), '"bot.db"', f'"{tmp_path / "bot.db"}"')
    with run(text, "database") as write:
        check_rule(write)


async def test_the_write_for_redis(redis_server: RedisServer, namespace: str) -> None:
    text = replaced(shown("Redis", "python"), "port=6379", f"port={redis_server.port}")
    text = replaced(text, 'f"conversation:', f'f"{namespace}:')
    with run(text, "server") as write:
        check_rule(write)


@pytest.mark.skipif(
    not any(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
    reason="there is no PostgreSQL here (scripts/setup test)",
)
async def test_the_write_for_postgresql_also_with_many_writers_at_once() -> None:
    text = shown("PostgreSQL", "sql")
    prepared = text[: text.index("EXECUTE")]
    psql = shutil.which("psql")
    assert psql is not None

    async with PostgreSQL() as server:

        def execute(statements: str) -> str:
            command = [psql, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", server.conninfo]
            return subprocess.run(command, input=statements, check=True, capture_output=True, text=True).stdout

        def write(conversation: str, state: str, fence: int, request_id: str) -> bool:
            written = execute(f"{prepared} EXECUTE write ('{conversation}', '{state}', {fence}, '{request_id}');")
            assert written in {"", f"{conversation}\n"}
            return bool(written)

        assert execute(text) == "user-42\n"
        execute("DELETE FROM conversations")
        check_rule(write)

        def burst(seed: int) -> str:
            fences = list(range(200))
            random.Random(seed).shuffle(fences)
            return execute(prepared + "".join(f"EXECUTE write ('busy', '{n}', {n}, 'r{n}');" for n in fences))

        execute(prepared)  # the table is there before all make it at once
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(burst, range(4)))
        assert execute("SELECT state, fence FROM conversations WHERE id = 'busy'") == "199|199\n"


class DuplicateKeyError(Exception):
    """The name of pymongo's."""


class Collection:
    """What the page's write needs of a collection, with MongoDB's meaning: no server of it can be had from Debian."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.before_insert: list[Callable[[], object]] = []

    def update_one(self, query: dict[str, Any], change: dict[str, Any], *, upsert: bool) -> None:
        assert upsert
        found = self.documents.get(query["_id"])
        if found is not None and any(self._matches(found, branch) for branch in query["$or"]):
            found.update(change["$set"])
            return
        for step in self.before_insert:
            step()
        if query["_id"] in self.documents:
            raise DuplicateKeyError
        self.documents[query["_id"]] = {"_id": query["_id"], **change["$set"]}

    @staticmethod
    def _matches(document: dict[str, Any], branch: dict[str, Any]) -> bool:
        return all(
            document[field] < wanted["$lt"] if isinstance(wanted, dict) else document[field] == wanted
            for field, wanted in branch.items()
        )


@pytest.fixture
def collection(monkeypatch: pytest.MonkeyPatch) -> Collection:
    for name in ("pymongo", "pymongo.errors"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["pymongo.errors"], "DuplicateKeyError", DuplicateKeyError, raising=False)
    return Collection()


def test_the_write_for_mongodb_on_a_stand_in(collection: Collection) -> None:
    with run(shown("MongoDB and similar stores", "python"), conversations=collection) as write:
        check_rule(write)


def test_of_two_first_writers_to_mongodb_the_later_ticket_remains(collection: Collection) -> None:
    with run(shown("MongoDB and similar stores", "python"), conversations=collection) as write:
        later_ticket_remains(collection, write)


def later_ticket_remains(collection: Collection, write: Write) -> None:
    for number, (mine, other) in enumerate(itertools.permutations((7, 8))):
        document = {"_id": f"c{number}", "state": "other", "fence": other, "written_for": f"r{other}"}
        collection.before_insert = [partial(collection.documents.setdefault, f"c{number}", document)]
        assert write(f"c{number}", "mine", mine, f"r{mine}") == (mine > other)
        assert collection.documents[f"c{number}"]["fence"] == 8
