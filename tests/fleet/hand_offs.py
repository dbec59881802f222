"""How long hand-offs took, as those saw it who published and listened."""

from collections.abc import Mapping
from statistics import quantiles

from harness.history import History


def hand_offs(history: History) -> list[tuple[float, float]]:
    """Give when each release was sent that somebody waited for, and the milliseconds until the next grant was heard."""
    released_at: dict[tuple[str, int], float] = {}  # by conversation and the number that was released
    numbers: dict[tuple[str, str], int] = {}
    for heard in history.heard:
        if heard.number is not None and heard.request_id:
            numbers[heard.conversation, heard.request_id] = heard.number
    for message in history.published:
        if message.kind == "release":
            number = message.number or numbers.get((message.conversation, message.request_id or ""))
            if number is not None:
                released_at.setdefault((message.conversation, number), message.sent_at)
    before = _before(history)
    took: list[tuple[float, float]] = []
    for heard in history.heard:
        if heard.kind != "granted" or heard.is_public or heard.number is None or not heard.body["waited"]:
            continue
        sent_at = released_at.get((heard.conversation, before.get((heard.conversation, heard.number), -1)))
        if sent_at is not None and heard.heard_at >= sent_at:
            took.append((sent_at, (heard.heard_at - sent_at) * 1000))
    return took


def _before(history: History) -> Mapping[tuple[str, int], int]:
    """Tell which ticket was granted before which."""
    granted: dict[str, set[int]] = {}
    for heard in history.heard:
        if heard.kind == "granted" and heard.number is not None:
            granted.setdefault(heard.conversation, set()).add(heard.number)
    return {
        (conversation, after): one
        for conversation, found in granted.items()
        for one, after in zip(sorted(found), sorted(found)[1:], strict=False)
    }


def percentile(values: list[float], percent: int) -> float:
    """Give a percentile; 0 where there is nothing."""
    return quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0
