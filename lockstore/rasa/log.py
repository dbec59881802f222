"""Our log lines under `rasa.`: Rasa's `LOG_LEVEL` and its logging configuration then apply to them as to its own."""

import logging

__all__ = ["logger", "show_under_rasa"]

logger = logging.getLogger("rasa.lockstore")

_LIBRARY = logging.getLogger("lockstore")
_HANDLER = "lockstore.rasa"


class _UnderRasa(logging.Handler):
    """Passes each record of the library to the logger of the same name under `rasa.`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, if its new logger wants it."""
        target = logging.getLogger(f"rasa.{record.name}")
        if target.isEnabledFor(record.levelno):
            record.name = target.name
            target.handle(record)


def show_under_rasa() -> None:
    """Move the library's log lines of this process under `rasa.`, once."""
    if not any(
        handler.get_name() == _HANDLER for handler in _LIBRARY.handlers
    ):  # by name: this module may be loaded anew
        handler = _UnderRasa()
        handler.set_name(_HANDLER)
        _LIBRARY.addHandler(handler)
        _LIBRARY.setLevel(logging.DEBUG)  # the logger under `rasa.` decides
        _LIBRARY.propagate = False
