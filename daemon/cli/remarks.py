"""What the client has to remark while it goes on trying, as lines on standard error: each trouble once, until it is over."""

import logging

from daemon.cli.output import print_error

__all__ = ["print_client_warnings"]

_LINES = {
    "lock_client.broker_unreachable": "RabbitMQ cannot be reached, trying again: {reason}",
    "lock_client.connection_lost": "the connection to RabbitMQ was lost, connecting again",
    "lock_client.no_daemon": "no queue takes requests in the namespace {namespace}: no daemon has declared it, or it was removed; "
    "start one with: lockstore serve",
    "lock_client.events_unheard": "no events can be followed yet, trying again ({reason}); a daemon declares them: lockstore serve",
    "lock_client.events_followed": "following events",
}
_NEWS = {"lock_client.connection_lost", "lock_client.events_followed"}  # whatever comes after one of these is new


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
    """Say these on behalf of a command. What the AMQP library logs besides is not for whoever runs one."""
    logging.getLogger().addHandler(logging.NullHandler())
    logger = logging.getLogger("lockstore")
    logger.addHandler(_Remarks(command))
    logger.setLevel(logging.INFO)
    logger.propagate = False
