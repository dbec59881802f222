"""A history put in order: what became of each request, of each ticket, and who stood in each line."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from harness.history.records import ENDS, Heard, History, Published, ms

__all__ = ["Key", "Reading", "Request", "Ticket", "read"]

Key = tuple[str, str]
"""A conversation, and a request id in it or a message's correlation id."""


@dataclass(slots=True)
class Request:
    """A request: how often it was published, and the numbers that it got."""

    conversation: str
    request_id: str
    published: list[Published] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    @property
    def is_confirmed(self) -> bool:
        """Whether the broker is known to have it."""
        return any(message.confirmed_at is not None for message in self.published)


@dataclass
class Ticket:
    """A ticket: all that was told of it, rejections aside."""

    conversation: str
    number: int
    told: list[Heard] = field(default_factory=list)

    @property
    def request_id(self) -> str:
        """The request that it was issued for, by the first word of it."""
        return self.told[0].request_id or ""

    def of(self, kind: str) -> list[Heard]:
        """Give what was told of this type, in the order of arrival."""
        return [heard for heard in self.told if heard.kind == kind]

    def _first(self, kind: str) -> Heard | None:
        """Find the public copy, which is never given anew and so has the original time."""
        return next((heard for heard in self.told if heard.kind == kind and heard.is_public), None)

    @cached_property
    def queued(self) -> Heard | None:
        """The public `queued`."""
        return self._first("queued")

    @cached_property
    def granted(self) -> Heard | None:
        """The public `granted`."""
        return self._first("granted")

    @cached_property
    def end(self) -> Heard | None:
        """Its end, by the public if it heard of it. An end is never told anew with another time."""
        ends = [heard for heard in self.told if heard.kind in ENDS]
        return next((heard for heard in ends if heard.is_public), ends[0] if ends else None)

    @cached_property
    def issued_ms(self) -> int | None:
        """When it was issued, on the store's clock; None: that was not told."""
        if self.queued is not None:
            return self.queued.at_ms
        if self.granted is not None:
            return self.granted.at_ms - ms(self.granted.body["waited"])
        return None

    def proof(self) -> tuple[Heard, ...]:
        """Give what tells its life: one message for each event."""
        return tuple(heard for heard in (self.queued, self.granted, self.end) if heard is not None) or (self.told[0],)


@dataclass
class Reading:
    """A whole history, by conversation."""

    history: History
    requests: dict[Key, Request]
    tickets: dict[tuple[str, int], Ticket]
    rejections: list[Heard]

    @cached_property
    def lines(self) -> dict[str, list[Ticket]]:
        """The tickets of each conversation, by number."""
        lines: dict[str, list[Ticket]] = defaultdict(list)
        for _, ticket in sorted(self.tickets.items()):
            lines[ticket.conversation].append(ticket)
        return dict(lines)

    @cached_property
    def rejected(self) -> dict[Key, list[Heard]]:
        """Rejections, by the message that they answer."""
        found: dict[Key, list[Heard]] = defaultdict(list)
        for heard in self.rejections:
            if heard.correlation is not None:
                found[heard.conversation, heard.correlation].append(heard)
        return found

    @cached_property
    def renewed(self) -> set[Key]:
        """The renewals that were answered, by their correlation ids."""
        told = (heard for ticket in self.tickets.values() for heard in ticket.of("renewed"))
        return {(heard.conversation, heard.correlation) for heard in told if heard.correlation is not None}

    @cached_property
    def _naming(self) -> dict[tuple[str, str | int | None], list[Published]]:
        """Releases and renewals, by the number and by the request id that they name."""
        found: dict[tuple[str, str | int | None], list[Published]] = defaultdict(list)
        for message in self.history.published:
            if message.kind != "request":
                for name in {message.number, message.request_id} - {None}:
                    found[message.conversation, name].append(message)
        return found

    def about(self, ticket: Ticket) -> list[Published]:
        """Give the releases and renewals that name a ticket, one that names it twice twice."""
        names: tuple[int | str, ...] = (ticket.number, ticket.request_id)
        return [message for name in names for message in self._naming.get((ticket.conversation, name), ())]

    def named_by(self, message: Published) -> list[Ticket]:
        """Give the tickets that a release or a renewal names."""
        numbers = {message.number} - {None}
        request = self.requests.get((message.conversation, message.request_id or ""))
        numbers |= set(request.numbers) if request is not None else set()
        places = ((message.conversation, number) for number in numbers if number is not None)
        return [self.tickets[place] for place in places if place in self.tickets]

    def refusals(self, request: Request) -> list[Heard]:
        """Give the rejections that answer a request itself."""
        named = {message.correlation for message in request.published}
        return [heard for name in sorted(named) for heard in self.rejected.get((request.conversation, name), ())]

    def tickets_of(self, request: Request) -> list[Ticket]:
        """Give the tickets of a request; there should be one at most."""
        return [self.tickets[request.conversation, number] for number in request.numbers]

    def request_of(self, ticket: Ticket) -> Request | None:
        """Find the request of a ticket; None if nobody published it."""
        return self.requests.get((ticket.conversation, ticket.request_id))

    def listens(self, messages: Iterable[Published]) -> bool:
        """Tell whether somebody was there all the time to hear the answers to these messages."""
        names = {message.reply_to for message in messages}
        return None not in names and not names & self.history.gone

    def numbered(self) -> Iterator[tuple[Request, int]]:
        """Give the requests that got one number, and that number."""
        for request in self.requests.values():
            if len(request.numbers) == 1:
                yield request, request.numbers[0]


def read(history: History) -> Reading:
    """Put a history in order."""
    requests: dict[Key, Request] = {}
    for message in history.published:
        if message.kind == "request":
            key = (message.conversation, message.request_id or "")
            requests.setdefault(key, Request(*key)).published.append(message)
    tickets: dict[tuple[str, int], Ticket] = {}
    rejections: list[Heard] = []
    for heard in history.heard:
        if heard.kind == "rejected":
            rejections.append(heard)
        elif heard.number is not None:
            place = (heard.conversation, heard.number)
            tickets.setdefault(place, Ticket(*place)).told.append(heard)
            request = requests.get((heard.conversation, heard.request_id or ""))
            if request is not None and heard.number not in request.numbers:
                request.numbers.append(heard.number)
    return Reading(history, requests, tickets, rejections)
