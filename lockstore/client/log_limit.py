"""Warnings whose rate a stranger decides: the first of each kind is logged at once, more of them once a minute as a count."""

import logging
import time

__all__ = ["RateLimitedLog"]

_PERIOD_S = 60.0


class RateLimitedLog:
    """Logs at most one warning of each code in a minute. Codes are few and fixed: they are kept for ever."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._logged_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def warning(self, code: str, what: str, reason: str) -> None:
        """Log `what: reason`, or count it until a minute has passed since the last one with this code."""
        now = time.monotonic()
        last = self._logged_at.get(code)
        if last is not None and now < last + _PERIOD_S:
            self._suppressed[code] = self._suppressed.get(code, 0) + 1
            return
        self._logged_at[code] = now
        more = self._suppressed.pop(code, 0)
        extra = {"code": code, "reason": reason, "suppressed": more}
        if more:
            self._logger.warning("%s: %s (and %d more since the last warning)", what, reason, more, extra=extra)
        else:
            self._logger.warning("%s: %s", what, reason, extra=extra)
