"""Explains Redis errors to operators: one sentence with the remedy, instead of the server's own text."""

import re
from typing import NamedTuple

from redis import exceptions

__all__ = ["Sentence", "sentence_of"]

_LOGIN = "check username and password (of a Sentinel: sentinel_username, sentinel_password)"
_CLUSTER = "this server is part of a cluster: set deployment_mode: cluster"
_REPLICA = "configure the primary as host, or set deployment_mode: sentinel or cluster, which find it"


class Sentence(NamedTuple):
    """An explanation, and the option to change if a retry would not help."""

    text: str
    option: str | None = None


_CODES: dict[str, Sentence] = {
    "MOVED": Sentence(_CLUSTER, "deployment_mode"),
    "ASK": Sentence(_CLUSTER, "deployment_mode"),
    "CROSSSLOT": Sentence(_CLUSTER, "deployment_mode"),
    "TRYAGAIN": Sentence("a slot of the cluster is being moved; retrying"),
    "CLUSTERDOWN": Sentence("the cluster is down: some slots have no node; check CLUSTER INFO on any of its nodes"),
    "READONLY": Sentence(f"this server is a replica and accepts no writes: {_REPLICA}"),
    "MASTERDOWN": Sentence(f"this server is a replica that has lost its primary, and serves no requests: {_REPLICA}"),
    "LOADING": Sentence("the server is still loading its data after a start; retrying"),
    "BUSY": Sentence("the server is blocked by a script that does not terminate: stop it with SCRIPT KILL"),
    "UNKILLABLE": Sentence(
        "the server is blocked by a script that has written data and does not terminate: restart the server"
    ),
    "MISCONF": Sentence(
        "the server cannot write its data to disk, and accepts no writes: check its disk and its log, "
        "or set stop-writes-on-bgsave-error no on it"
    ),
    "NOREPLICAS": Sentence(
        "the server accepts no writes, because too few replicas are connected: restore them, or lower its min-replicas-to-write"
    ),
    "OOM": Sentence("Redis is full and refuses commands that need memory: raise its maxmemory, or delete other data"),
    "DENIED": Sentence(
        "the server is in protected mode, and accepts no connections from other hosts: configure a password on it and set password, "
        "or set its bind address and protected-mode"
    ),
    "NOAUTH": Sentence(f"the server requires a password, and none is configured; {_LOGIN}"),
    "WRONGPASS": Sentence(f"authentication failed: invalid username-password pair, or the user is disabled; {_LOGIN}"),
}

_TEXTS: tuple[tuple[str, Sentence], ...] = (
    (
        "previous master is now a slave",
        Sentence("the primary is now a slave of another server; the Sentinels know the new one"),
    ),
    ("HELLO must be called", _CODES["NOAUTH"]),
    ("Authentication required", _CODES["NOAUTH"]),
    ("invalid username-password pair", _CODES["WRONGPASS"]),
    ("invalid password", _CODES["WRONGPASS"]),
    ("without any password", Sentence(f"a password is configured, but the server has none; {_LOGIN}")),
    ("no password is set", Sentence(f"a password is configured, but the server has none; {_LOGIN}")),
    ("not allowed in cluster mode", Sentence(_CLUSTER, "deployment_mode")),
    (
        "cluster support disabled",
        Sentence(
            "Cluster mode is not enabled on this node: set deployment_mode: standard, or configure the nodes of a cluster",
            "deployment_mode",
        ),
    ),
    ("DB index is out of range", Sentence("the server has no database of this number (its `databases`)", "db")),
    ("Invalid Database", Sentence("the server has no database of this number (its `databases`)", "db")),
    ("max number of clients reached", Sentence("the server accepts no more connections: raise its maxclients")),
    ("used memory > 'maxmemory'", _CODES["OOM"]),
    ("Slot is not served", _CODES["CLUSTERDOWN"]),
    ("Hash slot not served", _CODES["CLUSTERDOWN"]),
    ("keys in request don't hash to the same slot", _CODES["CROSSSLOT"]),
    ("against a read only replica", _CODES["READONLY"]),
    ("Write commands are not allowed", _CODES["READONLY"]),
    ("Link with MASTER is down", _CODES["MASTERDOWN"]),
    ("loading the dataset", _CODES["LOADING"]),
    ("busy running a script", _CODES["BUSY"]),
    ("Not enough good replicas", _CODES["NOREPLICAS"]),
    ("protected mode", _CODES["DENIED"]),
)

_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AskError, "MOVED"),  # redis-py's MovedError is one
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.OutOfMemoryError, "OOM"),
)

_UNKNOWN_COMMAND = re.compile(r"unknown command '?`?([A-Za-z|]+)", re.IGNORECASE)
_NOT_SENTINEL = Sentence(
    "this server is not a Sentinel: set deployment_mode: standard, or list the Sentinels in endpoints",
    "deployment_mode",
)
_SENTINEL = Sentence(
    "this is a Sentinel, not the server that it monitors: set deployment_mode: sentinel and list it in endpoints",
    "deployment_mode",
)
_NO_CLUSTER = Sentence(
    "this server is not a cluster node: set deployment_mode to standard or sentinel, whichever it is",
    "deployment_mode",
)
_RESERVED = {"sentinel": _NOT_SENTINEL, "select": _SENTINEL, "script": _SENTINEL, "cluster": _NO_CLUSTER}

_REPLY_BYTE = re.compile(r"got \"(.+?)\" as reply type byte")
_TLS_BYTES = frozenset({"\\x15", "\\x16"})  # first byte of a TLS record: alert or handshake


def sentence_of(error: BaseException) -> Sentence | None:
    """Explain an error of redis-py's; None if neither the server's state nor the options explain it."""
    text = " ".join(str(error).split())
    if isinstance(error, exceptions.InvalidResponse):
        return _of_another_protocol(text)
    for kind, code in _CLASSES:
        if isinstance(error, kind):
            return _CODES[code]
    code = text.partition(" ")[0]
    if code in _CODES:
        return _CODES[code]
    if isinstance(error, exceptions.NoPermissionError) or code == "NOPERM":
        lacking = text.removeprefix("NOPERM ").removeprefix("this user has ").removeprefix("This user has ")
        return Sentence(f"the user has {lacking}; docs/redis.md, Users and rights, lists the required permissions")
    if (unknown := _UNKNOWN_COMMAND.search(text)) is not None:
        return _of_unknown_command(unknown[1])
    return next((sentence for part, sentence in _TEXTS if part in text), None)


def _of_unknown_command(name: str) -> Sentence:
    name = name.partition("|")[0]
    known = _RESERVED.get(name.lower())
    renamed = f"the server does not know the command {name.upper()}: its version is too old, or the command was renamed"
    return known or Sentence(renamed)


def _of_another_protocol(text: str) -> Sentence:
    found = _REPLY_BYTE.search(text)
    if found is not None and found[1] in _TLS_BYTES:
        return Sentence("this server speaks TLS: set use_ssl: true", "use_ssl")
    return Sentence("the server does not speak the Redis protocol: check host and port (and use_ssl)", "host")
