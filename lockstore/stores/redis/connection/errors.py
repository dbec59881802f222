"""Translates redis-py's errors into ours: bad data of one conversation, or a server that is unavailable for now."""

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
"""Raised if a server cannot be reached, does not answer or refuses for now, or if there are no credentials for it.

ChangingCredentials raise StoreUnavailableError while connecting.
"""

_WRONG_TYPE = "WRONGTYPE"
_DAMAGED = "DAMAGED"  # prefix of our scripts' errors: a key contains foreign data, and nothing was written
_DENIED = "The user executing the script can't "  # how Redis 7.0 reports a permission that a script lacks

# Possible causes when a server closes the connection without a reply.
_CLOSED = "the server closed the connection at once: it may want TLS (use_ssl), or a client certificate (ssl_certfile)"
_ENDED = "Connection closed by server"  # redis-py's message, for which it has no exception class
_MOVED_ON = "non local key"  # raised in a script whose slot was moved while it ran
_SILENT = "with use_ssl, this may be a server without TLS"
_PLAIN_TEXT = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")  # OpenSSL's codes
_NO_TLS = "this server does not speak TLS: leave use_ssl out"


def fault_of(error: exceptions.ResponseError) -> ConversationError | StoreUnavailableError:
    """Distinguish bad data of one conversation from a server that is unavailable for now."""
    text = str(error)
    if text.startswith(_DENIED):
        return StoreUnavailableError(f"{text} ACL LOG on the server shows which")
    code = text.partition(" ")[0]
    if code == _DAMAGED:
        return ConversationError(_without_script(text).removeprefix(f"{_DAMAGED} "))
    if code == _WRONG_TYPE:
        return ConversationError("one of its keys in Redis has the wrong type: another program wrote it")
    # A code (MISCONF, NOREPLICAS, ...) describes the server's state. redis-py has exception classes for some codes,
    # and strips ERR, with which errors raised by a script begin.
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


class translated:  # noqa: N801 - named like a function; a generator-based context manager would be slower
    """Translate redis-py's errors into StoreUnavailableError or ConversationError."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise our error instead of redis-py's."""
        if error is None or isinstance(error, StoreUnavailableError):
            return
        if isinstance(error, exceptions.ResponseError):
            raise fault_of(error) from error
        if isinstance(error, CONNECTION_ERRORS):
            raise StoreUnavailableError(_told(error)) from error


@contextmanager
def stopping_the_start() -> Iterator[None]:
    """Turn errors that a retry cannot fix, such as a rejected certificate, into ConfigError at startup.

    Other possible configuration mistakes are reported with what to check.
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
    """Describe an error in one line; certificate errors in our own words."""
    if (fault := certificate_fault(error)) is not None:
        return f"{fault.what}; {fault.remedy}"
    if any(isinstance(cause, SSLError) and cause.reason in _PLAIN_TEXT for cause in causes(error)):
        return _NO_TLS
    text = " ".join(str(error).split())
    if isinstance(error, MasterNotFoundError):
        return text
    if (sentence := _sentence_behind(error)) is not None:
        # A list of the Sentinels' answers, or redis-py's own text, is less specific than the underlying error.
        return sentence.text
    return f"{type(error).__name__}: {text}" if text else "no answer in time"
