"""The Redis lock stores."""

try:
    import pydantic as _pydantic
    import redis as _redis
except ModuleNotFoundError as error:
    raise ImportError("the Redis lock stores need the extra redis: pip install 'lockstore[redis]'") from error

del _pydantic, _redis
