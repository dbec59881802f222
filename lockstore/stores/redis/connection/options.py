"""The `lock_store` section of a Redis store: each option once, with its type, default and validation."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from lockstore.stores.redis.connection.addresses import Endpoint, RedisUrl, checked_place, is_url, parsed_endpoints
from lockstore.util.tls import check_tls_files
from lockstore.util.validation import ExistingFile, Number, Switch, WholeNumber, without_control_characters

__all__ = [
    "BUILT_IN_TYPES",
    "OLD_CONCURRENT_TYPE",
    "RASA_CONCURRENT_TYPE",
    "RASA_REDIS_TYPE",
    "Credentials",
    "Endpoint",
    "RedisOptions",
]

OLD_CONCURRENT_TYPE = "rasa_plus.components.concurrent_lock_store.ConcurrentRedisLockStore"
"""The spelling of `concurrent_redis` in older Rasa Plus configurations."""

RASA_CONCURRENT_TYPE = "lockstore.rasa.ConcurrentRedisLockStore"
RASA_REDIS_TYPE = "lockstore.rasa.RedisLockStore"
"""The two stores as a Rasa server uses them directly. A daemon that reads the same file uses the same store."""

BUILT_IN_TYPES = (
    "in_memory",
    "redis",
    "concurrent_redis",
    OLD_CONCURRENT_TYPE,
    RASA_REDIS_TYPE,
    RASA_CONCURRENT_TYPE,
)
"""The built-in types of lock stores."""

Credentials = tuple[str | None, SecretStr | None]
"""User and password; None: not set."""

_SENTINEL_SERVICE = "mymaster"


def _text(value: Any) -> Any:
    """Accept a number as text, as Rasa does: a password of digits is often written without quotes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _secret(value: SecretStr) -> SecretStr:
    without_control_characters(value.get_secret_value())
    return value


Place = Annotated[str, AfterValidator(checked_place)]
Line = Annotated[str, AfterValidator(without_control_characters)]
Name = Annotated[Line, BeforeValidator(_text)]
Secret = Annotated[SecretStr, BeforeValidator(_text), AfterValidator(_secret)]


class RedisOptions(BaseModel):
    """Options of both Redis stores; names and defaults are Rasa's, except for `wait_replicas`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: Annotated[
        Place, Field(min_length=1, repr=False, description="host name, or a redis://, rediss:// or unix:// URL")
    ] = "localhost"
    url: Annotated[
        Place | None,
        Field(min_length=1, repr=False, description="older name for host; if both are given, they must agree"),
    ] = None
    port: Annotated[WholeNumber, Field(ge=1, le=65535)] = 6379
    deployment_mode: Annotated[
        Literal["standard", "cluster", "sentinel"],
        Field(description="one server; a Redis Cluster; or a primary found through sentinels"),
    ] = "standard"
    endpoints: Annotated[
        tuple[Endpoint, ...] | None,
        BeforeValidator(parsed_endpoints),
        Field(description="nodes of the cluster, or sentinels: host:port, as a list or separated by commas"),
    ] = None
    db: Annotated[WholeNumber, Field(ge=0, description="number of the database; always 0 in a cluster")] = 1
    key_prefix: Annotated[
        str | None, Field(description="prefix of every key, followed by a colon; letters and digits")
    ] = None
    username: Name | None = None
    password: Secret | None = None
    sentinel_service: Annotated[Line, Field(min_length=1, description="name of the service at the sentinels")] = (
        _SENTINEL_SERVICE
    )
    sentinel_username: Annotated[Name | None, Field(description="for the sentinels, if different")] = None
    sentinel_password: Annotated[Secret | None, Field(description="for the sentinels, if different")] = None
    use_ssl: Switch = False
    ssl_keyfile: Annotated[ExistingFile | None, Field(description="client key")] = None
    ssl_certfile: Annotated[ExistingFile | None, Field(description="client certificate")] = None
    ssl_ca_certs: Annotated[ExistingFile | None, Field(description="file of trusted CA certificates")] = None
    socket_timeout: Annotated[
        Number,
        Field(gt=0, allow_inf_nan=False, description="seconds until an unanswered call fails"),
    ] = 10
    wait_replicas: Annotated[
        WholeNumber, Field(ge=0, description="number of replicas that must have a grant before it is published")
    ] = 0
    wait_replicas_timeout_ms: Annotated[
        WholeNumber, Field(gt=0, description="how long to wait for the replicas, in ms")
    ] = 1000

    @field_validator("key_prefix")
    @classmethod
    def _alphanumeric(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isalnum()):
            message = "must be letters and digits only (without a prefix of its own, two bots would share keys)"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if {"host", "url"} <= self.model_fields_set and self.url is not None and self.host != self.url:
            message = "host and url: both are given, and must name the same server"
            raise ValueError(message)
        url = self._url
        if url is not None:
            self._check_beside_url(url)
            self._check_url_in_mode(url)
        self._check_mode()
        check_tls_files(self, tls=self.speaks_tls, switch="use_ssl")
        return self

    @property
    def place(self) -> str:
        """The host name or full URL, given under either name."""
        return self.url if self.url is not None and "host" not in self.model_fields_set else self.host

    @property
    def speaks_tls(self) -> bool:
        """Whether the connection is encrypted, by the option or by the URL's scheme."""
        return self.use_ssl or self.place.startswith("rediss://")

    @property
    def nodes(self) -> tuple[Endpoint, ...]:
        """The initial servers: the endpoints, or the one host and port. Empty for a unix:// URL."""
        if self.endpoints is not None:
            return self.endpoints
        url = self._url
        if url is None:
            return (Endpoint(self.place, self.port),)
        return () if url.node is None else (url.node,)

    @property
    def credentials(self) -> Credentials:
        """User and password for Redis, from the options or from the URL."""
        url = self._url
        username, password = self.username, self.password
        if url is not None:
            username = username or url.username
            password = password or (SecretStr(url.password) if url.password else None)
        return username or None, password or None

    @property
    def sentinel_credentials(self) -> Credentials:
        """User and password for the sentinels; by default, those for Redis."""
        if self.sentinel_password:
            return self.sentinel_username or None, self.sentinel_password
        return self.credentials

    @property
    def database(self) -> int:
        """The database: always 0 in a cluster, else the URL's or the option's."""
        if self.deployment_mode == "cluster":
            return 0
        return self.db if self.db_of_url is None else int(self.db_of_url)

    @property
    def db_of_url(self) -> str | None:
        """The database that a full URL names, which overrides the option; None: it names none."""
        url = self._url
        return None if url is None or url.db is None else str(url.db)

    @property
    def remarks(self) -> list[str]:
        """Log messages about options that are set but ignored."""
        remarks = []
        given = [name for name in ("host", "url", "port") if self._gives(name)]
        if self.endpoints is not None and given and Endpoint(self.place, self.port) not in self.endpoints:
            remarks.append(f"lock_store.{', '.join(given)}: ignored, because endpoints lists the servers")
        if self.deployment_mode == "cluster" and (("db" in self.model_fields_set and self.db) or self._url_db):
            remarks.append("lock_store.db: ignored, because a cluster only has database 0")
        return remarks

    @staticmethod
    def is_url(place: str) -> bool:
        """Return whether this is a full URL rather than a host name."""
        return is_url(place)

    @property
    def _url(self) -> RedisUrl | None:
        return RedisUrl.parse(self.place) if is_url(self.place) else None

    @property
    def _url_db(self) -> int:
        return int(self.db_of_url or 0)

    def _gives(self, name: str) -> bool:
        return name in self.model_fields_set and getattr(self, name) is not None

    def _check_beside_url(self, url: RedisUrl) -> None:
        """Reject options that contradict the URL, so that none is silently ignored."""
        given = self.model_fields_set
        if "port" in given and url.node is not None:
            raise ValueError("port: the host is a URL; put the port into the URL")
        if self.use_ssl and url.scheme != "rediss":
            raise ValueError(f"use_ssl: the host is a {url.scheme}:// URL; TLS needs rediss://")
        for name, there in (("username", url.username), ("password", url.password)):
            if self._gives(name) and there:
                raise ValueError(f"{name}: given here and in the URL")
        if "db" in given and url.db not in (None, self.db):
            raise ValueError("db: given here and, differently, in the URL")

    def _check_url_in_mode(self, url: RedisUrl) -> None:
        if self.deployment_mode == "standard":
            return
        if url.scheme == "unix":
            raise ValueError(
                f"host: a unix:// URL is one server; deployment_mode {self.deployment_mode} takes a host and port, "
                "or endpoints"
            )
        if self.endpoints is not None:
            raise ValueError(
                "endpoints: the host is a URL; name the servers in endpoints only, and give username, password and "
                "use_ssl as options"
            )

    def _check_mode(self) -> None:
        """Reject options of other modes, so that none is silently ignored."""
        if self.deployment_mode == "standard" and self.endpoints is not None:
            raise ValueError("endpoints: only with deployment_mode cluster or sentinel")
        if self.sentinel_username and not self.sentinel_password:
            raise ValueError("sentinel_username: given without sentinel_password")
        if self.deployment_mode == "sentinel":
            return
        foreign = {
            "sentinel_service": self.sentinel_service != _SENTINEL_SERVICE,
            "sentinel_username": bool(self.sentinel_username),
            "sentinel_password": bool(self.sentinel_password),
        }
        for name, is_given in foreign.items():
            if is_given:
                raise ValueError(f"{name}: only with deployment_mode sentinel")
