"""What an error of Redis means to an operator: one sentence with what to change, in place of the server's own text."""

import re
from typing import NamedTuple

from redis import exceptions

__all__ = ["Sentence", "sentence_of"]

_LOGIN = "look at username and password (of a Sentinel: sentinel_username, sentinel_password)"
_CLUSTER = "this server is part of a cluster: set deployment_mode: cluster"
_REPLICA = "name the primary in host, or set deployment_mode: sentinel or cluster, which find it"


class Sentence(NamedTuple):
    """What is said, and the option to change where trying again would not help."""

    text: str
    option: str | None = None


_CODES: dict[str, Sentence] = {
    "MOVED": Sentence(_CLUSTER, "deployment_mode"),
    "ASK": Sentence(_CLUSTER, "deployment_mode"),
    "CROSSSLOT": Sentence(_CLUSTER, "deployment_mode"),
    "TRYAGAIN": Sentence("a slot of the cluster is being moved; it is tried again"),
    "CLUSTERDOWN": Sentence("the cluster is down: some slots have no node; look at CLUSTER INFO on any of its nodes"),
    "READONLY": Sentence(f"this server is a replica, and takes no writes: {_REPLICA}"),
    "MASTERDOWN": Sentence(f"this server is a replica that has lost its primary, and answers nothing: {_REPLICA}"),
    "LOADING": Sentence("the server is still loading its data after a start; it is tried again"),
    "BUSY": Sentence(
        "the server is busy with a script of someone's that does not end: SCRIPT KILL at the server ends it"
    ),
    "UNKILLABLE": Sentence("the server is busy with a script that has written and does not end: restart the server"),
    "MISCONF": Sentence(
        "the server cannot write its data to disk, and takes no writes: look at its disk and its log, "
        "or set stop-writes-on-bgsave-error no on it"
    ),
    "NOREPLICAS": Sentence(
        "the server takes no writes, because too few replicas follow it: bring them back, or lower its min-replicas-to-write"
    ),
    "OOM": Sentence(
        "Redis is full, and refuses what needs memory: raise its maxmemory, or remove what else is kept there"
    ),
    "DENIED": Sentence(
        "the server is in protected mode, and lets in nobody from another machine: give it a password and set password, "
        "or set its bind address and protected-mode"
    ),
    "NOAUTH": Sentence(f"the server wants a password, and none was given; {_LOGIN}"),
    "WRONGPASS": Sentence(
        f"the server refused the login: invalid username-password pair, or the user is disabled; {_LOGIN}"
    ),
}

_TEXTS: tuple[tuple[str, Sentence], ...] = (
    (
        "previous master is now a slave",
        Sentence("the primary is now a slave of another server; the Sentinels name the new one"),
    ),
    ("HELLO must be called", _CODES["NOAUTH"]),
    ("Authentication required", _CODES["NOAUTH"]),
    ("invalid username-password pair", _CODES["WRONGPASS"]),
    ("invalid password", _CODES["WRONGPASS"]),
    ("without any password", Sentence(f"a password is given, and the server has none; {_LOGIN}")),
    ("no password is set", Sentence(f"a password is given, and the server has none; {_LOGIN}")),
    ("not allowed in cluster mode", Sentence(_CLUSTER, "deployment_mode")),
    (
        "cluster support disabled",
        Sentence(
            "Cluster mode is not enabled on this node: set deployment_mode: standard, or name the nodes of a cluster",
            "deployment_mode",
        ),
    ),
    ("DB index is out of range", Sentence("the server has no database of this number (its `databases`)", "db")),
    ("Invalid Database", Sentence("the server has no database of this number (its `databases`)", "db")),
    ("max number of clients reached", Sentence("the server takes no more connections: raise its maxclients")),
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
    "this server is no Sentinel: set deployment_mode: standard, or name the Sentinels in endpoints", "deployment_mode"
)
_SENTINEL = Sentence(
    "this is a Sentinel, not the server that it watches: set deployment_mode: sentinel and name it in endpoints",
    "deployment_mode",
)
_NO_CLUSTER = Sentence(
    "this server is no node of a cluster: set deployment_mode: standard or sentinel, as it is deployed",
    "deployment_mode",
)
_RESERVED = {"sentinel": _NOT_SENTINEL, "select": _SENTINEL, "script": _SENTINEL, "cluster": _NO_CLUSTER}

_REPLY_BYTE = re.compile(r"got \"(.+?)\" as reply type byte")
_TLS_BYTES = frozenset({"\\x15", "\\x16"})  # of a TLS record: an alert, a handshake


def sentence_of(error: BaseException) -> Sentence | None:
    """Say what an error of redis-py's means; None: it is none that the server's state or the options explain."""
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
        return Sentence(f"the user has {lacking}; docs/redis.md, Users and rights, has all that are needed")
    if (unknown := _UNKNOWN_COMMAND.search(text)) is not None:
        return _of_unknown_command(unknown[1])
    return next((sentence for part, sentence in _TEXTS if part in text), None)


def _of_unknown_command(name: str) -> Sentence:
    name = name.partition("|")[0]
    known = _RESERVED.get(name.lower())
    renamed = f"the server does not know the command {name.upper()}: it is too old, or the command was renamed there"
    return known or Sentence(renamed)


def _of_another_protocol(text: str) -> Sentence:
    found = _REPLY_BYTE.search(text)
    if found is not None and found[1] in _TLS_BYTES:
        return Sentence("this server speaks TLS: set use_ssl: true", "use_ssl")
    return Sentence("what answers there does not speak Redis' protocol: look at host and port (and use_ssl)", "host")
