"""Which stores a test is about, where it is not about all."""

import pytest

redis_kinds = pytest.mark.parametrize("kind", ["redis", "concurrent_redis"])
"""Both Redis stores."""

own_kinds = pytest.mark.parametrize("kind", ["in_memory", "redis", "concurrent_redis"])
"""The stores that this project ships."""

lasting_kinds = pytest.mark.parametrize("kind", ["redis", "concurrent_redis", "custom", "custom_async"])
"""Stores whose data outlive the process, what is not announced yet included."""

only_redis = pytest.mark.parametrize("kind", ["redis"])
only_concurrent = pytest.mark.parametrize("kind", ["concurrent_redis"])
