"""The Redis lock stores."""

from importlib.util import find_spec

if (
    find_spec("pydantic") is None or find_spec("redis") is None
):  # found, not imported: redis-py is slow, and not always needed
    raise ImportError("the Redis lock stores need the extra redis: pip install 'lockstore[redis]'")

del find_spec
