"""A small world that makes lawful histories: the rules themselves, and everything that may lawfully happen around them.

Bots publish on several channels to one queue for each conversation. A daemon serves it, dies between its steps and is replaced,
so that messages are served twice and events are told again; a sweeper ends what is overdue; bots go away. What is told arrives
in any order. The random source decides everything.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from random import Random

from harness.history import PUBLIC, Heard, History, Published
from lockstore.core.commands import Command, Expire, Release, Renew, Request, Withdraw
from lockstore.core.events import Event, Granted, Rejected, is_public
from lockstore.core.rules import Limits, apply
from lockstore.core.ticket import Sender, TicketLock
from lockstore.protocol.codec import encode, message_id

CONVERSATIONS = ("c", "d")
CHANNELS = ("p1", "p2", "p3")
STEPS = 60
AGAIN = 0.1  # how often a daemon dies after the store's step


@dataclass
class World:
    """One world and its history so far."""

    random: Random
    now_ms: int = 1_700_000_000_000
    published: list[Published] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    locks: dict[str, TicketLock] = field(default_factory=dict)
    queues: dict[str, list[Command]] = field(default_factory=lambda: defaultdict(list))
    granted: list[Granted] = field(default_factory=list)

    # --- bots ------------------------------------------------------------------------------------------------------------

    def publish(self, kind: str, conversation: str, channel: str, **fields: object) -> Published:
        """Publish one message. It is in the queue at once; the confirmation comes sooner or later, or never."""
        place = len(self.published)
        request_id = fields.get("request_id")
        given = {"correlation": request_id if kind == "request" else f"m{place}", "reply_to": f"q{channel}", **fields}
        confirmed_at = place + self.random.choice((0.5, 0.5, 3.5)) if self.random.random() < 0.95 else None
        message = Published(
            channel=channel,
            place=place,
            kind=kind,
            conversation=conversation,
            sent_at=float(place),
            confirmed_at=confirmed_at,
            **given,  # type: ignore[arg-type]
        )
        self.published.append(message)
        self.queues[conversation].append(command_of(message))
        return message

    def ask(self) -> None:
        """Have a bot ask, and perhaps leave, ask again, or be gone."""
        chance = self.random
        conversation, channel = chance.choice(CONVERSATIONS), chance.choice(CHANNELS)
        request_id = f"r{len(self.published)}"
        wait = chance.choice((60, 60, 60, 0.3, 0))
        plan = chance.choice(("hold", "hold", "hold", "hold", "leave", "forgo", "again", "elsewhere", "ghost"))
        fields: dict[str, object] = {"request_id": request_id, "lifetime": chance.choice((30, 30, 0.4)), "wait": wait}
        if plan == "ghost":
            fields["reply_to"] = f"ghost{request_id}"
            self.gone.add(f"ghost{request_id}")
        if plan == "forgo":
            self.publish("release", conversation, channel, request_id=request_id)
        self.publish("request", conversation, channel, **fields)
        if plan == "leave":
            self.publish("release", conversation, channel, request_id=request_id)
        if plan in ("again", "elsewhere"):
            self.publish("request", conversation, channel if plan == "again" else chance.choice(CHANNELS), **fields)

    def answer(self) -> None:
        """Have a holder release or renew; some forget, some repeat themselves."""
        if not self.granted:
            return
        event = self.random.choice(self.granted)
        channel = (event.to.reply_to or "").removeprefix("q")
        if channel not in CHANNELS or self.random.random() < 0.1:
            self.granted.remove(event)
            return
        if self.random.random() < 0.25:
            self.publish("renew", event.conversation_id, channel, number=event.number)
            return
        if self.random.random() < 0.9:
            self.granted.remove(event)
        named = {"number": event.number} if self.random.random() < 0.5 else {"request_id": event.request_id}
        self.publish("release", event.conversation_id, channel, **named)

    # --- daemons ---------------------------------------------------------------------------------------------------------

    def serve(self, conversation: str) -> None:
        """Serve the first message of a queue; perhaps die after the store's step, and serve it once more."""
        queue = self.queues[conversation]
        if queue:
            command = queue.pop(0)
            events = self.apply(command)
            if self.random.random() < AGAIN:
                public = [event for event in events if is_public(event)]
                self.pass_time()
                self.tell(self.apply(command))
                self.tell(public)  # from the outbox
                if self.random.random() < 0.5:
                    self.tell(events)  # all of it had been told, and nobody knew
            else:
                self.tell(events)

    def sweep(self) -> None:
        """End what is overdue."""
        for conversation, lock in list(self.locks.items()):
            for ticket in list(lock.tickets):
                if ticket.expires_ms <= self.now_ms:
                    self.tell(self.apply(Expire(conversation, ticket.number)))

    def apply(self, command: Command) -> tuple[Event, ...]:
        lock = self.locks.get(command.conversation_id) or TicketLock(command.conversation_id, None, 0)
        self.locks[command.conversation_id], events = apply(lock, command, self.now_ms, Limits())
        return events

    def tell(self, events: "tuple[Event, ...] | list[Event]") -> None:
        """Tell events to whoever is there; a grant that finds nobody is withdrawn."""
        for event in events:
            if is_public(event):
                self.hear(PUBLIC, event)
            reply_to = event.to.reply_to or ""
            if reply_to not in self.gone:
                self.hear(reply_to, event)
                if isinstance(event, Granted):
                    self.granted.append(event)
            elif isinstance(event, Granted) and event.number is not None:
                self.tell(self.apply(Withdraw(event.conversation_id, event.number, reply_to)))

    def hear(self, listener: str, event: Event) -> None:
        for _ in range(1 if isinstance(event, Rejected) or self.random.random() < 0.95 else 2):
            heard = Heard(
                listener=listener,
                message_id=message_id(event),
                correlation=event.to.correlation_id,
                heard_at=float(len(self.heard)),
                body=json.loads(encode(event)),
            )
            self.heard.insert(max(0, len(self.heard) - self.random.choice((0, 0, 0, 2, 9))), heard)

    # --- time ------------------------------------------------------------------------------------------------------------

    def pass_time(self) -> None:
        self.now_ms += self.random.choice((0, 0, 1, 5, 40, 500))

    def step(self) -> None:
        self.pass_time()
        self.random.choice((self.ask, self.ask, self.answer, self.answer, self.sweep, self.serve_any, self.serve_any))()

    def serve_any(self) -> None:
        conversation = self.random.choice(CONVERSATIONS)
        for _ in range(self.random.randrange(4)):
            self.serve(conversation)

    def come_to_an_end(self) -> None:
        """Serve what is published, and let time end the rest."""
        while any(self.queues.values()) or any(lock.tickets for lock in self.locks.values()):
            for conversation in CONVERSATIONS:
                self.serve(conversation)
            self.now_ms += 7000
            self.sweep()


def command_of(message: Published) -> Command:
    """Give what the daemon makes of a message."""
    sender = Sender(message.reply_to, message.correlation)
    if message.kind == "request":
        lifetime_ms, wait_ms = round((message.lifetime or 0) * 1000), round((message.wait or 0) * 1000)
        return Request(message.conversation, message.request_id or "", lifetime_ms, wait_ms, sender=sender)
    if message.kind == "release":
        return Release(message.conversation, message.number, message.request_id, sender)
    return Renew(message.conversation, message.number, message.request_id, None, sender)


def lawful_history(random: Random) -> History:
    """Play one world to its end."""
    world = World(random)
    for _ in range(STEPS):
        world.step()
    world.come_to_an_end()
    heard = tuple(replace(item, heard_at=float(place)) for place, item in enumerate(world.heard))
    return History(tuple(world.published), heard, frozenset(world.gone))
