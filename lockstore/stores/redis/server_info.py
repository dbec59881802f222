"""What Redis says of itself, and what that means for locks: versions, memory, persistence, replicas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lockstore.stores.redis.connection import RedisClient
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.stores.redis.connection.section import redis_credentials, redis_options

__all__ = ["Remark", "examined", "inspect"]

_OLDEST = (7, 0)
_NEARLY_FULL = 0.9
_MIB = 1024 * 1024

Info = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that stands in Redis' INFO, what follows from it, and what to do where that is not wanted."""

    about: str
    result: Literal["ok", "warn", "fail"]
    said: str
    remedy: str | None = None


async def inspect(section: Mapping[str, Any], environ: Mapping[str, str]) -> list[Remark]:
    """Ask every server of a `lock_store` section that takes writes. Raises ConfigError or StoreUnavailableError."""
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
                "this user may not ask Redis about itself",
                "let its administrator look, or grant +info",
            )
        ]
    return examined(infos, options)


def examined(infos: Sequence[Info], options: RedisOptions) -> list[Remark]:
    """Say what follows from the answers of all servers."""
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
    said = f"{', '.join(names)} {', '.join(versions)} on {_count(len(infos), 'server')} for writes"
    oldest = min(tuple(int(part) for part in version.split(".")[:2]) for version in versions)
    if oldest < _OLDEST:
        return Remark("version", "fail", said, "update Redis to 7.0 or newer")
    return Remark("version", "ok", said)


def _eviction(infos: Sequence[Info]) -> Remark:
    evicting = sorted({str(info.get("maxmemory_policy", "noeviction")) for info in infos} - {"noeviction"})
    if evicting:
        said = f"{', '.join(evicting)}: when it is full, tickets and last numbers vanish, and two may hold one conversation"
        return Remark("eviction", "warn", said, "set maxmemory-policy noeviction")
    return Remark("eviction", "ok", "noeviction: nothing vanishes when it is full")


def _memory(infos: Sequence[Info]) -> Remark:
    used = max(int(info.get("used_memory", 0)) for info in infos)
    shares = [int(info["used_memory"]) / most for info in infos if (most := int(info.get("maxmemory", 0)))]
    if not shares:
        return Remark("memory", "ok", f"{used / _MIB:,.1f} MiB used, without a limit of its own")
    said = f"{max(shares):.0%} of maxmemory used"
    if max(shares) > _NEARLY_FULL:
        return Remark("memory", "warn", f"{said}; when it is full, no request can be served", "raise maxmemory")
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
            f"Redis could not write its files ({', '.join(sorted(set(broken)))})",
            "look at its log and its disk",
        )
    if not all(int(info.get("aof_enabled", 0)) for info in infos):
        return Remark(
            "persistence",
            "warn",
            "appendonly is off: a restart forgets tickets and numbers since the last snapshot; the next numbers jump ahead",
            "set appendonly yes",
        )
    return Remark("persistence", "ok", "appendonly is on: a restart forgets a second at the most, by default")


def _replicas(infos: Sequence[Info], wanted: int) -> Remark:
    fewest = min(int(info.get("connected_slaves", 0)) for info in infos)
    has = f"{_count(fewest, 'replica')} at each server" if len(infos) > 1 else _count(fewest, "replica")
    if any(info.get("role") == "slave" for info in infos):
        return Remark(
            "replicas", "fail", "this is a replica, and takes no writes", "name the primary, or its sentinels"
        )
    if fewest < wanted:
        said = f"{has}, and wait_replicas is {wanted}: no grant is announced"
        return Remark("replicas", "fail", said, "bring the replicas back, or lower lock_store.wait_replicas")
    return Remark("replicas", "ok", f"{has}; a grant waits for {wanted or 'none'}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
