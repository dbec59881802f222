"""What redis-py raises, told in our errors: a fault of one conversation's data, or a server that cannot serve for now."""

from asyncio import IncompleteReadError
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError

from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from lockstore.errors import ConfigError, ConversationError, StoreUnavailableError
from lockstore.stores.redis.connection.error_sentences import Sentence, sentence_of
from lockstore.util.tls import causes, certificate_fault

__all__ = ["CONNECTION_ERRORS", "fault_of", "stopping_the_start", "translated"]

CONNECTION_ERRORS = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    OSError,
    TimeoutError,
    StoreUnavailableError,
)
"""What is raised when a server cannot be reached, does not answer, or refuses for now; or when there is no password to show.

StoreUnavailableError is what ChangingCredentials raise, in the middle of connecting.
"""

_WRONG_TYPE = "WRONGTYPE"
_DAMAGED = "DAMAGED"  # our scripts' own word: what stands in a key is not ours, and nothing was written
_DENIED = "The user executing the script can't "  # a right that is missing, as Redis 7.0 says it of a script's command

# What a server does that was spoken to in the wrong way; it cannot say so.
_CLOSED = "the server closed the connection at once: it may want TLS (use_ssl), or a client certificate (ssl_certfile)"
_ENDED = "Connection closed by server"  # redis-py's words, for which it has no class
_MOVED_ON = "non local key"  # in a script: its slot went to another node while it ran
_SILENT = "with use_ssl, this may be a server without TLS"
_PLAIN_TEXT = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")  # OpenSSL's words
_NO_TLS = "this server does not speak TLS: leave use_ssl out"


def fault_of(error: exceptions.ResponseError) -> ConversationError | StoreUnavailableError:
    """Tell a fault of one conversation's data from a server that cannot serve for now."""
    text = str(error)
    if text.startswith(_DENIED):
        return StoreUnavailableError(f"{text} ACL LOG at the server says which")
    code = text.partition(" ")[0]
    if code == _DAMAGED:
        return ConversationError(_without_script(text).removeprefix(f"{_DAMAGED} "))
    if code == _WRONG_TYPE:
        return ConversationError("one of its keys in Redis is of another type: another program wrote it")
    # A code (MISCONF, NOREPLICAS, ...) speaks of the server's state. redis-py has classes of its own for some of them, and
    # leaves out ERR, with which a script's own failure begins.
    of_a_script = (
        type(error) is exceptions.ResponseError
        and not code.isupper()
        and "user_script" in text
        and _MOVED_ON not in text
    )
    if of_a_script:
        return ConversationError(text)
    return StoreUnavailableError(_told(error))


def _without_script(text: str) -> str:
    return text.partition(" script: ")[0]


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
        if isinstance(error, CONNECTION_ERRORS):
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
        if (sentence := _sentence_behind(error)) is not None and sentence.option is not None:
            raise ConfigError(f"lock_store.{sentence.option}: {sentence.text}") from error
        if _is_behind(error, ConnectionResetError, BrokenPipeError, IncompleteReadError) or _ENDED in str(error):
            raise StoreUnavailableError(f"{error}; {_CLOSED}") from error
        if _is_behind(error, TimeoutError, exceptions.TimeoutError):
            raise StoreUnavailableError(f"{error}; {_SILENT}") from error
        raise


def _is_behind(error: BaseException, *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes(error))


def _sentence_behind(error: BaseException) -> Sentence | None:
    return next((sentence for cause in causes(error) if (sentence := sentence_of(cause)) is not None), None)


def _told(error: BaseException) -> str:
    """Say it in one line; what is wrong with a certificate in words of its own."""
    if (fault := certificate_fault(error)) is not None:
        return f"{fault.what}; {fault.remedy}"
    if any(isinstance(cause, SSLError) and cause.reason in _PLAIN_TEXT for cause in causes(error)):
        return _NO_TLS
    text = " ".join(str(error).split())
    if isinstance(error, MasterNotFoundError):
        return text
    if (sentence := _sentence_behind(error)) is not None:
        # A list of the Sentinels' answers, or redis-py's own words, say no more than what is behind them.
        return sentence.text
    return f"{type(error).__name__}: {text}" if text else "no answer in time"
