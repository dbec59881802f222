"""What redis-py raises, told in our errors: a fault of one conversation's data, or a server that cannot serve for now."""

from asyncio import IncompleteReadError
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.tls import causes, certificate_fault

__all__ = ["LOST", "fault_of", "stopping_the_start", "translated"]

LOST = (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError, StoreUnavailableError)
"""What is raised when a server cannot be reached, does not answer, or refuses for now; or when there is no password to show.

StoreUnavailableError is what ChangingCredentials raise, in the middle of connecting.
"""

_WRONG_TYPE = "WRONGTYPE"
_DENIED = "The user executing the script can't "  # a right that is missing, as Redis 7.0 says it of a script's command

# What a server does that was spoken to in the wrong way; it cannot say so.
_CLOSED = "the server closed the connection at once: it may want TLS (use_ssl), or a client certificate (ssl_certfile)"
_ENDED = "Connection closed by server"  # redis-py's words, for which it has no class
_NO_LOGIN = "HELLO must be called"  # Redis' words to a client that gave no password
_LOGIN = "look at username and password (of a Sentinel: sentinel_username, sentinel_password)"
_MOVED_ON = "non local key"  # in a script: its slot went to another node while it ran
_SILENT = "with use_ssl, this may be a server without TLS"


def fault_of(error: exceptions.ResponseError) -> ConversationError | StoreUnavailableError:
    """Tell a fault of one conversation's data from a server that cannot serve for now."""
    text = str(error)
    if text.startswith(_DENIED):
        return StoreUnavailableError(f"{text} ACL LOG at the server says which")
    code = text.partition(" ")[0]
    # A code (MISCONF, NOREPLICAS, ...) speaks of the server's state. redis-py has classes of its own for some of them, and
    # leaves out ERR, with which a script's own failure begins.
    of_a_script = (
        type(error) is exceptions.ResponseError
        and not code.isupper()
        and "user_script" in text
        and _MOVED_ON not in text
    )
    return ConversationError(text) if of_a_script or code == _WRONG_TYPE else StoreUnavailableError(text)


class translated:  # noqa: N801 - reads as the function that it could be, were it not for the cost of a generator
    """Turn redis-py's errors into StoreUnavailableError or ConversationError."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise ours in place of redis-py's."""
        if error is None or isinstance(error, StoreUnavailableError):
            return
        if isinstance(error, exceptions.ResponseError):
            raise fault_of(error) from error
        if isinstance(error, LOST):
            raise StoreUnavailableError(_told(error)) from error


@contextmanager
def stopping_the_start() -> Iterator[None]:
    """Have the start stopped by what trying again does not mend: a certificate that one side does not take.

    What else may be a mistake in the configuration is said with what to look at.
    """
    try:
        yield
    except StoreUnavailableError as error:
        if (fault := certificate_fault(error)) is not None:
            raise ConfigError(f"lock_store.{fault.option}: {fault.what}; {fault.remedy}") from error
        if _is_behind(error, ConnectionResetError, BrokenPipeError, IncompleteReadError) or _ENDED in str(error):
            raise StoreUnavailableError(f"{error}; {_CLOSED}") from error
        if _is_behind(error, TimeoutError, exceptions.TimeoutError):
            raise StoreUnavailableError(f"{error}; {_SILENT}") from error
        raise


def _is_behind(error: BaseException, *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes(error))


def _told(error: BaseException) -> str:
    """Say it in one line; what is wrong with a certificate in words of its own."""
    if (fault := certificate_fault(error)) is not None:
        return f"{fault.what}; {fault.remedy}"
    # A node that does not tell a user the cluster's layout is, in redis-py's words, one without a cluster.
    refused = (cause for cause in causes(error) if isinstance(cause, exceptions.NoPermissionError))
    error = next(refused, error)
    text = " ".join(str(error).split())
    if isinstance(error, exceptions.AuthenticationError):
        said = "the server wants a password, and none was given" if text.startswith(_NO_LOGIN) else text
        return f"{type(error).__name__}: {said}; {_LOGIN}"
    return f"{type(error).__name__}: {text}" if text else "no answer in time"
