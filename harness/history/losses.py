"""Nothing lost: every confirmed request comes to its end, every event is told, every message is answered."""

from collections.abc import Iterator

from harness.history.faults import Fault, FaultKind
from harness.history.reading import Reading, Request, Ticket
from harness.history.records import ENDS, Heard, Published, ms

__all__ = ["find"]

_HELD = frozenset({("released", "holder"), ("released", "forced"), ("expired", "held"), ("cancelled", "unreachable")})
"""Ends that only a granted ticket can come to."""


def find(reading: Reading) -> Iterator[Fault]:
    """Find what was lost."""
    for request in reading.requests.values():
        yield from _without_an_end(reading, request)
    for ticket in reading.tickets.values():
        yield from _never_public(reading, ticket)
        yield from _never_answered(reading, ticket)
    for message in reading.history.published:
        if message.kind != "request":
            yield from _unanswered(reading, message)


def _lost(conversation: str, text: str, *proof: Published | Heard) -> Fault:
    return Fault(FaultKind.LOST, conversation, text, proof)


def _without_an_end(reading: Reading, request: Request) -> Iterator[Fault]:
    tickets, refusals = reading.tickets_of(request), reading.refusals(request)
    if any(ticket.end is not None for ticket in tickets):
        return
    finished = [heard for heard in refusals if heard.body["reason"] == "finished"]
    if tickets or finished:
        told = [heard for ticket in tickets for heard in ticket.proof()]
        yield _lost(request.conversation, f"{request.request_id} never ended", *request.published, *told, *finished)
    elif not refusals and request.is_confirmed and not _may_be_refused_unheard(reading, request):
        yield _lost(request.conversation, f"{request.request_id} was never heard of again", *request.published)


def _may_be_refused_unheard(reading: Reading, request: Request) -> bool:
    """Tell whether a refusal, of which the public is not told, may be all that there was: with a `wait` of 0."""
    return not reading.listens(request.published) and any(message.wait == 0 for message in request.published)


def _never_public(reading: Reading, ticket: Ticket) -> Iterator[Fault]:
    """Find events that must have happened, by what else was told, and that the public was never told."""
    told = {heard.kind: heard for heard in ticket.told if not heard.is_public}
    public = {heard.kind for heard in ticket.told if heard.is_public}
    for kind in ("queued", "granted", *ENDS):
        if kind in told and kind not in public:
            yield _lost(ticket.conversation, f"the public was never told: ticket {ticket.number} {kind}", told[kind])
    if ticket.end is None:
        return
    how = (ticket.end.kind, str(ticket.end.body.get("reason") or ticket.end.body.get("phase")))
    if how in _HELD and not ticket.of("granted"):
        yield _lost(ticket.conversation, f"nobody was told: ticket {ticket.number} granted", ticket.end)
    if not ticket.of("queued") and _has_waited(reading, ticket, how):
        yield _lost(ticket.conversation, f"nobody was told: ticket {ticket.number} queued", *ticket.proof())


def _has_waited(reading: Reading, ticket: Ticket, how: tuple[str, str]) -> bool:
    """Tell whether a ticket surely stood in line.

    One that was cancelled did not, if its release came before it. A waiting of 0 ms tells nothing.
    """
    if ticket.granted is not None:
        return ms(ticket.granted.body["waited"]) > 0
    if how == ("cancelled", "requester"):
        return not any(
            message.kind == "release" and message.request_id == ticket.request_id for message in reading.about(ticket)
        )
    return how == ("expired", "waiting")


def _never_answered(reading: Reading, ticket: Ticket) -> Iterator[Fault]:
    """Find public events that a requester who listened all the time was not told."""
    request = reading.request_of(ticket)
    if request is None or not reading.listens(request.published):
        return
    answered = {heard.kind for heard in ticket.told if not heard.is_public}
    for heard in {heard.kind: heard for heard in ticket.told if heard.is_public}.values():
        if heard.kind not in answered:
            text = f"{ticket.request_id} was never told: ticket {ticket.number} {heard.kind}"
            yield _lost(ticket.conversation, text, *request.published, heard)


def _unanswered(reading: Reading, message: Published) -> Iterator[Fault]:
    """Find confirmed releases and renewals that came to nothing."""
    if message.confirmed_at is None or not reading.listens([message]):
        return
    if reading.rejected.get((message.conversation, message.correlation)):
        return
    if message.kind == "renew":
        is_answered = (message.conversation, message.correlation) in reading.renewed
    else:
        # Served is served, by this release or by another of the same ticket.
        ends = [ticket.end for ticket in reading.named_by(message) if ticket.end is not None]
        is_answered = any(end.kind == "released" or end.body.get("reason") == "requester" for end in ends)
    if not is_answered:
        yield _lost(message.conversation, f"a {message.kind} was never answered", message)
