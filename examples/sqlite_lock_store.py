"""A lock store in a SQLite file, for one machine. Several daemons and bots on that machine may use it at the same time.

docs/custom-stores.md explains it. Copy it to where the daemon's Python finds it, and name it in the section `lock_store`.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from lockstore import LockStore, TicketLock
from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.stores.line_engine import LineEngine, Step
from lockstore.stores.results import Patrol, Shard

T = TypeVar("T")

DUE_MOST = 1000  # lines that one patrol reads; lines that cannot be processed move behind newer ones
TABLES = """
CREATE TABLE IF NOT EXISTS locks (conversation TEXT PRIMARY KEY, line TEXT NOT NULL, look_at_ms INTEGER);
CREATE INDEX IF NOT EXISTS locks_due ON locks (look_at_ms) WHERE look_at_ms IS NOT NULL;
"""


class SqliteLockStore(LockStore):
    """Keeps each line as one row. SQLite works in a thread of its own, so the event loop never waits for the disk."""

    def __init__(self, path: str, busy_timeout: float = 5) -> None:
        self._path = Path(path)
        if not self._path.parent.is_dir():
            raise ConfigError(f"lock_store.path: no such folder: {self._path.parent}")
        self._busy_timeout_s = float(busy_timeout)  # how long to wait for another process that is writing
        self._database: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)  # one: two callers must never share a transaction

    async def open(self) -> None:
        """Open the file, so that what is wrong with it is result at the start."""
        await self._in_thread(self._connected)

    async def close(self) -> None:
        """Close the file."""
        await self._in_thread(self._disconnect)

    # --- the three methods that every store has ---

    async def get_lock(self, conversation_id: str) -> TicketLock | None:
        """Read one line."""
        return await self._in_thread(self._read, conversation_id)

    async def save_lock(self, lock: TicketLock) -> None:
        """Overwrite a line. The last number never decreases."""
        await self.transform(lock.conversation_id, lambda before, _: (lock.in_place_of(before), None))

    async def delete_lock(self, conversation_id: str) -> None:
        """Take all tickets out of a line. Its last number stays, so that no later ticket can be taken for an older one."""
        await self.save_lock(TicketLock(conversation_id))

    # --- two more, for several processes ---

    async def transform(self, conversation_id: str, step: Step[T], *, direct: bool = False) -> T:  # noqa: ARG002
        """Change one line in one transaction, so that no change of another process is lost."""
        return await self._in_thread(self._change, conversation_id, step)

    async def patrol(self, shards: Sequence[Shard], age_ms: int) -> Patrol:
        """Also check lines that are due, whichever process wrote them: that daemon may be gone."""
        due = await self._in_thread(self._due)
        return await super().patrol([*{*shards, *due}], age_ms)

    # --- in the thread ---

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self._path}: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        if self._database is None:
            database = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
            try:
                database.execute("PRAGMA journal_mode = WAL")  # readers do not wait for writers
                database.execute("PRAGMA synchronous = FULL")  # a number that was given out survives a power cut
                database.executescript(TABLES)
            except sqlite3.Error:
                database.close()
                raise
            self._database = database
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _change(self, conversation_id: str, step: Step[T]) -> T:
        with self._connected() as database:  # commits at the end, or rolls back
            database.execute(
                "BEGIN IMMEDIATE"
            )  # acquires the write lock before reading, so that no other process changes the line in between
            before = self._read(conversation_id) or TicketLock(conversation_id)
            after, result = step(before, time.time_ns() // 1_000_000)
            if after != before:
                row = (conversation_id, after.dumps(), LineEngine.look_at_ms(after))
                database.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?)", row)
            return result

    def _read(self, conversation_id: str) -> TicketLock | None:
        # As bytes: text that is not UTF-8 is then this one line's damage, and not an error of the whole file.
        query = "SELECT CAST(line AS BLOB) FROM locks WHERE conversation = ?"
        row = self._connected().execute(query, (conversation_id,)).fetchone()
        try:
            return TicketLock.from_dict(json.loads(row[0])) if row else None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConversationError(f"its row is damaged: {error}") from error

    def _due(self) -> list[str]:
        query = "SELECT conversation FROM locks WHERE look_at_ms <= ? ORDER BY look_at_ms DESC LIMIT ?"
        rows = self._connected().execute(query, (time.time_ns() // 1_000_000, DUE_MOST))
        return [conversation_id for (conversation_id,) in rows]
