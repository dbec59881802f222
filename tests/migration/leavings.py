"""What stands on a Redis before a purge: what the stores leave, and keys of other programs that look like it."""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import redis

from lockstore.core.commands import Release, Request
from lockstore.core.rules import Limits
from lockstore.errors import ConversationError
from lockstore.factory import create_store
from lockstore.stores.base import LockStore
from lockstore.stores.redis.keys import ConcurrentKeys, RedisKeys
from tests.support.rasa import RasaProcess, rasas_value

Client = redis.Redis | redis.RedisCluster
Shot = dict[bytes, tuple[Any, Any]]

ODD_IDS = [
    "*",
    "?",
    "[ab]",
    "a{b}c",
    "}",
    "{",
    "{}",
    ":",
    "a:b",
    "lock:y",
    "two words",
    "😀",
    "x" * 200,
    "\x1b[31m\n",
    "\\*",
]
"""Ordinary conversation ids."""


def shot_of(client: Client) -> Shot:
    """Take every key as it is: its bytes, and when it goes by itself."""
    return {key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter(count=1000)}


async def used_store(section: Mapping[str, Any], *conversation_ids: str) -> None:
    """Have a store used in each of these conversations, and left in the middle of the first two."""
    store = create_store(section, Limits())
    await store.open()
    try:
        for conversation_id in conversation_ids:
            await _serve(store, Request(conversation_id, "a", 60_000, 0))
            await _serve(store, Release(conversation_id, request_id="a"))
        for conversation_id in conversation_ids[:2]:
            await _serve(store, Request(conversation_id, "b", 60_000, 0), Request(conversation_id, "c", 60_000, 60_000))
    finally:
        await store.close()


async def _serve(store: LockStore, *commands: Request | Release) -> None:
    for outcome in await store.apply(commands):
        assert not isinstance(outcome, ConversationError)


def rasa_was_here(client: Client, key_prefix: str = "") -> int:
    """Write what Rasa leaves when it is stopped in the middle; give the number of live tickets."""
    rasa = RasaProcess(client, key_prefix)
    now = time.time()
    rasa.put("busy", (6, now + 3600.5), (7, now + 3600.25))
    rasa.put("overdue", (3, now - 60))
    rasa.put("half overdue", (3, now - 60), (4, now + 3600))
    rasa.put("empty")
    for conversation_id in ODD_IDS:
        rasa.put(conversation_id, (0, now - 60))
    return 3


def beside_rasas_locks(client: Client, key_prefix: str = "") -> None:
    """Write what other programs may have at `lock:*`."""
    start = f"{key_prefix}:" if key_prefix else ""
    later = time.time() + 3600
    texts: dict[str, str | bytes] = {
        "plain": "1",
        "token": uuid.uuid4().hex,
        "blank": "",
        "number": "42",
        "list": "[1, 2]",
        "object": '{"owner": "x", "until": 17}',
        "half": '{"conversation_id": "half"}',
        "other half": '{"tickets": []}',
        "a word": '{"conversation_id": "a word", "tickets": "many"}',
        "no ticket": '{"conversation_id": "no ticket", "tickets": ["5"]}',
        "bare tickets": '{"conversation_id": "bare tickets", "tickets": [{"number": 0, "expires": 5.0}]}',
        "no time": '{"conversation_id": "no time", "tickets": ["{\\"number\\": 0}"]}',
        "and more": '{"conversation_id": "and more", "tickets": [], "assignee": "Bob"}',
        "moved": rasas_value("elsewhere", (0, later)),
        "lock:x, of a bot called lock": rasas_value("x, of a bot called lock", (0, later)),
        "number as id": '{"conversation_id": 42, "tickets": []}',
        "deep": "[" * 100_000,
        "utf-16": rasas_value("utf-16", (0, later)).encode("utf-16"),
        "no text": b"\xff\x00\xfe",
        "cut": rasas_value("cut", (0, later))[:-3],
    }
    for name, text in texts.items():
        client.set(f"{start}lock:{name}", text)
    client.set(f"{start}lock:goes by itself", "x", px=3_600_000)
    client.set(f"{start}lock:".encode() + b"\xff\xfe", rasas_value("x", (0, later)))
    client.set(f"{start}lock:huge", rasas_value("huge", (0, later)) + " " * (17 * 1024 * 1024))
    client.hset(f"{start}lock:hash", "conversation_id", "hash")
    client.rpush(f"{start}lock:a list", rasas_value("a list"))
    client.sadd(f"{start}lock:set", "x")
    client.zadd(f"{start}lock:sorted", {"x": 1})
    client.xadd(f"{start}lock:stream", {"x": "1"})
    for name in ("locksmith", "lock", "Lock:x", "LOCK:x", "clock:x", " lock:x", "xlock:y", "lock;x", "lockstore"):
        client.set(f"{start}{name}", rasas_value("x", (0, later)))


def beside_the_redis_store(client: Client, key_prefix: str = "", *, clustered: bool = False) -> None:
    """Write what resembles our own keys of the `redis` store."""
    keys = RedisKeys(key_prefix or None, clustered)
    start = f"{key_prefix}:lockstore:" if key_prefix else "lockstore:"
    names = [
        "",
        "x",
        "last",
        "last:x",
        "last:{}:x",
        "last:{zz}:x",
        "memo:x",
        "agenda:x",
        "history:",
        "marks",
        "agenda:{zz}",
    ]
    for name in (*names, "last:{1}:x:y"):
        client.set(f"{start}{name}", "5")
    if not clustered:
        client.set(keys.slots, b"\x80")  # of clusters only
        client.zadd(f"{start}agenda:{{3560}}", {"x": 1})
    tagged = keys.of("of another").last
    client.set(tagged.replace("of another", "of yet another"), "5")  # the tag is another conversation's
    # The right name, and something else in it.
    client.hset(keys.of("wrong type").last, "x", "5")
    client.zadd(keys.of("wrong type").memo, {"x": 5})
    for text in ("soon", "-1", "", "5 ", "1e3", "9" * 20):
        client.set(keys.of(f"wrong text {text}").last, text)
    for text in ("soon", "{}", "[]", "5", '{"ended": [], "mine": 1}'):
        client.set(keys.of(f"wrong text {text}").memo, text)


def beside_the_concurrent_store(client: Client, key_prefix: str = "") -> None:
    """Write what resembles the keys of the `concurrent_redis` store."""
    start = f"{key_prefix}:concurrent_lock:" if key_prefix else "concurrent_lock:"
    keys = ConcurrentKeys(key_prefix or None)
    right = keys.shard_of("x")
    names = ["", "x", "hints", "{64}:last:x", "{-1}:last:x", "{}:last:x", "{0x}:outbox", "{00}:outbox", "{64}:outbox"]
    mine = [f"{{{right}}}:{name}" for name in ("last", "Last:x", "lines:x", "lock:x", "outbox:x", "", "history:")]
    for name in (*names, *mine, f"{{{(right + 1) % 64}}}:last:x", f"{right}:last:x"):
        client.set(f"{start}{name}", "5")
    last, *others = keys.of_line("wrong type", keys.shard_of("wrong type"))[:6]
    client.hset(last, "x", "5")
    for key in others:
        client.set(key, "5")
    client.set(keys.of_line("wrong text", keys.shard_of("wrong text"))[0], json.dumps({"last": 5}))
