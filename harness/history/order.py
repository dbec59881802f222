"""Order: numbers as published, grants as numbered, one lease after the other."""

from collections import defaultdict, deque
from collections.abc import Iterator
from operator import itemgetter

from harness.history.faults import Fault, FaultKind
from harness.history.reading import Reading, Request, Ticket
from harness.history.records import Published

__all__ = ["find"]


def find(reading: Reading) -> Iterator[Fault]:
    """Find inversions, overlaps, and numbers that do not rise."""
    yield from _against_a_channel(reading)
    yield from _against_a_confirmation(reading)
    for line in reading.lines.values():
        yield from _granted_out_of_turn(line)
        yield from _passed_over(line)
        yield from _overlaps(line)
        yield from _not_rising(line)


def _misnumbered(reading: Reading, before: tuple[Published, int], after: tuple[Published, int], why: str) -> Fault:
    (first, first_number), (second, second_number) = before, after
    conversation = first.conversation
    tickets = (reading.tickets[conversation, number] for number in (first_number, second_number))
    text = f"{first.request_id} {why} {second.request_id}, and got ticket {first_number} after {second_number}"
    return Fault(
        FaultKind.INVERSION,
        conversation,
        text,
        (first, second, *(told for ticket in tickets for told in ticket.proof())),
    )


def _against_a_channel(reading: Reading) -> Iterator[Fault]:
    """Find requests of one channel whose numbers are the other way round.

    A request counts as entered by a message that was confirmed, or that was its only one: for it has a number. What follows must
    not have entered by another way before.
    """
    places: dict[tuple[str, str], list[tuple[Published, Request, int]]] = defaultdict(list)
    for request, number in reading.numbered():
        for message in request.published:
            places[message.channel, request.conversation].append((message, request, number))
    for messages in places.values():
        messages.sort(key=lambda item: item[0].place)
        highest: tuple[Published, int] | None = None
        for message, request, number in messages:
            came_here = all(each.channel == message.channel for each in request.published)
            if highest is not None and number < highest[1] and came_here and message is request.published[0]:
                yield _misnumbered(reading, highest, (message, number), "was published on the same channel before")
            entered = message.confirmed_at is not None or len(request.published) == 1
            if entered and (highest is None or number > highest[1]):
                highest = (message, number)


def _against_a_confirmation(reading: Reading) -> Iterator[Fault]:
    """Find requests that the broker had confirmed before another was sent on another channel, and that come after it."""
    lines: dict[str, list[tuple[Request, int]]] = defaultdict(list)
    for request, number in reading.numbered():
        lines[request.conversation].append((request, number))
    for requests in lines.values():
        confirmed = deque(
            sorted(
                (
                    (message.confirmed_at, number, message)
                    for request, number in requests
                    for message in request.published
                    if message.confirmed_at is not None
                ),
                key=itemgetter(0, 1),
            )
        )
        highest: tuple[Published, int] | None = None
        for request, number in sorted(requests, key=lambda item: _first(item[0]).sent_at):
            first = _first(request)
            while confirmed and confirmed[0][0] < first.sent_at:
                _, its_number, message = confirmed.popleft()
                if highest is None or its_number > highest[1]:
                    highest = (message, its_number)
            if highest is not None and number < highest[1] and first.channel != highest[0].channel:
                yield _misnumbered(reading, highest, (first, number), "was confirmed before there was")


def _first(request: Request) -> Published:
    return min(request.published, key=lambda message: message.sent_at)


def _granted_out_of_turn(line: list[Ticket]) -> Iterator[Fault]:
    latest: Ticket | None = None
    for ticket in line:
        if ticket.granted is None:
            continue
        if latest is not None and latest.granted is not None and ticket.granted.at_ms < latest.granted.at_ms:
            early_ms = latest.granted.at_ms - ticket.granted.at_ms
            text = f"ticket {ticket.number} was granted {early_ms} ms before ticket {latest.number}"
            yield Fault(FaultKind.INVERSION, ticket.conversation, text, (*latest.proof(), *ticket.proof()))
        else:
            latest = ticket


def _passed_over(line: list[Ticket]) -> Iterator[Fault]:
    """Find tickets that still stood in line when a later one was granted."""
    heir: Ticket | None = None  # the next that was granted behind the ticket that is looked at
    for ticket in reversed(line):
        if ticket.granted is not None:
            heir = ticket
        elif ticket.end is not None and heir is not None and heir.granted is not None:
            early_ms = ticket.end.at_ms - heir.granted.at_ms
            if early_ms > 0:
                text = f"ticket {heir.number} was granted {early_ms} ms before ticket {ticket.number} had left the line"
                yield Fault(FaultKind.INVERSION, ticket.conversation, text, (*ticket.proof(), *heir.proof()))


def _overlaps(line: list[Ticket]) -> Iterator[Fault]:
    """Find leases that began before another had ended. A lease whose end nobody told proves nothing here."""
    leases = [(ticket.granted.at_ms, ticket) for ticket in line if ticket.granted is not None]
    last: Ticket | None = None
    for granted_ms, ticket in sorted(leases, key=itemgetter(0)):
        if last is not None and last.end is not None and granted_ms < last.end.at_ms:
            early_ms = last.end.at_ms - granted_ms
            text = f"ticket {ticket.number} was granted {early_ms} ms before the lease of ticket {last.number} ended"
            yield Fault(FaultKind.OVERLAP, ticket.conversation, text, (*last.proof(), *ticket.proof()))
        if ticket.end is not None and (last is None or last.end is None or ticket.end.at_ms > last.end.at_ms):
            last = ticket


def _not_rising(line: list[Ticket]) -> Iterator[Fault]:
    latest, latest_ms = None, 0
    for ticket in line:
        if ticket.issued_ms is None:
            continue
        if latest is not None and ticket.issued_ms < latest_ms:
            early_ms = latest_ms - ticket.issued_ms
            text = f"ticket {ticket.number} was issued {early_ms} ms before ticket {latest.number}"
            yield Fault(FaultKind.NOT_RISING, ticket.conversation, text, (*latest.proof(), *ticket.proof()))
        else:
            latest, latest_ms = ticket, ticket.issued_ms
