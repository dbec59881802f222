"""Rate-limited warnings for events that others cause: the first of each kind at once, further ones as a count per minute."""

import logging
import time

__all__ = ["RateLimitedLog"]

_PERIOD_S = 60.0


class RateLimitedLog:
    """Logs at most one warning per code and minute. Codes are few and fixed, and are kept forever."""

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
