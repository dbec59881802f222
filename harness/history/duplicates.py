"""One of each: one ticket for a request, one request for a number, one end, one content for a message id."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from harness.history.faults import Fault, FaultKind
from harness.history.reading import Reading, Request, Ticket
from harness.history.records import ENDS, Heard, Published

__all__ = ["find"]

_MOMENT = frozenset({"at"})
_STATE = _MOMENT | {"position", "behind", "expires_at"}
"""What an answer that is given anew says of its own moment. A public copy is never given anew, an end neither."""


def find(reading: Reading) -> Iterator[Fault]:
    """Find what is there twice."""
    for request in reading.requests.values():
        yield from _two_tickets(reading, request)
    for ticket in reading.tickets.values():
        yield from _two_owners(ticket)
        yield from _two_ends(ticket)
        yield from _two_names(ticket)
    yield from _another_end_remembered(reading)
    yield from _two_contents(reading)


def _doubled(conversation: str, text: str, *proof: Published | Heard) -> Fault:
    return Fault(FaultKind.DOUBLED, conversation, text, proof)


def _two_tickets(reading: Reading, request: Request) -> Iterator[Fault]:
    tickets = reading.tickets_of(request)
    told = [heard for ticket in tickets for heard in ticket.proof()]
    if len(tickets) > 1:
        numbers = " and ".join(map(str, request.numbers))
        text = f"{request.request_id} got tickets {numbers}"
        yield _doubled(request.conversation, text, *request.published, *told)
    refusals = [heard for heard in reading.refusals(request) if heard.body["reason"] in ("busy", "line_full")]
    if tickets and refusals:
        yield _doubled(request.conversation, f"{request.request_id} was refused, and got a ticket", *refusals, *told)


def _two_owners(ticket: Ticket) -> Iterator[Fault]:
    owners = {heard.request_id: heard for heard in ticket.told}
    if len(owners) > 1:
        names = " and ".join(map(str, owners))
        yield _doubled(ticket.conversation, f"ticket {ticket.number} was given to {names}", *owners.values())


def _two_ends(ticket: Ticket) -> Iterator[Fault]:
    ends = {(heard.kind, heard.at_ms): heard for heard in ticket.told if heard.kind in ENDS}
    if len(ends) > 1:
        kinds = " and ".join(kind for kind, _ in ends)
        yield _doubled(ticket.conversation, f"ticket {ticket.number} ended twice, {kinds}", *ends.values())


def _two_names(ticket: Ticket) -> Iterator[Fault]:
    """Find one event under two message ids. There may be many renewals."""
    names: dict[str, dict[str, Heard]] = defaultdict(dict)
    for heard in ticket.told:
        names[heard.kind].setdefault(heard.message_id, heard)
    for kind, copies in names.items():
        if kind != "renewed" and len(copies) > 1:
            text = f"ticket {ticket.number} {kind} was told under {len(copies)} message ids"
            yield _doubled(ticket.conversation, text, *copies.values())


def _another_end_remembered(reading: Reading) -> Iterator[Fault]:
    for heard in reading.rejections:
        ended = heard.body.get("ended")
        ticket = None if heard.number is None else reading.tickets.get((heard.conversation, heard.number))
        if ended is not None and ticket is not None and ticket.end is not None and ticket.end.kind != ended:
            text = f"ticket {ticket.number} {ticket.end.kind}, and then it is said to be {ended}"
            yield _doubled(ticket.conversation, text, ticket.end, heard)


def _lasting(heard: Heard) -> dict[str, Any]:
    """Give what is the same in every copy of an event, the time of an end aside, which `_two_ends` looks at.

    Two renewals, in other moments and for other times, may come to the same end of the lease, which names them.
    """
    passing = _MOMENT if heard.kind == "renewed" else _STATE
    return {name: value for name, value in heard.body.items() if name not in passing}


def _two_contents(reading: Reading) -> Iterator[Fault]:
    first: dict[str, Heard] = {}
    public: dict[str, Heard] = {}
    for heard in reading.history.heard:
        same = first.setdefault(heard.message_id, heard)
        if same is not heard and _lasting(same) != _lasting(heard):
            yield _doubled(heard.conversation, f"message id {heard.message_id} has two contents", same, heard)
        elif heard.is_public and public.setdefault(heard.message_id, heard).body != heard.body:
            text = f"message id {heard.message_id} has two contents for the public"
            yield _doubled(heard.conversation, text, public[heard.message_id], heard)
