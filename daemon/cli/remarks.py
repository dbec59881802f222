"""Prints the client's warnings during a command on standard error: each problem once, until it is resolved."""

import logging

from daemon.cli.output import print_error

__all__ = ["print_client_warnings"]

_LINES = {
    "lock_client.broker_unreachable": "RabbitMQ cannot be reached, retrying: {reason}",
    "lock_client.connection_lost": "the connection to RabbitMQ was lost, reconnecting",
    "lock_client.no_daemon": "the namespace {namespace} has no request queue: no daemon has declared it, or it was removed; "
    "start one with: lockstore serve",
    "lock_client.events_unheard": "cannot subscribe to events yet, retrying ({reason}); a daemon declares the exchange: lockstore serve",
    "lock_client.events_followed": "following events",
}
_NEWS = {"lock_client.connection_lost", "lock_client.events_followed"}  # after one of these, every problem is new


class _Remarks(logging.Handler):
    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        name = getattr(record, "code", "")
        if name in _NEWS:
            self._said.clear()
        if name in _LINES and name not in self._said:
            self._said.add(name)
            print_error(self._command, _LINES[name].format_map(vars(record)))


def print_client_warnings(command: str) -> None:
    """Print warnings on behalf of a command, but not the AMQP library's own log messages."""
    logging.getLogger().addHandler(logging.NullHandler())
    logger = logging.getLogger("lockstore")
    logger.addHandler(_Remarks(command))
    logger.setLevel(logging.INFO)
    logger.propagate = False
