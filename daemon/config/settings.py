"""The configuration: each option once, with its type, unit, default and validation.

One YAML file, compatible with Rasa's `endpoints.yml`. Three sections are ours; all others are ignored.
`daemon/config/file.py` reads the file, `daemon/config/interpolation.py` replaces `${...}`.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from daemon.config.file import read_sections
from daemon.config.interpolation import interpolate
from daemon.config.section_checks import check_places, store_section
from lockstore.amqp.hosts import CONNECT_LIMIT_S
from lockstore.core.rules import Limits
from lockstore.errors import ConfigError
from lockstore.protocol.codec import RequestLimits
from lockstore.protocol.naming import Names
from lockstore.stores.redis.connection.options import RedisOptions
from lockstore.util.tls import check_tls_files
from lockstore.util.urls import check_amqp_url
from lockstore.util.validation import ExistingFile, Number, Switch, WholeNumber, as_number, broken_rule

__all__ = ["LIFETIME_VARIABLE", "PARTITIONS_MOST", "BrokerSettings", "DaemonSettings", "Settings", "load"]

LIFETIME_VARIABLE = "TICKET_LOCK_LIFETIME"
"""Rasa's environment variable for the default lifetime of a ticket in seconds; absent or 0: 60."""

PARTITIONS_MOST = 256
"""The maximum number of request queues."""

DEAD_LETTERS_BYTES_LEAST = 1024 * 1024
"""Large enough for any dead letter that a daemon publishes."""

_LIFETIME_S = 60
_LEAST_S = 0.001
_PORT_MAX = 65535
_BATCH_SHARE = 5  # of the prefetch


def _is_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores")
    return value


_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/@\[\]]+)):(?P<port>[0-9]{1,5})")


def _address(value: str) -> tuple[str, int]:
    """Split `host:port`, and remove the host's brackets. Raises ValueError."""
    found = _ADDRESS.fullmatch(value)
    if found is None or int(found["port"]) > _PORT_MAX:
        raise ValueError(
            'must be host:port, as 127.0.0.1:8470 or "[::1]:8470", with a port of at most 65535 (0: a free one), or null'
        )
    return found["v6"] or found["host"], int(found["port"])


def _is_address(value: str) -> str:
    _address(value)
    return value


def _is_a_millisecond(value: float) -> float:
    if 0 < value < _LEAST_S:
        raise ValueError(f"must be {_LEAST_S:g} or more, a millisecond")
    return value


Seconds = Annotated[Number, Field(gt=0, allow_inf_nan=False), AfterValidator(_is_a_millisecond)]


def _lifetime_of(environ: Mapping[str, str]) -> float:
    try:
        seconds = as_number(environ.get(LIFETIME_VARIABLE) or "0")
    except ValueError:
        seconds = -1
    if seconds < 0:
        raise ConfigError(f"{LIFETIME_VARIABLE}: must be a number of seconds in plain digits")
    return seconds or _LIFETIME_S


class BrokerSettings(BaseModel):
    """The `broker` section: RabbitMQ, and its queues."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[
        SecretStr, Field(description="amqp:// or amqps://, with one host or several, separated by commas")
    ] = SecretStr("amqp://guest:guest@localhost:5672/")
    connect_timeout: Annotated[
        Number, Field(gt=0, le=60, allow_inf_nan=False, description="seconds for one address, before the next is tried")
    ] = CONNECT_LIMIT_S
    ssl_ca_certs: Annotated[ExistingFile | None, Field(description="file of trusted CA certificates, for amqps://")] = (
        None
    )
    ssl_certfile: Annotated[ExistingFile | None, Field(description="client certificate")] = None
    ssl_keyfile: Annotated[ExistingFile | None, Field(description="client key")] = None
    heartbeat: Annotated[
        WholeNumber, Field(ge=1, le=600, description="seconds; a silent connection is closed after about 3 of them")
    ] = 5
    namespace: Annotated[str, AfterValidator(_is_name), Field(description="prefix of all exchange and queue names")] = (
        "lockstore"
    )
    partitions: Annotated[WholeNumber, Field(ge=1, le=PARTITIONS_MOST, description="request queues")] = 1
    balance: Annotated[Switch, Field(description="whether busy partitions are shared with other daemons")] = True
    prefetch: Annotated[WholeNumber, Field(ge=1, le=10_000, description="unacknowledged deliveries per partition")] = (
        500
    )
    confirm_timeout: Annotated[
        Number,
        Field(gt=0, le=60, allow_inf_nan=False, description="seconds until a queue that does not confirm is reported"),
    ] = 2
    delivery_limit: Annotated[
        WholeNumber, Field(ge=1, description="deliveries of a message before it becomes a dead letter")
    ] = 100
    dead_letters: Annotated[WholeNumber, Field(ge=1, description="dead letters kept; the oldest are dropped first")] = (
        10_000
    )
    dead_letters_bytes: Annotated[
        WholeNumber,
        Field(ge=DEAD_LETTERS_BYTES_LEAST, description="bytes of dead letters kept; the oldest are dropped first"),
    ] = 100 * 1024 * 1024

    @field_validator("url")
    @classmethod
    def _is_amqp(cls, value: SecretStr) -> SecretStr:
        check_amqp_url(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _no_file_in_vain(self) -> Self:
        check_tls_files(self, tls=self.speaks_tls, switch="an amqps:// url")
        return self

    @property
    def speaks_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.get_secret_value().startswith("amqps://")

    @property
    def batch_most(self) -> int:
        """The maximum size of a batch: several batches are processed concurrently, in the store and at the broker."""
        return max(1, self.prefetch // _BATCH_SHARE)

    @property
    def names(self) -> Names:
        """The names of exchanges and queues."""
        return Names(self.namespace)


class DaemonSettings(BaseModel):
    """The `daemon` section: defaults and limits of requests. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lifetime: Annotated[Seconds, Field(description="lifetime of a lease if the request has none")] = _LIFETIME_S
    wait: Annotated[
        Number, Field(ge=0, allow_inf_nan=False, description="maximum time in line if the request has none")
    ] = 300
    max_lifetime: Annotated[Seconds, Field(description="maximum lifetime of a request")] = 3600
    max_wait: Annotated[Seconds, Field(description="maximum wait of a request")] = 3600
    max_waiting: Annotated[WholeNumber, Field(ge=1, description="tickets in one line, including the holder's")] = 1000
    dedup_window: Annotated[Seconds, Field(description="how long a finished request is retained")] = 300
    outbox_events: Annotated[
        WholeNumber,
        Field(
            ge=1,
            description="public events retained for a queue that does not accept them; the oldest are dropped first",
        ),
    ] = 10_000
    events: Annotated[Switch, Field(description="whether public events are published")] = True
    history: Annotated[
        WholeNumber, Field(ge=0, le=1000, description="public events retained per conversation; 0: none")
    ] = 20
    history_keep: Annotated[Seconds, Field(description="how long they are retained")] = 3600
    stop_timeout: Annotated[Seconds, Field(description="how long a shutdown may take to finish accepted work")] = 10
    http: Annotated[
        Annotated[str, AfterValidator(_is_address)] | None,
        Field(description="host:port of health, metrics and the status page; null: disabled"),
    ] = "127.0.0.1:8470"
    tracing: Annotated[Switch, Field(description="whether to create OpenTelemetry spans; needs the extra otel")] = False

    @property
    def http_place(self) -> tuple[str, int] | None:
        """Host, without brackets, and port of the HTTP server."""
        return None if self.http is None else _address(self.http)

    @property
    def limits(self) -> Limits:
        """The limits of a line."""
        window_ms, keep_ms = round(self.dedup_window * 1000), round(self.history_keep * 1000)
        return Limits(self.max_waiting, window_ms, self.history, keep_ms)

    @property
    def bounds(self) -> RequestLimits:
        """The limits of a request."""
        return RequestLimits(self.lifetime, self.wait, self.max_lifetime, self.max_wait)


class Settings(BaseModel):
    """The whole configuration."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    lock_store: dict[str, Any] = Field(default_factory=dict, repr=False)  # it may contain a password
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    daemon: DaemonSettings = Field(default_factory=DaemonSettings)

    @property
    def store_type(self) -> str:
        """The type of the lock store, as written in the section."""
        return str(self.lock_store.get("type") or "in_memory")


_OPTIONS: dict[str, Collection[str]] = {
    "lock_store": ("type", *RedisOptions.model_fields),
    "broker": tuple(BrokerSettings.model_fields),
    "daemon": tuple(DaemonSettings.model_fields),
}


def load(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Load the configuration; None: all defaults. Raises ConfigError with the option and the rule."""
    ours = {} if path is None else read_sections(path, _OPTIONS)
    check_places(ours, _OPTIONS)
    ours = {name: interpolate(section, environ, name) for name, section in ours.items()}
    if "lock_store" in ours:
        ours["lock_store"] = store_section(ours["lock_store"])
    ours["daemon"] = {"lifetime": _lifetime_of(environ), **ours.get("daemon", {})}
    try:
        settings = Settings.model_validate(ours)
    except ValidationError as error:
        raise ConfigError(broken_rule(error, known=_OPTIONS)) from None
    _check_together(settings.daemon)
    return settings


def _check_together(daemon: DaemonSettings) -> None:
    for name, most in (("lifetime", daemon.max_lifetime), ("wait", daemon.max_wait)):
        if getattr(daemon, name) > most:
            message = f"daemon.{name}: must be at most daemon.max_{name} ({most:g})"
            raise ConfigError(message)
