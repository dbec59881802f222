"""The `lock_store` section of a Redis store: each option once, with its type, default and rule."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from lockstore.fields import ExistingFile
from lockstore.tls import check_tls_files

__all__ = ["RedisOptions"]

_SCHEMES = ("redis", "rediss", "unix")


def _number(value: Any) -> Any:
    """Take a string of digits for a number, as Rasa's documented example has it."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _plain_host(value: str) -> str:
    return value.rstrip("/")


class RedisOptions(BaseModel):
    """Options that both Redis stores take; the names and defaults are Rasa's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[
        str, Field(min_length=1, repr=False, description="host name, or a redis://, rediss:// or unix:// URL")
    ] = "localhost"
    url: Annotated[
        str | None, Field(min_length=1, repr=False, description="older name for host; where both are given they agree")
    ] = None
    port: Annotated[int, BeforeValidator(_number), Field(ge=1, le=65535)] = 6379
    db: Annotated[int, BeforeValidator(_number), Field(ge=0)] = 1
    key_prefix: Annotated[str | None, Field(description="put before every key, with a colon; letters and digits")] = (
        None
    )
    username: str | None = None
    password: SecretStr | None = None
    use_ssl: bool = False
    ssl_keyfile: Annotated[ExistingFile | None, Field(description="client key")] = None
    ssl_certfile: Annotated[ExistingFile | None, Field(description="client certificate")] = None
    ssl_ca_certs: Annotated[ExistingFile | None, Field(description="file of trusted CAs")] = None
    deployment_mode: Annotated[Literal["standard"], Field(description="one server; others come in later versions")] = (
        "standard"
    )
    socket_timeout: Annotated[float, Field(gt=0, description="seconds until an unanswered call is an error")] = 10

    @field_validator("key_prefix")
    @classmethod
    def _alphanumeric(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isalnum()):
            message = "must be letters and digits only (without a prefix of its own, two bots would share keys)"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = self.model_fields_set
        if {"host", "url"} <= given and self.url is not None and _plain_host(self.host) != _plain_host(self.url):
            message = "host and url: both are given, and must name the same server"
            raise ValueError(message)
        if self.is_url(self.place):
            self._check_beside_url(urlsplit(self.place))
        check_tls_files(self, tls=self.speaks_tls, switch="use_ssl")
        return self

    @property
    def speaks_tls(self) -> bool:
        """Whether the connection is encrypted: by the option, or by the URL's scheme."""
        return self.use_ssl or self.place.startswith("rediss://")

    def _check_beside_url(self, parts: SplitResult) -> None:
        """Refuse options that the URL says otherwise, so that none is passed over in silence."""
        given = self.model_fields_set
        if "port" in given and parts.scheme != "unix":
            raise ValueError("port: the host is a URL, and the port belongs into it")
        if self.use_ssl and parts.scheme != "rediss":
            raise ValueError(f"use_ssl: the host is a {parts.scheme}:// URL; TLS needs rediss://")
        query = parse_qs(parts.query)
        for name, there in (("username", parts.username), ("password", parts.password)):
            if name in given and (there or name in query):
                raise ValueError(f"{name}: given here and in the URL")
        if "db" in given and self.db_of_url not in (None, str(self.db)):
            raise ValueError("db: given here and, differently, in the URL")

    @property
    def place(self) -> str:
        """The host name, or the full URL, that was given under either name."""
        given = self.url if self.url is not None and "host" not in self.model_fields_set else self.host
        return given if self.is_url(given) else _plain_host(given)

    @property
    def db_of_url(self) -> str | None:
        """The database that a full URL names, so that the option's default does not; None: it names none."""
        parts = urlsplit(self.place)
        in_path = parts.path.strip("/") if parts.scheme != "unix" else ""
        return parse_qs(parts.query).get("db", [in_path])[0] or None

    @staticmethod
    def is_url(place: str) -> bool:
        """Tell a full URL from a host name."""
        return urlsplit(place).scheme in _SCHEMES and "://" in place
