"""IAM for AWS ElastiCache: whether it is on, and the tokens that stand in the place of a password.

A token is a request that is signed and never sent: `GET https://<cache>/?Action=connect&User=<user>` for the service
`elasticache`, as a URL without its scheme. It opens a connection while it is young enough, and while the AWS credentials
that signed it are valid.
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

# Rasa's names, but for the last.
_SWITCH = "ELASTICACHE_REDIS_AWS_IAM_ENABLED"
_PROVIDER = "IAM_CLOUD_PROVIDER"
_REGION = "AWS_DEFAULT_REGION"
_CLUSTER = "AWS_ELASTICACHE_CLUSTER_NAME"
_SERVERLESS = "AWS_ELASTICACHE_SERVERLESS"

_SERVICE = "elasticache"
_SCHEME = "https://"
_ASK_AWS_TIMEOUT_S = 5  # for each step when credentials are fetched over the network; botocore's own is 60
_ASK_AWS_TRIES = 2  # whoever needs a token tries again anyway


@dataclass(frozen=True, slots=True)
class IamSettings:
    """Which cache a token is for: its region, its name in lower case, and whether it is a serverless one."""

    region: str
    cluster_name: str
    serverless: bool = False


@dataclass(frozen=True, slots=True)
class IamTimes:
    """How long a token and a connection are good for.

    `validity_s`: what a token says of itself (X-Amz-Expires, whole seconds). 15 minutes is the most that AWS takes.

    `refresh_s`: the age up to which a token is given out again. A minute, though it is valid for fifteen: the token ends
    with the AWS credentials behind it, which nobody announces. botocore renews what it can ten minutes before it ends,
    so that what is given out is good for nine more. Signing anew takes milliseconds; the minute is for a storm of connections.

    `reauthenticate_s`: the age at which a live connection shows a new token. AWS closes it twelve hours after the last
    one; half of that leaves hours in which to try again.
    """

    validity_s: int = 15 * 60
    refresh_s: float = 60
    reauthenticate_s: float = 6 * 60 * 60


_TIMES = IamTimes()


def iam_settings(environ: Mapping[str, str]) -> IamSettings | None:
    """Read the variables that Rasa has for it; None: IAM is off. Raises ConfigError with the variable and its rule."""
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
    # AWS turns a name into lower case when the cache is made, and refuses a token for the name as it was typed.
    return IamSettings(region, name.lower(), serverless=_is_true(environ, _SERVERLESS))


def _is_true(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "")
    if value.lower() not in {"true", "false", ""}:
        raise ConfigError(f"{name}: must be true or false, not {value!r}")
    return value.lower() == "true"


def check_iam_options(options: RedisOptions) -> None:
    """Refuse, with ConfigError, options that tokens do not go with. Call it when IAM is on."""
    username, password = options.credentials
    if not options.speaks_tls:
        raise ConfigError(
            f"lock_store.use_ssl: must be true, because {_SWITCH} is: ElastiCache takes tokens with TLS only"
        )
    if username is None:
        raise ConfigError(f"lock_store.username: must be set, because {_SWITCH} is true: a token is for one user")
    if password is not None:
        raise ConfigError(f"lock_store.password: must not be given, because {_SWITCH} is true: a token takes its place")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    signed_at: float


_NO_TOKEN = _Token("", float("-inf"))


class ElastiCacheCredentials(CredentialProvider):
    """Give each connection the user, and a token that is valid for a good while yet.

    All connections of one event loop may share it. The AWS credentials come from where boto3 finds them: environment,
    shared files, the role of a container or an instance.
    """

    def __init__(
        self, user: str, settings: IamSettings, *, times: IamTimes = _TIMES, clock: Callable[[], float] = time.time
    ) -> None:
        self._times = times
        self._user = user
        self._settings = settings
        self._clock = clock  # the time of day, which tokens live by: they grow old while a machine sleeps
        self._token = _NO_TOKEN
        self._renewing = threading.Lock()
        self._renewal: asyncio.Task[None] | None = None
        self._aws_credentials: Any = None  # only those that botocore renews by itself

    @property
    def reauthenticate_s(self) -> float:
        """Age, in seconds, from which a connection has to show a new token before it is used."""
        return self._times.reauthenticate_s

    def get_credentials(self) -> tuple[str, str]:
        """Give the user and a token; may block on the network. Raises StoreUnavailableError if AWS credentials lack."""
        self._renew()
        return self._user, self._token.text

    async def get_credentials_async(self) -> tuple[str, str]:
        """Give the user and a token, without blocking. Raises StoreUnavailableError if AWS credentials lack."""
        if not self._is_fresh():
            if self._renewal is None or self._renewal.done():
                self._renewal = asyncio.create_task(asyncio.to_thread(self._renew))
            # All callers wait for one thread, which cannot be stopped. So a caller that gives up leaves it to the others,
            # and the next one joins in: however long AWS does not answer, one thread waits for it.
            await asyncio.shield(self._renewal)
        return self._user, self._token.text

    def _is_fresh(self) -> bool:
        return 0 <= self._clock() - self._token.signed_at < self._times.refresh_s

    def _renew(self) -> None:
        # Gives nothing back: a task shows its result in its repr.
        with self._renewing:
            if not self._is_fresh():
                now = self._clock()  # before signing, so that a token is never taken for younger than it is
                self._token = _Token(self._signed(), now)

    def _signed(self) -> str:
        """Sign anew. Every failure is one of the moment.

        Whether credentials are missing for good cannot be told from here: a role may be attached later, and the service
        that gives its credentials may be away. So the daemon tries again, and says why it waits.
        """
        # boto3 takes 0.15 s and 12 MB to import, which nobody should pay who does not use IAM.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return self._presigned().removeprefix(_SCHEME)
        # RuntimeError: credentials that are expired and stay so. ValueError: an answer or a file that cannot be read.
        except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError) as error:
            self._aws_credentials = None  # next time they may be elsewhere
            message = f"no token for ElastiCache: {type(error).__name__}: {error}"
            raise StoreUnavailableError(message) from error

    def _presigned(self) -> str:
        from botocore.hooks import HierarchicalEmitter  # noqa: PLC0415 - as above
        from botocore.model import ServiceId  # noqa: PLC0415 - as above
        from botocore.signers import RequestSigner  # noqa: PLC0415 - as above

        region = self._settings.region
        events = HierarchicalEmitter()  # the signer holds it weakly
        signer = RequestSigner(ServiceId(_SERVICE), region, _SERVICE, "v4", self._found_credentials(), events)
        asked = {"Action": "connect", "User": self._user}
        if self._settings.serverless:
            asked["ResourceType"] = "ServerlessCache"
        url = f"{_SCHEME}{self._settings.cluster_name}/?{urlencode(asked)}"
        request = {"method": "GET", "url": url, "body": {}, "headers": {}, "context": {}}
        return str(signer.generate_presigned_url(request, "connect", expires_in=self._times.validity_s))

    def _found_credentials(self) -> Any:
        """Find AWS credentials. None: there are none, which the signer refuses with an error of its own."""
        import boto3  # noqa: PLC0415 - as above
        from botocore.config import Config  # noqa: PLC0415 - as above
        from botocore.credentials import RefreshableCredentials  # noqa: PLC0415 - as above
        from botocore.session import Session  # noqa: PLC0415 - as above

        if self._aws_credentials is None:
            # At the level debug it writes signatures and the answers that hold credentials.
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
                return found  # not kept: somebody else renews them, in a file for example, and says nothing
            self._aws_credentials = found
        return self._aws_credentials
