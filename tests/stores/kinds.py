"""Which stores a test is about, where it is not about all.

A kind is a type of store and, for the Redis stores, how the servers are deployed: `redis` is on one server, `redis-sentinel` on a
primary that sentinels know, `redis-cluster` on a cluster.
"""

import pytest

MODES = ("standard", "sentinel", "cluster")


def type_of(kind: str) -> str:
    """Give the type of store, without the mode."""
    return kind.partition("-")[0]


def mode_of(kind: str) -> str:
    """Give the mode that the servers of a Redis store are deployed in."""
    return kind.partition("-")[2] or "standard"


def in_all_modes(*types: str) -> list[str]:
    """Give the kinds of these types in every mode."""
    return [type_ if mode == "standard" else f"{type_}-{mode}" for type_ in types for mode in MODES]


REDIS_KINDS = in_all_modes("redis", "concurrent_redis")
CUSTOM_KINDS = ["custom", "custom_async", "custom_sqlite"]
ALL_KINDS = ["in_memory", *REDIS_KINDS, *CUSTOM_KINDS]

USUAL_KINDS = ["in_memory", "redis", "concurrent_redis", "concurrent_redis-cluster", "custom_sqlite"]
"""One of each code path. Where the servers stand changes how they are reached, and in a cluster which keys may share a call;
how a custom store is called is of no concern to the rules. What depends on either is run on all kinds."""

all_own_kinds = pytest.mark.parametrize("kind", ["in_memory", *REDIS_KINDS])
"""The stores that this project ships."""
own_kinds = pytest.mark.parametrize("kind", [kind for kind in USUAL_KINDS if kind not in CUSTOM_KINDS])

all_redis_kinds = pytest.mark.parametrize("kind", REDIS_KINDS)
"""Both Redis stores."""
redis_kinds = pytest.mark.parametrize("kind", [kind for kind in USUAL_KINDS if kind in REDIS_KINDS])

all_lasting_kinds = pytest.mark.parametrize("kind", [*REDIS_KINDS, *CUSTOM_KINDS])
"""Stores whose data outlive the process, what is not announced yet included."""
lasting_kinds = pytest.mark.parametrize("kind", [kind for kind in USUAL_KINDS if kind != "in_memory"])

all_whole_kinds = pytest.mark.parametrize("kind", ["in_memory", *in_all_modes("redis"), *CUSTOM_KINDS])
"""Stores that keep a line as one value, which a user may save."""
whole_kinds = pytest.mark.parametrize("kind", ["in_memory", "redis", "custom_sqlite"])

dict_kinds = pytest.mark.parametrize("kind", ["custom", "custom_async"])
"""The stores of `tests.stores.custom_stores`."""

all_only_redis = pytest.mark.parametrize("kind", in_all_modes("redis"))
only_redis = pytest.mark.parametrize("kind", ["redis", "redis-cluster"])

all_only_concurrent = pytest.mark.parametrize("kind", in_all_modes("concurrent_redis"))
only_concurrent = pytest.mark.parametrize("kind", ["concurrent_redis", "concurrent_redis-cluster"])

one_server_kinds = pytest.mark.parametrize("kind", ["redis", "concurrent_redis"])
"""Both Redis stores in standard mode: the test has a server of its own, which it hurts."""
