"""Faults to plant into a lawful history, each at a random place. A plant gives None where the history has no place for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

from harness.history import ENDS, PUBLIC, FaultKind, Heard, History
from harness.history.reading import Reading, Request, Ticket, read
from harness.history.records import ms

T = TypeVar("T")
Edit = Callable[[Heard], Heard | None]
Plant = Callable[[Reading, Random], History | None]

PLANTS: dict[str, tuple[FaultKind, Plant]] = {}


def plants(kind: FaultKind) -> Callable[[Plant], Plant]:
    """Enter a plant in the list, with the fault that it makes."""

    def enter(plant: Plant) -> Plant:
        PLANTS[plant.__name__] = (kind, plant)
        return plant

    return enter


@dataclass(frozen=True)
class Pair:
    """Two tickets of one line, the second with the higher number."""

    first: Ticket
    second: Ticket


def pick(random: Random, items: Sequence[T]) -> T | None:
    return random.choice(items) if items else None


def edited(history: History, edit: Edit) -> History:
    """Pass every message that was heard through an edit; what it gives None for was not heard."""
    return replace(history, heard=tuple(new for heard in history.heard if (new := edit(heard)) is not None))


def with_body(heard: Heard, **fields: Any) -> Heard:
    return replace(heard, body={**heard.body, **fields})


def on(ticket: Ticket, *kinds: str) -> Callable[[Heard], bool]:
    """Choose what was told of a ticket, rejections aside, of some types or of all."""
    told = {id(heard) for heard in ticket.told if not kinds or heard.kind in kinds}
    return lambda heard: id(heard) in told


def moved(ticket: Ticket, kind: str, to_ms: int, **more: Any) -> Edit:
    """Put all copies of an event to another time."""
    chosen = on(ticket, kind)
    return lambda heard: with_body(heard, at=to_ms / 1000, **more) if chosen(heard) else heard


def added(history: History, *heard: Heard) -> History:
    return replace(history, heard=(*history.heard, *heard))


def ended_granted(reading: Reading) -> list[Ticket]:
    return [ticket for ticket in reading.tickets.values() if ticket.granted is not None and ticket.end is not None]


def turns(reading: Reading) -> list[Pair]:
    """Give the tickets that were granted one after the other."""
    lines = ([ticket for ticket in line if ticket.granted and ticket.end] for line in reading.lines.values())
    return [Pair(one, after) for line in lines for one, after in pairwise(line)]


def time_of(heard: Heard | None) -> int:
    assert heard is not None
    return heard.at_ms


def once_published(reading: Reading) -> list[tuple[Request, int]]:
    return [(request, number) for request, number in reading.numbered() if len(request.published) == 1]


# --- inversions ---------------------------------------------------------------------------------------------------------


@plants(FaultKind.INVERSION)
def published_the_other_way_round(reading: Reading, random: Random) -> History | None:
    """Have a channel publish two requests in the other order."""
    found = [
        (one.published[0], other.published[0])
        for one, number in once_published(reading)
        for other, its_number in once_published(reading)
        if number < its_number
        and one.conversation == other.conversation
        and one.published[0].channel == other.published[0].channel
    ]
    if (pair := pick(random, found)) is None:
        return None
    one, other = pair
    published = {
        message.place: message
        for message in (
            *reading.history.published,
            replace(one, place=other.place, sent_at=other.sent_at, confirmed_at=other.confirmed_at),
            replace(other, place=one.place, sent_at=one.sent_at, confirmed_at=one.confirmed_at),
        )
    }
    return replace(reading.history, published=tuple(published.values()))


@plants(FaultKind.INVERSION)
def confirmed_before_the_other_was_sent(reading: Reading, random: Random) -> History | None:
    """Have the later one of two channels' requests be confirmed before the earlier one was sent."""
    found = [
        (one.published[0], other.published[0])
        for one, number in once_published(reading)
        for other, its_number in once_published(reading)
        if number < its_number
        and one.conversation == other.conversation
        and one.published[0].channel != other.published[0].channel
    ]
    if (pair := pick(random, found)) is None:
        return None
    one, other = pair
    late = replace(one, sent_at=other.sent_at + 1, confirmed_at=None)
    early = replace(other, confirmed_at=other.sent_at + 0.5)
    swap = {one: late, other: early}
    return replace(reading.history, published=tuple(swap.get(each, each) for each in reading.history.published))


@plants(FaultKind.INVERSION)
def granted_before_the_one_ahead(reading: Reading, random: Random) -> History | None:
    pair = pick(random, turns(reading))
    if pair is None:
        return None
    return edited(reading.history, moved(pair.second, "granted", time_of(pair.first.granted) - 1))


@plants(FaultKind.INVERSION)
def granted_over_one_who_waits(reading: Reading, random: Random) -> History | None:
    """Have a waiting ticket end only after a later one was granted."""
    found = [
        Pair(waiting, heir)
        for line in reading.lines.values()
        for waiting, heir in pairwise([ticket for ticket in line if ticket.end and (ticket.granted or ticket.queued)])
        if waiting.granted is None and heir.granted is not None
    ]
    pair = pick(random, found)
    if pair is None or pair.first.end is None:
        return None
    return edited(reading.history, moved(pair.first, pair.first.end.kind, time_of(pair.second.granted) + 1))


# --- overlaps -----------------------------------------------------------------------------------------------------------


@plants(FaultKind.OVERLAP)
def held_until_after_the_next_grant(reading: Reading, random: Random) -> History | None:
    pair = pick(random, turns(reading))
    if pair is None or pair.first.end is None:
        return None
    return edited(reading.history, moved(pair.first, pair.first.end.kind, time_of(pair.second.granted) + 1))


@plants(FaultKind.OVERLAP)
def granted_before_the_end_of_the_one_before(reading: Reading, random: Random) -> History | None:
    found = [pair for pair in turns(reading) if time_of(pair.first.end) > time_of(pair.first.granted)]
    pair = pick(random, found)
    if pair is None:
        return None
    return edited(reading.history, moved(pair.second, "granted", time_of(pair.first.end) - 1))


# --- losses -------------------------------------------------------------------------------------------------------------


def surely_served(reading: Reading) -> list[Request]:
    """Give the requests of which something must be heard."""
    return [
        request
        for request in reading.requests.values()
        if request.is_confirmed and (reading.listens(request.published) or request.published[0].wait != 0)
    ]


@plants(FaultKind.LOST)
def a_request_of_which_nothing_is_heard(reading: Reading, random: Random) -> History | None:
    request = pick(random, surely_served(reading))
    if request is None:
        return None
    return edited(reading.history, lambda heard: None if heard.request_id == request.request_id else heard)


@plants(FaultKind.LOST)
def a_ticket_that_never_ends(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, [ticket for ticket in reading.tickets.values() if ticket.granted or ticket.queued])
    if ticket is None:
        return None
    chosen = on(ticket, *ENDS)
    return edited(reading.history, lambda heard: None if chosen(heard) else heard)


@plants(FaultKind.LOST)
def an_event_that_the_public_is_not_told(reading: Reading, random: Random) -> History | None:
    found = [
        (ticket, heard.kind)
        for ticket in reading.tickets.values()
        for heard in ticket.told
        if not heard.is_public and heard.kind != "renewed"
    ]
    if (chosen := pick(random, found)) is None:
        return None
    copies = on(chosen[0], chosen[1])
    return edited(reading.history, lambda heard: None if copies(heard) and heard.is_public else heard)


@plants(FaultKind.LOST)
def a_grant_that_nobody_is_told(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, ended_granted(reading))
    if ticket is None:
        return None
    chosen = on(ticket, "granted")
    return edited(reading.history, lambda heard: None if chosen(heard) else heard)


@plants(FaultKind.LOST)
def an_event_that_its_requester_is_not_told(reading: Reading, random: Random) -> History | None:
    found = [
        (ticket, heard.kind)
        for ticket in reading.tickets.values()
        for heard in ticket.told
        if heard.is_public and reading.listens(reading.requests[ticket.conversation, ticket.request_id].published)
    ]
    if (chosen := pick(random, found)) is None:
        return None
    copies = on(chosen[0], chosen[1])
    return edited(reading.history, lambda heard: None if copies(heard) and not heard.is_public else heard)


@plants(FaultKind.LOST)
def a_message_without_an_answer(reading: Reading, random: Random) -> History | None:
    """Leave out what answers a renewal, or a release that came too late."""
    asked = {
        message.correlation
        for message in reading.history.published
        if message.kind != "request" and message.confirmed_at is not None
    }
    served = {
        message.correlation
        for message in reading.history.published
        for ticket in reading.named_by(message)
        if message.kind == "release" and ticket.end is not None and ticket.end.kind != "expired"
    }
    answers = [heard for heard in reading.history.heard if heard.correlation in asked - served]
    answer = pick(random, answers)
    if answer is None:
        return None
    return edited(reading.history, lambda heard: None if heard.correlation == answer.correlation else heard)


# --- doubles ------------------------------------------------------------------------------------------------------------


def any_public(reading: Reading, random: Random, *kinds: str) -> Heard | None:
    return pick(random, [heard for heard in reading.history.heard if heard.is_public and heard.kind in kinds])


@plants(FaultKind.DOUBLED)
def a_second_ticket_for_a_request(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, "queued", "granted", *ENDS)
    if heard is None or heard.number is None:
        return None
    second = with_body(heard, ticket_number=heard.number + 1000)
    return added(reading.history, replace(second, message_id="planted"))


@plants(FaultKind.DOUBLED)
def one_number_for_two_requests(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, "queued", "granted", *ENDS)
    if heard is None:
        return None
    others = [
        request.request_id
        for request in reading.requests.values()
        if request.conversation == heard.conversation and request.request_id != heard.request_id
    ]
    other = pick(random, others)
    if other is None:
        return None
    return added(reading.history, replace(with_body(heard, request_id=other), message_id="planted"))


@plants(FaultKind.DOUBLED)
def a_second_end(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, *ENDS)
    if heard is None:
        return None
    other = random.choice([kind for kind in ENDS if kind != heard.kind])
    fields = {"phase": "held", "reason": "holder", "held": 0.0}
    return added(reading.history, replace(with_body(heard, type=other, **fields), message_id="planted"))


@plants(FaultKind.DOUBLED)
def an_end_told_again_with_another_time(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, *ENDS)
    if heard is None:
        return None
    return added(reading.history, with_body(heard, at=heard.body["at"] + random.choice((-0.001, 0.001, 5))))


@plants(FaultKind.DOUBLED)
def two_contents_under_one_message_id(reading: Reading, random: Random) -> History | None:
    heard = pick(random, [heard for heard in reading.history.heard if heard.kind != "rejected"])
    if heard is None:
        return None
    return added(reading.history, with_body(heard, holder="somebody else"))


@plants(FaultKind.DOUBLED)
def two_contents_for_the_public(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, "granted")
    if heard is None:
        return None
    return added(reading.history, with_body(heard, behind=heard.body["behind"] + 1))


@plants(FaultKind.DOUBLED)
def a_grant_under_two_message_ids(reading: Reading, random: Random) -> History | None:
    heard = pick(random, [heard for heard in reading.history.heard if heard.kind == "granted"])
    return None if heard is None else added(reading.history, replace(heard, message_id="planted"))


def rejection(heard: Heard, request: Request, **fields: Any) -> Heard:
    """Make a rejection that goes to a requester."""
    body: Mapping[str, Any] = {
        "type": "rejected",
        "conversation_id": heard.conversation,
        "ticket_number": None,
        "request_id": heard.request_id,
        "holder": None,
        "at": heard.body["at"],
        "detail": "planted",
        **fields,
    }
    listener = request.published[0].reply_to or PUBLIC
    return replace(heard, listener=listener, message_id="planted", correlation=heard.request_id, body=body)


@plants(FaultKind.DOUBLED)
def refused_and_given_a_ticket(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, *ENDS)
    if heard is None:
        return None
    request = reading.requests[heard.conversation, heard.request_id or ""]
    return added(reading.history, rejection(heard, request, reason="busy"))


@plants(FaultKind.DOUBLED)
def remembered_as_another_end(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, *ENDS)
    if heard is None:
        return None
    request = reading.requests[heard.conversation, heard.request_id or ""]
    other = random.choice([kind for kind in ENDS if kind != heard.kind])
    told = rejection(heard, request, reason="finished", ticket_number=heard.number, ended=other)
    return added(reading.history, told)


# --- numbers ------------------------------------------------------------------------------------------------------------


@plants(FaultKind.NOT_RISING)
def issued_before_a_lower_number(reading: Reading, random: Random) -> History | None:
    found = [
        Pair(one, after)
        for line in reading.lines.values()
        for one, after in pairwise([ticket for ticket in line if ticket.issued_ms is not None])
        if after.queued is not None
    ]
    pair = pick(random, found)
    if pair is None or pair.first.issued_ms is None:
        return None
    return edited(reading.history, moved(pair.second, "queued", pair.first.issued_ms - 1))


# --- contradictions -----------------------------------------------------------------------------------------------------


@plants(FaultKind.CONTRADICTION)
def told_a_grant_after_the_end(reading: Reading, random: Random) -> History | None:
    found = [heard for ticket in ended_granted(reading) for heard in ticket.of("granted") if not heard.is_public]
    heard = pick(random, found)
    if heard is None:
        return None
    end = reading.tickets[heard.conversation, heard.number or 0].end
    return added(reading.history, with_body(heard, at=(time_of(end) + 1) / 1000))


@plants(FaultKind.CONTRADICTION)
def granted_before_it_was_queued(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, [ticket for ticket in ended_granted(reading) if ticket.queued])
    if ticket is None:
        return None
    return edited(reading.history, moved(ticket, "granted", time_of(ticket.queued) - 1))


@plants(FaultKind.CONTRADICTION)
def held_for_another_time(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, [ticket for ticket in ended_granted(reading) if ticket.of("released")])
    if ticket is None or ticket.end is None:
        return None
    chosen, held = on(ticket, "released"), ticket.end.body["held"] + random.choice((-0.001, 0.001, 7))
    return edited(reading.history, lambda heard: with_body(heard, held=held) if chosen(heard) else heard)


@plants(FaultKind.CONTRADICTION)
def granted_and_expired_while_waiting(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, [ticket for ticket in ended_granted(reading) if ticket.of("expired")])
    if ticket is None:
        return None
    chosen = on(ticket, "expired")
    return edited(reading.history, lambda heard: with_body(heard, phase="waiting") if chosen(heard) else heard)


@plants(FaultKind.CONTRADICTION)
def expired_before_its_time(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, [ticket for ticket in reading.tickets.values() if ticket.of("expired")])
    if ticket is None:
        return None
    start = ticket.granted or ticket.queued
    assert start is not None
    until_ms = ms(start.body["expires_at"] if ticket.granted else start.body["wait_until"])
    return edited(reading.history, moved(ticket, "expired", until_ms - 1))


@plants(FaultKind.CONTRADICTION)
def a_lease_of_another_length(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, ended_granted(reading))
    if ticket is None or ticket.granted is None:
        return None
    chosen, expires_at = on(ticket, "granted"), ticket.granted.body["expires_at"] + random.choice((-0.1, 0.001, 60))
    return edited(reading.history, lambda heard: with_body(heard, expires_at=expires_at) if chosen(heard) else heard)


@plants(FaultKind.CONTRADICTION)
def a_ticket_that_nobody_asked_for(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, "granted")
    if heard is None:
        return None
    stranger = with_body(heard, request_id="stranger", ticket_number=10_000)
    return added(reading.history, replace(stranger, message_id="planted"))


@plants(FaultKind.CONTRADICTION)
def more_before_it_than_there_were(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, [ticket for ticket in reading.tickets.values() if ticket.queued])
    if ticket is None or ticket.queued is None:
        return None
    chosen, position = on(ticket, "queued"), ticket.queued.body["position"] + random.choice((50, 51))
    return edited(reading.history, lambda heard: with_body(heard, position=position) if chosen(heard) else heard)


@plants(FaultKind.CONTRADICTION)
def more_behind_it_than_there_were(reading: Reading, random: Random) -> History | None:
    ticket = pick(random, ended_granted(reading))
    if ticket is None:
        return None
    chosen = on(ticket, "granted")
    return edited(reading.history, lambda heard: with_body(heard, behind=50) if chosen(heard) else heard)


@plants(FaultKind.CONTRADICTION)
def said_to_be_over_before_it_was(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, *ENDS)
    if heard is None:
        return None
    request = reading.requests[heard.conversation, heard.request_id or ""]
    early = {"ended": heard.kind, "ticket_number": heard.number, "at": heard.body["at"] - 0.001}
    return added(reading.history, rejection(heard, request, reason="finished", **early))


@plants(FaultKind.CONTRADICTION)
def said_never_to_have_been_issued(reading: Reading, random: Random) -> History | None:
    heard = any_public(reading, random, "granted")
    if heard is None:
        return None
    request = reading.requests[heard.conversation, heard.request_id or ""]
    late = {"ticket_number": heard.number, "at": heard.body["at"] + 0.001}
    return added(reading.history, rejection(heard, request, reason="unknown_ticket", **late))


def planted(name: str, history: History, random: Random) -> History | None:
    """Plant one fault of this name, if there is a place for it."""
    return PLANTS[name][1](read(history), random)
