"""A daemon's counts since its start, and its hand-offs by duration.

The counts never decrease, so heartbeats that carry them may be lost: the difference of any two is the work done between
them. No I/O and no clock.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BINS", "Counts", "bin_of", "quantile_ms"]

BINS = 40
"""Bins of hand-offs by duration: the upper bound of each is the square root of two times the previous one."""

_FIRST_MS = 0.25  # upper bound of the first bin; the last one counts everything above 3 minutes
_PER_DOUBLING = 2

_Count = Annotated[int, Field(ge=0, lt=2**63)]


def bin_of(took_ms: float) -> int:
    """Return the bin of a hand-off."""
    if took_ms <= _FIRST_MS:
        return 0
    return min(BINS - 1, math.ceil(math.log2(took_ms / _FIRST_MS) * _PER_DOUBLING))


def quantile_ms(bins: Sequence[float], share: float) -> float | None:
    """Return the duration that this share of the hand-offs did not exceed, within a fifth; None if there was none."""
    wanted = sum(bins) * share
    if wanted <= 0:
        return None
    passed = 0.0
    for number, count in enumerate(bins):
        if count > 0 and passed + count >= wanted:
            return _FIRST_MS * 2 ** ((number - 1 + (wanted - passed) / count) / _PER_DOUBLING)
        passed += count
    return _FIRST_MS * 2 ** ((BINS - 1) / _PER_DOUBLING)  # rounding errors of the sum may stay just below the target


class Counts(BaseModel):
    """The counts of one daemon at one moment, as sent in heartbeats."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    requests: _Count = 0
    grants: _Count = 0
    releases: _Count = 0
    expiries: _Count = 0
    hand_offs: Annotated[tuple[_Count, ...], Field(min_length=BINS, max_length=BINS)] = (0,) * BINS
