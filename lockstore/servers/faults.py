"""What redis-py raises, told in our errors: a fault of one conversation's data, or a server that cannot serve for now."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.tls import distrust

__all__ = ["LOST", "fault_of", "stopping_the_start", "translated"]

LOST = (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError)
"""What is raised when a server cannot be reached, does not answer, or refuses for now."""

_WRONG_TYPE = "WRONGTYPE"


def fault_of(error: exceptions.ResponseError) -> ConversationError | StoreUnavailableError:
    """Tell a fault of one conversation's data from a server that cannot serve for now."""
    text = str(error)
    code = text.partition(" ")[0]
    # A code (MISCONF, NOREPLICAS, ...) speaks of the server's state. redis-py has classes of its own for some of them, and
    # leaves out ERR, with which a script's own failure begins.
    of_a_script = type(error) is exceptions.ResponseError and not code.isupper() and "user_script" in text
    return ConversationError(text) if of_a_script or code == _WRONG_TYPE else StoreUnavailableError(text)


@contextmanager
def translated() -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailableError or ConversationError."""
    try:
        yield
    except exceptions.ResponseError as error:
        raise fault_of(error) from error
    except LOST as error:
        raise StoreUnavailableError(_told(error)) from error


@contextmanager
def stopping_the_start() -> Iterator[None]:
    """Have the start stopped by what trying again does not mend: a certificate that is not trusted."""
    try:
        yield
    except StoreUnavailableError as error:
        if (reason := distrust(error)) is not None:
            text = (
                f"lock_store.ssl_ca_certs: the certificate of the Redis server is not trusted: {reason}; "
                "name the file of the CA that signed it"
            )
            raise ConfigError(text) from error
        raise


def _told(error: BaseException) -> str:
    """Say it in one line; a certificate that is not trusted in words of its own."""
    if (reason := distrust(error)) is not None:
        return f"the certificate of the Redis server is not trusted: {reason}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else "no answer in time"
