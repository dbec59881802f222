"""Events of one ticket, and of one line, that cannot all be true."""

from collections.abc import Iterator

from harness.history.faults import Fault, FaultKind
from harness.history.reading import Reading, Request, Ticket
from harness.history.records import Heard, Published, ms

__all__ = ["find"]


def find(reading: Reading) -> Iterator[Fault]:
    """Find contradictions."""
    for ticket in reading.tickets.values():
        yield from _strangers(reading, ticket)
        yield from _out_of_time(ticket)
        yield from _wrong_spans(ticket)
        yield from _wrong_end(ticket)
        request = reading.request_of(ticket)
        if request is not None:
            yield from _not_as_asked(ticket, request)
            yield from _ended_early(reading, ticket)
    yield from _rejections(reading)


def _contradiction(conversation: str, text: str, *proof: Published | Heard) -> Fault:
    return Fault(FaultKind.CONTRADICTION, conversation, text, proof)


def _strangers(reading: Reading, ticket: Ticket) -> Iterator[Fault]:
    if reading.request_of(ticket) is None:
        text = f"ticket {ticket.number} is for {ticket.request_id}, which nobody published"
        yield _contradiction(ticket.conversation, text, *ticket.proof())


def _out_of_time(ticket: Ticket) -> Iterator[Fault]:
    """Find what happened before the ticket was issued, before its grant though it needs one, or after its end."""
    queued, granted, end = ticket.queued, ticket.granted, ticket.end
    if queued is not None and granted is not None and granted.at_ms < queued.at_ms:
        text = f"ticket {ticket.number} was granted before it was queued"
        yield _contradiction(ticket.conversation, text, queued, granted)
    for heard in ticket.told:
        if end is not None and heard.at_ms > end.at_ms and heard.kind in ("queued", "granted", "renewed"):
            text = f"ticket {ticket.number} {heard.kind} after it {end.kind}"
            yield _contradiction(ticket.conversation, text, end, heard)
        if granted is not None and heard.kind == "renewed" and heard.at_ms < granted.at_ms:
            yield _contradiction(
                ticket.conversation, f"ticket {ticket.number} renewed before its grant", granted, heard
            )
        if granted is not None and heard.kind == "queued" and heard.at_ms > granted.at_ms:
            yield _contradiction(ticket.conversation, f"ticket {ticket.number} queued after its grant", granted, heard)


def _wrong_spans(ticket: Ticket) -> Iterator[Fault]:
    """Find spans that are not the difference of the times that they lie between."""
    queued, granted, end = ticket.queued, ticket.granted, ticket.end
    if granted is not None and queued is not None:
        waited_ms = granted.at_ms - queued.at_ms
        if ms(granted.body["waited"]) != waited_ms:
            text = f"ticket {ticket.number} waited {waited_ms} ms by its times"
            yield _contradiction(ticket.conversation, text, queued, granted)
    if granted is not None and end is not None and end.kind == "released":
        held_ms = end.at_ms - granted.at_ms
        if ms(end.body["held"]) != held_ms:
            text = f"ticket {ticket.number} was held {held_ms} ms by its times"
            yield _contradiction(ticket.conversation, text, granted, end)


def _wrong_end(ticket: Ticket) -> Iterator[Fault]:
    granted, end = ticket.of("granted"), ticket.end
    if not granted or end is None:
        return
    if end.body.get("phase") == "waiting" or (end.kind == "cancelled" and end.body["reason"] == "requester"):
        text = f"ticket {ticket.number} was granted, and {end.kind} as one that waits"
        yield _contradiction(ticket.conversation, text, granted[0], end)


def _not_as_asked(ticket: Ticket, request: Request) -> Iterator[Fault]:
    """Find a lease or a wait that is not as long as the request says."""
    asked = request.published[0]
    granted, queued = ticket.granted, ticket.queued
    if granted is not None and asked.lifetime is not None:
        lease_ms = ms(granted.body["expires_at"]) - granted.at_ms
        if lease_ms != max(1, ms(asked.lifetime)):
            text = f"ticket {ticket.number} has a lease of {lease_ms} ms"
            yield _contradiction(ticket.conversation, text, asked, granted)
    if queued is not None and asked.wait is not None:
        wait_ms = ms(queued.body["wait_until"]) - queued.at_ms
        if wait_ms != max(1, ms(asked.wait)):
            yield _contradiction(ticket.conversation, f"ticket {ticket.number} may wait {wait_ms} ms", asked, queued)


def _ended_early(reading: Reading, ticket: Ticket) -> Iterator[Fault]:
    """Find deadlines that came before their time. A renewal for a time of its own may have made a lease shorter."""
    end = ticket.end
    if end is None or end.kind != "expired":
        return
    if end.body["phase"] == "waiting":
        until = [ms(ticket.queued.body["wait_until"])] if ticket.queued is not None else []
    elif any(message.kind == "renew" and message.lifetime is not None for message in reading.about(ticket)):
        return
    else:
        leases = [ticket.granted, *ticket.of("renewed")]
        until = [ms(heard.body["expires_at"]) for heard in leases if heard is not None]
    if until and end.at_ms < max(until):
        early_ms = max(until) - end.at_ms
        text = f"ticket {ticket.number} expired {early_ms} ms before its time"
        yield _contradiction(ticket.conversation, text, *ticket.of("renewed"), *ticket.proof())


def _rejections(reading: Reading) -> Iterator[Fault]:
    for heard in reading.rejections:
        reason = heard.body["reason"]
        ticket = None if heard.number is None else reading.tickets.get((heard.conversation, heard.number))
        if ticket is None:
            continue
        if reason == "finished" and ticket.end is not None and heard.at_ms < ticket.end.at_ms:
            text = f"ticket {ticket.number} was said to be over before it {ticket.end.kind}"
            yield _contradiction(heard.conversation, text, heard, ticket.end)
        if reason == "unknown_ticket" and ticket.issued_ms is not None and heard.at_ms > ticket.issued_ms:
            text = f"ticket {ticket.number} was said never to have been issued"
            yield _contradiction(heard.conversation, text, *ticket.proof(), heard)
