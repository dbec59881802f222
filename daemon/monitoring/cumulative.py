"""What a daemon has done since its start, as counts that only rise; and the hand-offs among it, by how long they took.

Counts that only rise can be told again and again, and some of the telling may get lost: the difference between two of
them is what happened in between. No input or output, no clock.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BINS", "Counts", "bin_of", "quantile_ms"]

BINS = 40
"""Kinds of hand-off by duration: each up to the square root of two times as long as the one before."""

_FIRST_MS = 0.25  # the first bin ends here; the last one takes all from 3 minutes on
_PER_DOUBLING = 2

_Count = Annotated[int, Field(ge=0, lt=2**63)]


def bin_of(took_ms: float) -> int:
    """Give the bin of a hand-off."""
    if took_ms <= _FIRST_MS:
        return 0
    return min(BINS - 1, math.ceil(math.log2(took_ms / _FIRST_MS) * _PER_DOUBLING))


def quantile_ms(bins: Sequence[float], share: float) -> float | None:
    """Give the time within which this share of the hand-offs was done, to within a fifth; None where there was none."""
    wanted = sum(bins) * share
    if wanted <= 0:
        return None
    passed = 0.0
    for number, count in enumerate(bins):
        if count > 0 and passed + count >= wanted:
            return _FIRST_MS * 2 ** ((number - 1 + (wanted - passed) / count) / _PER_DOUBLING)
        passed += count
    return _FIRST_MS * 2 ** ((BINS - 1) / _PER_DOUBLING)  # adding fractions may end a hair below what is wanted


class Counts(BaseModel):
    """The counts of one daemon at one moment, as daemons tell them to each other."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    requests: _Count = 0
    grants: _Count = 0
    releases: _Count = 0
    expiries: _Count = 0
    hand_offs: Annotated[tuple[_Count, ...], Field(min_length=BINS, max_length=BINS)] = (0,) * BINS
