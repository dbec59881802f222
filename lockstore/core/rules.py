"""The life cycle of a ticket, as one pure function.

        Request ──────────► waiting ──(head of the line)──► granted ──Release──► released
           │  │                │                               │
   busy, line_full          Release, Withdraw, Expire       Expire ───────────► expired (held)
           │                ForceRelease                           Withdraw ─────────► cancelled (unreachable)
           │                   │                            ForceRelease ────────────► released (forced)
           ▼                   ▼
        rejected       cancelled, expired (waiting)

A direct ticket (Issue, Finish) has no claim: it has one deadline, counted from its issue, and causes no events unless an
operator removes it (ForceRelease: cancelled). Both kinds of tickets share one line. Every command ends overdue tickets at the
head and grants the next, so that a ready ticket is never left without a grant.
The Lua scripts in `stores/redis/lua/` implement the same rules; a state machine in the tests compares the two.
"""

from dataclasses import replace

from lockstore.core.commands import (
    Command,
    Expire,
    Finish,
    ForceRelease,
    Issue,
    Release,
    Renew,
    Request,
    Settle,
    Withdraw,
)
from lockstore.core.events import Cancelled, Event, Renewed
from lockstore.core.line import NO_ROOM, SETTLE_MAX, Limits, Line
from lockstore.core.ticket import Claim, Ended, Ending, Ticket, TicketLock

__all__ = ["SETTLE_MAX", "Limits", "apply"]


def apply(lock: TicketLock, command: Command, now_ms: int, limits: Limits) -> tuple[TicketLock, tuple[Event, ...]]:
    """Apply one command to a conversation's line at `now_ms`. Returns the new line and the resulting events, in order.

    The given lock is not modified.
    """
    line = Line(lock, now_ms, limits)
    line.settle()
    match command:
        case Request():
            _request(line, command)
        case Release():
            _release(line, command)
        case Renew():
            _renew(line, command)
        case Expire():
            line.end_if_overdue(line.find(command.number))
        case Withdraw():
            _withdraw(line, command)
        case ForceRelease():
            _seize(line, command)
        case Issue():
            _issue(line, command)
        case Finish():
            _finish(line, command)
        case Settle():
            pass
    line.settle()
    return line.as_lock(), tuple(line.events)


def _request(line: Line, command: Request) -> None:
    live = line.find_request(command.request_id)
    ended = None
    if live is None or line.end_if_overdue(live):
        ended = line.remembered(None, command.request_id)
    elif live.claim is not None:
        _answer_anew(line, live, live.claim, command)
        return
    if ended is None:
        _enter(line, command)
    elif ended.how == "forgone":
        _cancel_on_arrival(line, command, ended)
    elif ended.how in ("busy", "line_full"):
        line.reject(ended.how, command, None)
    else:
        line.reject("finished", command, ended.number, ended)


def _answer_anew(line: Line, ticket: Ticket, claim: Claim, command: Request) -> None:
    if claim.sender.user_id is not None and claim.sender.user_id != command.sender.user_id:
        line.reject("forbidden", command, ticket.number)
        return
    claim = replace(claim, sender=replace(command.sender, user_id=claim.sender.user_id))
    updated = Ticket(ticket.number, ticket.expires, claim)
    line.tickets[line.tickets.index(ticket)] = updated
    line.state(updated, claim, repeated=True)


def _enter(line: Line, command: Request) -> None:
    """Issue a ticket, or reject the request permanently: a repeated request must get the same answer."""
    if line.limits.max_waiting == NO_ROOM:
        line.reject("store_full", command, None)  # not retained, because there is no memory for it
        return
    refusal: Ending | None = None
    if len(line.tickets) >= line.limits.max_waiting:
        refusal = "line_full"
    elif line.tickets and command.wait_ms == 0:
        refusal = "busy"
    if refusal is not None:
        line.remember(refusal, None, command.request_id, command.sender)
        line.reject(refusal, command, None)
        return
    claim = Claim(command.request_id, command.lifetime_ms, line.now_ms, holder=command.holder, sender=command.sender)
    # At the head it is granted in this same step, so that even a wait of 0 does not expire first.
    if not line.tickets:
        claim = replace(claim, granted_at_ms=line.now_ms)
        ticket = Ticket(line.next_number(), (line.now_ms + command.lifetime_ms) / 1000, claim)
    else:
        ticket = Ticket(line.next_number(), (line.now_ms + command.wait_ms) / 1000, claim)
    line.tickets.append(ticket)
    line.state(ticket, claim, repeated=False)


def _cancel_on_arrival(line: Line, command: Request, ended: Ended) -> None:
    """Cancel a request that was released before it arrived; this uses up a number."""
    if command.sender.user_id is not None and command.sender.user_id != ended.user_id:
        _enter(line, command)
        return
    claim = Claim(command.request_id, command.lifetime_ms, line.now_ms, holder=command.holder, sender=command.sender)
    ticket = Ticket(line.next_number(), line.now_ms / 1000, claim)
    line.tickets.append(ticket)
    line.cancel(ticket, claim, "requester")


def _refuse_absent(line: Line, command: Release | Renew) -> None:
    """Reject a command on a ticket that is not in the line: finished, or unknown."""
    ended = line.remembered(command.number, command.request_id)
    if command.number is not None:
        if command.number > (-1 if line.last_number is None else line.last_number):
            line.reject("unknown_ticket", command, command.number)
        elif ended and command.request_id not in (None, ended.request_id):
            line.reject("mismatch", command, command.number)
        else:
            line.reject("finished", command, command.number, ended)
    elif ended is not None and ended.how != "forgone":
        line.reject("finished", command, ended.number, ended)
    elif isinstance(command, Release):
        if ended is None:
            line.remember("forgone", None, command.request_id or "", command.sender)
        line.reject("too_early", command, None)
    else:
        line.reject("unknown_ticket", command, None)


def _permitted(line: Line, ticket: Ticket, command: Release | Renew) -> Claim | None:
    """Return the ticket's claim if this sender may act on it; otherwise reject the command."""
    claim = ticket.claim
    if claim is None:
        line.reject("direct", command, ticket.number)
        return None
    if command.request_id not in (None, claim.request_id):
        line.reject("mismatch", command, ticket.number)
        return None
    if claim.sender.user_id not in (None, command.sender.user_id):
        line.reject("forbidden", command, ticket.number)
        return None
    return claim


def _release(line: Line, command: Release) -> None:
    ticket = line.named(command)
    if ticket is None:
        _refuse_absent(line, command)
    elif (claim := _permitted(line, ticket, command)) is not None:
        if claim.granted_at_ms is None:
            line.cancel(ticket, claim, "requester")
        else:
            line.release(ticket, claim, "holder")


def _renew(line: Line, command: Renew) -> None:
    ticket = line.named(command)
    if ticket is None:
        _refuse_absent(line, command)
    elif (claim := _permitted(line, ticket, command)) is not None:
        if claim.granted_at_ms is None:
            line.reject("waiting", command, ticket.number)
            return
        expires_at_ms = line.now_ms + (command.lifetime_ms or claim.lifetime_ms)
        line.tickets[line.tickets.index(ticket)] = Ticket(ticket.number, expires_at_ms / 1000, claim)
        fields = line.event_fields(ticket, claim) | {"to": command.sender}
        line.events.append(Renewed(**fields, expires_at_ms=expires_at_ms))


def _withdraw(line: Line, command: Withdraw) -> None:
    ticket = line.find(command.number)
    if ticket and ticket.claim and ticket.claim.sender.reply_to == command.reply_to:
        line.cancel(ticket, ticket.claim, "unreachable")


def _seize(line: Line, command: ForceRelease) -> None:
    number = command.number
    if number is None and line.tickets:
        number = line.tickets[0].number
    ticket = line.find(number)
    if ticket is None or line.end_if_overdue(ticket):
        return
    claim = ticket.claim
    if claim is None:
        line.tickets.remove(ticket)
        line.events.append(
            Cancelled(
                conversation_id=line.conversation_id,
                number=ticket.number,
                request_id=None,
                holder=None,
                at_ms=line.now_ms,
                reason="forced",
                by=command.by,
            )
        )
    elif claim.granted_at_ms is None:
        line.cancel(ticket, claim, "forced", command.by)
    else:
        line.release(ticket, claim, "forced", command.by)


def _issue(line: Line, command: Issue) -> None:
    line.tickets.append(Ticket(line.next_number(), (line.now_ms + command.lifetime_ms) / 1000))


def _finish(line: Line, command: Finish) -> None:
    ticket = line.find(command.number)
    if ticket and ticket.claim is None:
        line.tickets.remove(ticket)
