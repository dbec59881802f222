"""What the client has to remark while it goes on trying, as lines on standard error: each trouble once, until it is over."""

import logging

from daemon.commands.plain import complain

__all__ = ["heed"]

_LINES = {
    "lock_client.broker_unreachable": "RabbitMQ cannot be reached, trying again: {reason}",
    "lock_client.connection_lost": "the connection to RabbitMQ was lost, connecting again",
    "lock_client.no_daemon": "no daemon has ever served the namespace {namespace} on this broker, waiting for one; "
    "start one with: lockstore serve",
    "lock_client.no_events": "no public events can be followed yet, trying again: {reason}",
}


class _Remarks(logging.Handler):
    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        name = record.getMessage()
        if name not in _LINES or name in self._said:
            return
        if name == "lock_client.connection_lost":
            self._said.clear()  # whatever comes now is a new trouble
        self._said.add(name)
        complain(self._command, _LINES[name].format_map(vars(record)))


def heed(command: str) -> None:
    """Say these on behalf of a command. What the AMQP library logs besides is not for whoever runs one."""
    root = logging.getLogger()
    root.addHandler(logging.NullHandler())
    logger = logging.getLogger("lockstore")
    logger.addHandler(_Remarks(command))
    logger.propagate = False
