"""Validates the `lock_store` section of a Redis store into options and credentials."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lockstore.errors import ConfigError
from lockstore.stores.redis.connection.iam import ElastiCacheCredentials, check_iam_options, iam_settings
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.util.validation import broken_rule

__all__ = ["redis_credentials", "redis_options"]


def redis_options(options: Mapping[str, Any]) -> RedisOptions:
    """Validate the options of a Redis store. Raises ConfigError with the field and the rule."""
    try:
        return RedisOptions.model_validate(options)
    except ValidationError as error:
        raise ConfigError(broken_rule(error, "lock_store", known={"lock_store": RedisOptions.model_fields})) from None


def redis_credentials(options: RedisOptions, environ: Mapping[str, str]) -> ElastiCacheCredentials | None:
    """Return the credentials to use instead of a password, if the environment configures them. Raises ConfigError."""
    settings = iam_settings(environ)
    if settings is None:
        return None
    check_iam_options(options)
    username, _ = options.credentials
    return ElastiCacheCredentials(username or "", settings)
