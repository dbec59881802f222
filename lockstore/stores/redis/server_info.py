"""Redis' INFO and its consequences for locks: version, memory, persistence, replicas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lockstore.stores.redis.connection.client import RedisClient
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.connection.section import redis_credentials, redis_options

__all__ = ["Remark", "examined", "inspect"]

_OLDEST = (7, 0)
_NEARLY_FULL = 0.9
_MIB = 1024 * 1024

Info = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Remark:
    """A fact from Redis' INFO, its consequence, and the remedy if that is a problem."""

    about: str
    result: Literal["ok", "warn", "fail"]
    said: str
    remedy: str | None = None


async def inspect(section: Mapping[str, Any], environ: Mapping[str, str]) -> list[Remark]:
    """Query every primary of a `lock_store` section. Raises ConfigError or StoreUnavailableError."""
    options = redis_options({name: value for name, value in section.items() if name != "type"})
    servers = RedisClient(options, [], str, redis_credentials(options, environ))
    try:
        await servers.open()
        infos = await servers.infos("default")
    finally:
        await servers.close()
    if infos is None:
        return [
            Remark(
                "settings",
                "warn",
                "this user may not run INFO",
                "grant +info, or ask the server's administrator",
            )
        ]
    return examined(infos, options)


def examined(infos: Sequence[Info], options: RedisOptions) -> list[Remark]:
    """Evaluate the answers of all servers."""
    return [
        _version(infos),
        _eviction(infos),
        _memory(infos),
        _persistence(infos),
        _replicas(infos, options.wait_replicas),
    ]


def _version(infos: Sequence[Info]) -> Remark:
    versions = sorted({str(info.get("redis_version", "0")) for info in infos})
    names = sorted({str(info.get("server_name", "redis")) for info in infos})
    said = f"{', '.join(names)} {', '.join(versions)} on {_count(len(infos), 'server')} accepting writes"
    oldest = min(tuple(int(part) for part in version.split(".")[:2]) for version in versions)
    if oldest < _OLDEST:
        return Remark("version", "fail", said, "update Redis to 7.0 or newer")
    return Remark("version", "ok", said)


def _eviction(infos: Sequence[Info]) -> Remark:
    evicting = sorted({str(info.get("maxmemory_policy", "noeviction")) for info in infos} - {"noeviction"})
    if evicting:
        said = f"{', '.join(evicting)}: when Redis is full, it deletes tickets and last numbers, and one conversation may get two holders"
        return Remark("eviction", "warn", said, "set maxmemory-policy noeviction")
    return Remark("eviction", "ok", "noeviction: nothing is deleted when Redis is full")


def _memory(infos: Sequence[Info]) -> Remark:
    used = max(int(info.get("used_memory", 0)) for info in infos)
    shares = [int(info["used_memory"]) / most for info in infos if (most := int(info.get("maxmemory", 0)))]
    if not shares:
        return Remark("memory", "ok", f"{used / _MIB:,.1f} MiB used, no maxmemory limit")
    said = f"{max(shares):.0%} of maxmemory used"
    if max(shares) > _NEARLY_FULL:
        return Remark("memory", "warn", f"{said}; when Redis is full, no request can be served", "raise maxmemory")
    return Remark("memory", "ok", said)


def _persistence(infos: Sequence[Info]) -> Remark:
    broken = [
        name
        for info in infos
        for name in ("aof_last_write_status", "rdb_last_bgsave_status")
        if info.get(name) == "err"
    ]
    if broken:
        return Remark(
            "persistence",
            "fail",
            f"the last attempt to write to disk failed ({', '.join(sorted(set(broken)))})",
            "check Redis' log and its disk",
        )
    if not all(int(info.get("aof_enabled", 0)) for info in infos):
        return Remark(
            "persistence",
            "warn",
            "appendonly is off: a restart loses tickets and numbers since the last snapshot; numbers then jump ahead",
            "set appendonly yes",
        )
    return Remark("persistence", "ok", "appendonly is on: a restart loses at most one second of writes, by default")


def _replicas(infos: Sequence[Info], wanted: int) -> Remark:
    fewest = min(int(info.get("connected_slaves", 0)) for info in infos)
    has = f"{_count(fewest, 'replica')} per server" if len(infos) > 1 else _count(fewest, "replica")
    if any(info.get("role") == "slave" for info in infos):
        return Remark(
            "replicas",
            "fail",
            "this server is a replica and accepts no writes",
            "configure the primary, or the sentinels",
        )
    if fewest < wanted:
        said = f"{has}, and wait_replicas is {wanted}: no grant is published"
        return Remark("replicas", "fail", said, "restore the replicas, or lower lock_store.wait_replicas")
    return Remark("replicas", "ok", f"{has}; a grant waits for {wanted or 'none'} of them")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
