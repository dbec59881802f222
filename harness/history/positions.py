"""Places in line: `position` and `behind`, held against who stood there at that moment."""

from collections.abc import Iterator
from itertools import accumulate, islice, takewhile

from harness.history.faults import Fault, FaultKind
from harness.history.reading import Reading, Ticket
from harness.history.records import Heard

__all__ = ["find"]

Stay = tuple[int, int]
"""When a ticket was issued, and when it left the line."""


def find(reading: Reading) -> Iterator[Fault]:
    """Find places that cannot be.

    Times are whole milliseconds: who came or went in the same one may count or not. Lines of which not all is known are left out,
    as are those where direct callers may stand.
    """
    if reading.history.direct_use:
        return
    for line in reading.lines.values():
        stays = [_stay(ticket) for ticket in line]
        known = [stay for stay in stays if stay is not None]
        if len(known) < len(line):
            continue
        last_left_ms = list(accumulate((end_ms for _, end_ms in known), max))
        for place, ticket in enumerate(line):
            told = {(heard.kind, heard.at_ms): heard for heard in ticket.told if heard.kind in ("queued", "granted")}
            for heard in told.values():
                if heard.kind == "queued":
                    others = _ahead(known, last_left_ms, place, heard.at_ms)
                    yield from _miscounted(heard, heard.body["position"], others)
                else:
                    yield from _miscounted(heard, heard.body["behind"], _behind(known, place, heard.at_ms))


def _ahead(stays: list[Stay], last_left_ms: list[int], place: int, at_ms: int) -> list[Stay]:
    """Give the stays before one, nearest first, up to where everybody had left by then."""
    return [stays[other] for other in takewhile(lambda other: last_left_ms[other] >= at_ms, range(place - 1, -1, -1))]


def _behind(stays: list[Stay], place: int, at_ms: int) -> list[Stay]:
    """Give the stays after one that had begun by then."""
    return list(takewhile(lambda stay: stay[0] <= at_ms, islice(stays, place + 1, None)))


def _stay(ticket: Ticket) -> Stay | None:
    """Give the time in line; None if it is not known. One that was cancelled on arrival was there for no time."""
    if ticket.end is None:
        return None
    if ticket.issued_ms is not None:
        return ticket.issued_ms, ticket.end.at_ms
    return (ticket.end.at_ms, ticket.end.at_ms) if ticket.end.kind == "cancelled" else None


def _miscounted(heard: Heard, told: int, others: list[Stay]) -> Iterator[Fault]:
    at_ms = heard.at_ms
    most = sum(issued_ms <= at_ms <= end_ms for issued_ms, end_ms in others)
    least = sum(issued_ms < at_ms < end_ms for issued_ms, end_ms in others)
    if not least <= told <= most:
        counted = str(least) if least == most else f"{least} to {most}"
        side = "before" if heard.kind == "queued" else "behind"
        text = f"ticket {heard.number} was told of {told} {side} it, and there were {counted}"
        yield Fault(FaultKind.CONTRADICTION, heard.conversation, text, (heard,))
