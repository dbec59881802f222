"""AWS' part in IAM, for private servers: it judges tokens by the published rules, and lets their bearers in while they are valid.

ElastiCache knows a valid token when it sees one. Redis does not, so whoever makes a token shows it here first, on a unix
socket; it is then a password of the one user on every server, and none any more when its time is over. Nothing of
`lockstore` is used here: what it signs is judged by somebody else.
"""

import asyncio
import hashlib
import hmac
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

from redis.exceptions import RedisError

from harness import RedisServer

USER, CLUSTER, REGION = "iam-user", "bot-locks", "eu-central-1"
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ADMIN = "of-the-administrator"

ENVIRON = {
    "ELASTICACHE_REDIS_AWS_IAM_ENABLED": "true",
    "IAM_CLOUD_PROVIDER": "aws",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ELASTICACHE_CLUSTER_NAME": "Bot-Locks",  # as it was typed when it was made
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What the daemon needs to know."""

SERVER_OPTIONS = {"requirepass": ADMIN, "masterauth": ADMIN, "user": f"{USER} on resetpass ~* &* +@all"}
"""Lines of redis.conf: the user without a password, so that nobody gets in as it; and no way in without one."""

ACCEPTED, AWAY = "accepted", "away"


class AwayError(Exception):
    """Nobody gives AWS credentials at present."""


class BadTokenError(Exception):
    """A token that AWS would not take; the message says why."""


@dataclass(frozen=True)
class Token:
    """A token that was taken. Times are of the time of day, in seconds."""

    text: str
    valid_until: float

    @property
    def signature(self) -> str:
        """The part that nobody may read in a log."""
        return self.text.rpartition("X-Amz-Signature=")[2]


def judged(text: str, now: float) -> Token:
    """Take a token, or raise BadTokenError."""
    host, separator, query = text.partition("/?")
    _require("://" not in text and separator == "/?", "it is no URL without its scheme")
    _require(host == CLUSTER, f"it is for {host}")
    pairs = [pair.partition("=")[::2] for pair in query.split("&")]
    parameters = {name: unquote(value) for name, value in pairs}
    _require(len(parameters) == len(pairs), "a parameter stands in it twice")
    signature = parameters.pop("X-Amz-Signature", "")
    signed_at = datetime.strptime(parameters.get("X-Amz-Date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    scope = f"{parameters['X-Amz-Date'][:8]}/{REGION}/elasticache/aws4_request"
    expected = {
        "Action": "connect",
        "User": USER,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY_ID}/{scope}",
        "X-Amz-SignedHeaders": "host",
    }
    found = {name: value for name, value in parameters.items() if name not in {"X-Amz-Date", "X-Amz-Expires"}}
    _require(found == expected, f"it says {found}")
    _require(hmac.compare_digest(signature, _signature(parameters, scope)), "the signature is wrong")
    valid_until = signed_at + int(parameters["X-Amz-Expires"])
    _require(signed_at <= now < valid_until, "its time has not come, or is over")
    return Token(text, valid_until)


def _require(holds: bool, message: str) -> None:  # noqa: FBT001 - as an assertion has it
    if not holds:
        raise BadTokenError(message)


def _signature(parameters: dict[str, str], scope: str) -> str:
    """Sign with AWS Signature Version 4."""
    query = "&".join(sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items()))
    request = f"GET\n/\n{query}\nhost:{CLUSTER}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, f"AWS4-HMAC-SHA256\n{parameters['X-Amz-Date']}\n{scope}\n{digest}".encode(), "sha256").hex()


def show(path: str, text: str) -> None:
    """Show a token at the socket, and wait until it opens the servers. Raises BadTokenError, or AwayError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(f"{text}\n".encode())
        with connection.makefile() as answers:
            answer = answers.readline().strip()
    if answer == AWAY:
        raise AwayError
    if answer != ACCEPTED:
        raise BadTokenError(answer)


class IamServer:
    """Stands between who makes tokens and the servers that take them, `async with` for as long as it is open."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.tokens: list[Token] = []  # as they came
        self.refused: list[str] = []
        self.away = False
        self._servers = servers
        self._endings: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="lockstore-iam-")
        self._server = await asyncio.start_unix_server(self._answer, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for ending in self._endings:
            ending.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)
        self._folder.cleanup()

    @property
    def path(self) -> str:
        """Where tokens are shown."""
        return str(Path(self._folder.name) / "iam.sock")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = (await reader.readline()).decode().rstrip("\n")
        answer = AWAY if self.away else await self._take(text)
        writer.write(f"{answer}\n".encode())
        await writer.drain()
        writer.close()

    async def _take(self, text: str) -> str:
        try:
            token = judged(text, time.time())
        except (BadTokenError, ValueError, KeyError) as error:
            self.refused.append(f"{error}: {text}")
            return str(error)
        self.tokens.append(token)
        await self._tell(f">{text}")
        ending = asyncio.create_task(self._end(token))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return ACCEPTED

    async def _end(self, token: Token) -> None:
        await asyncio.sleep(token.valid_until - time.time())
        await self._tell(f"<{token.text}")

    async def _tell(self, rule: str) -> None:
        for server in self._servers:
            if server.running:
                with suppress(OSError, RedisError):  # it is being killed
                    await server.admin("ACL", "SETUSER", USER, rule)
