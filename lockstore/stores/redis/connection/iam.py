"""IAM authentication for AWS ElastiCache: its settings, and the tokens used as passwords.

A token is a presigned request that is never sent: `GET https://<cache>/?Action=connect&User=<user>` for the service
`elasticache`, as a URL without its scheme. It is accepted for new connections until it expires, and while the AWS
credentials that signed it are valid.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from redis.credentials import CredentialProvider

from lockstore.errors import ConfigError, StoreUnavailableError
from lockstore.stores.redis.connection.options import RedisOptions

__all__ = ["ElastiCacheCredentials", "IamSettings", "IamTimes", "check_iam_options", "iam_settings"]

# Rasa's variable names, except for the last.
_SWITCH = "ELASTICACHE_REDIS_AWS_IAM_ENABLED"
_PROVIDER = "IAM_CLOUD_PROVIDER"
_REGION = "AWS_DEFAULT_REGION"
_CLUSTER = "AWS_ELASTICACHE_CLUSTER_NAME"
_SERVERLESS = "AWS_ELASTICACHE_SERVERLESS"

_SERVICE = "elasticache"
_SCHEME = "https://"
_ASK_AWS_TIMEOUT_S = 5  # for each step of fetching credentials over the network; botocore's default is 60
_ASK_AWS_TRIES = 2  # the caller retries anyway


@dataclass(frozen=True, slots=True)
class IamSettings:
    """The cache that a token is for: its region, its name in lower case, and whether it is serverless."""

    region: str
    cluster_name: str
    serverless: bool = False


@dataclass(frozen=True, slots=True)
class IamTimes:
    """How long tokens and connections are used.

    `validity_s`: the token's own validity (X-Amz-Expires, whole seconds). AWS accepts at most 15 minutes.

    `refresh_s`: how long a token is reused. One minute, although it is valid for fifteen: it becomes invalid without
    notice when the AWS credentials behind it expire. botocore renews credentials ten minutes before they expire, so a
    token is valid for at least nine more minutes. Signing takes milliseconds; the minute covers a burst of new
    connections.

    `reauthenticate_s`: the age at which a live connection presents a new token. AWS closes it twelve hours after the
    last one; half of that leaves hours for retries.
    """

    validity_s: int = 15 * 60
    refresh_s: float = 60
    reauthenticate_s: float = 6 * 60 * 60


_TIMES = IamTimes()


def iam_settings(environ: Mapping[str, str]) -> IamSettings | None:
    """Read the environment variables that Rasa uses for IAM; None: IAM is off. Raises ConfigError naming the variable."""
    if not _is_true(environ, _SWITCH):
        return None
    missing = [name for name in (_PROVIDER, _REGION, _CLUSTER) if not environ.get(name)]
    if missing:
        raise ConfigError(f"{', '.join(missing)}: must be set, because {_SWITCH} is true")
    provider, region, name = environ[_PROVIDER], environ[_REGION], environ[_CLUSTER]
    if provider != "aws":
        raise ConfigError(f"{_PROVIDER}: must be aws, not {provider!r}")
    if not re.fullmatch(r"[a-z0-9-]+", region):
        raise ConfigError(f"{_REGION}: must be a region like eu-central-1, not {region!r}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        message = "must be the name of the cache or replication group (letters, digits, dashes), not its address"
        raise ConfigError(f"{_CLUSTER}: {message}; it is {name!r}")
    # AWS lower-cases the name when the cache is created, and rejects tokens for the name as it was typed.
    return IamSettings(region, name.lower(), serverless=_is_true(environ, _SERVERLESS))


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "")
    if value.lower() not in {"true", "false", ""}:
        raise ConfigError(f"{name}: must be true or false, not {value!r}")
    return value.lower() == "true"


def check_iam_options(options: RedisOptions) -> None:
    """Reject options that are incompatible with tokens. Call it when IAM is on. Raises ConfigError."""
    username, password = options.credentials
    if not options.speaks_tls:
        raise ConfigError(
            f"lock_store.use_ssl: must be true, because {_SWITCH} is: ElastiCache accepts tokens over TLS only"
        )
    if username is None:
        raise ConfigError(
            f"lock_store.username: must be set, because {_SWITCH} is true: a token is issued for one user"
        )
    if password is not None:
        raise ConfigError(f"lock_store.password: must not be set, because {_SWITCH} is true: a token replaces it")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    signed_at: float


_NO_TOKEN = _Token("", float("-inf"))


class ElastiCacheCredentials(CredentialProvider):
    """Provides each connection with the user and a token that stays valid for several minutes.

    All connections of one event loop may share it. boto3 finds the AWS credentials: in the environment, in shared
    files, or from the role of a container or an instance.
    """

    def __init__(
        self, user: str, settings: IamSettings, *, times: IamTimes = _TIMES, clock: Callable[[], float] = time.time
    ) -> None:
        self._times = times
        self._user = user
        self._settings = settings
        self._clock = clock  # wall clock time, because tokens also expire while a machine is suspended
        self._token = _NO_TOKEN
        self._renewing = threading.Lock()
        self._renewal: asyncio.Task[None] | None = None
        self._aws_credentials: Any = None  # only credentials that botocore renews

    @property
    def reauthenticate_s(self) -> float:
        """Age, in seconds, after which a connection has to present a new token before its next use."""
        return self._times.reauthenticate_s

    def get_credentials(self) -> tuple[str, str]:
        """Return the user and a token; may block on the network. Raises StoreUnavailableError without AWS credentials."""
        self._renew()
        return self._user, self._token.text

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return the user and a token, without blocking. Raises StoreUnavailableError without AWS credentials."""
        if not self._is_fresh():
            if self._renewal is None or self._renewal.done():
                self._renewal = asyncio.create_task(asyncio.to_thread(self._renew))
            # All callers wait for one thread, which cannot be stopped. A cancelled caller leaves it to the others,
            # and the next caller joins it: however long AWS does not answer, only one thread waits.
            await asyncio.shield(self._renewal)
        return self._user, self._token.text

    def _is_fresh(self) -> bool:
        return 0 <= self._clock() - self._token.signed_at < self._times.refresh_s

    def _renew(self) -> None:
        # Returns nothing: a task shows its result in its repr.
        with self._renewing:
            if not self._is_fresh():
                now = self._clock()  # taken before signing, so that a token is never considered younger than it is
                self._token = _Token(self._signed(), now)

    def _signed(self) -> str:
        """Sign a new token. Every failure counts as temporary.

        Missing credentials may be temporary: a role may be attached later, or the service that provides its
        credentials may be down. So the daemon retries, and logs why it waits.
        """
        # Importing boto3 takes 0.15 s and 12 MB, which only users of IAM should pay.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return self._presigned().removeprefix(_SCHEME)
        # RuntimeError: the credentials have expired and cannot be renewed. ValueError: an unreadable answer or file.
        except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError) as error:
            self._aws_credentials = None  # the next attempt searches all sources again
            message = f"no token for ElastiCache: {type(error).__name__}: {error}"
            raise StoreUnavailableError(message) from error

    def _presigned(self) -> str:
        from botocore.hooks import HierarchicalEmitter  # noqa: PLC0415 - as above
        from botocore.model import ServiceId  # noqa: PLC0415 - as above
        from botocore.signers import RequestSigner  # noqa: PLC0415 - as above

        region = self._settings.region
        events = HierarchicalEmitter()  # the signer keeps a weak reference
        signer = RequestSigner(ServiceId(_SERVICE), region, _SERVICE, "v4", self._found_credentials(), events)
        asked = {"Action": "connect", "User": self._user}
        if self._settings.serverless:
            asked["ResourceType"] = "ServerlessCache"
        url = f"{_SCHEME}{self._settings.cluster_name}/?{urlencode(asked)}"
        request = {"method": "GET", "url": url, "body": {}, "headers": {}, "context": {}}
        return str(signer.generate_presigned_url(request, "connect", expires_in=self._times.validity_s))

    def _found_credentials(self) -> Any:
        """Find AWS credentials. Returns None if there are none; the signer then raises an error."""
        import boto3  # noqa: PLC0415 - as above
        from botocore.config import Config  # noqa: PLC0415 - as above
        from botocore.credentials import RefreshableCredentials  # noqa: PLC0415 - as above
        from botocore.session import Session  # noqa: PLC0415 - as above

        if self._aws_credentials is None:
            # At level debug it logs signatures, and answers that contain credentials.
            log = logging.getLogger("botocore")
            log.setLevel(max(log.level, logging.INFO))
            session = Session()
            session.set_default_client_config(
                Config(
                    connect_timeout=_ASK_AWS_TIMEOUT_S,
                    read_timeout=_ASK_AWS_TIMEOUT_S,
                    retries={"total_max_attempts": _ASK_AWS_TRIES},
                )
            )
            found = boto3.Session(botocore_session=session, region_name=self._settings.region).get_credentials()
            if not isinstance(found, RefreshableCredentials):
                return found  # not cached: another process renews them, in a file for example, without notice
            self._aws_credentials = found
        return self._aws_credentials
