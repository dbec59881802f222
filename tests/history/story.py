"""A history written by hand: one conversation, times in seconds, everything else as it should be unless it is said."""

from typing import Any, Self

from harness.history import PUBLIC, Heard, History, Published, Verdict, judge

LIFETIME_S, WAIT_S = 30.0, 60.0
REPLY, BOTH = "reply", "both"


class Story:
    """Tell it in the order in which it is published and heard. Each event goes to the requester and to the public."""

    def __init__(self) -> None:
        self.published: list[Published] = []
        self.heard: list[Heard] = []
        self.gone: set[str] = set()
        self.direct_use = False
        self._issued: dict[int, float] = {}
        self._granted: dict[int, float] = {}

    # --- publishing ------------------------------------------------------------------------------------------------------

    def asks(self, channel: str, request_id: str, **more: Any) -> Self:
        fields = {"request_id": request_id, "correlation": request_id, "lifetime": LIFETIME_S, "wait": WAIT_S, **more}
        return self.publishes("request", channel, **fields)

    def publishes(self, kind: str, channel: str, **more: Any) -> Self:
        place = len(self.published)
        fields = {
            "channel": channel,
            "place": place,
            "kind": kind,
            "conversation": "c",
            "correlation": f"m{place}",
            "reply_to": f"q{channel}",
            "sent_at": float(place),
            "confirmed_at": place + 0.5,
            **more,
        }
        self.published.append(Published(**fields))
        return self

    # --- hearing ---------------------------------------------------------------------------------------------------------

    def queued(self, request_id: str, number: int, at: float, **more: Any) -> Self:
        self._issued.setdefault(number, at)
        return self.hears("queued", request_id, number, at, **{"position": 1, "wait_until": at + WAIT_S, **more})

    def granted(self, request_id: str, number: int, at: float, **more: Any) -> Self:
        self._granted.setdefault(number, at)
        waited = at - self._issued.setdefault(number, at)
        fields = {"expires_at": at + LIFETIME_S, "waited": waited, "behind": 0, **more}
        return self.hears("granted", request_id, number, at, **fields)

    def renewed(self, request_id: str, number: int, at: float, **more: Any) -> Self:
        fields = {"expires_at": at + LIFETIME_S, "to": REPLY, "id": f"{number}.renewed.{at}", **more}
        return self.hears("renewed", request_id, number, at, **fields)

    def released(self, request_id: str, number: int, at: float, **more: Any) -> Self:
        held = at - self._granted.get(number, at)
        return self.hears("released", request_id, number, at, **{"held": held, "reason": "holder", **more})

    def expired(self, request_id: str, number: int, at: float, **more: Any) -> Self:
        phase = "held" if number in self._granted else "waiting"
        return self.hears("expired", request_id, number, at, **{"phase": phase, **more})

    def cancelled(self, request_id: str, number: int, at: float, **more: Any) -> Self:
        return self.hears("cancelled", request_id, number, at, **{"reason": "requester", **more})

    def rejected(self, request_id: str, number: int | None, at: float, reason: str, **more: Any) -> Self:
        fields = {"reason": reason, "detail": "", "to": REPLY, "id": f"rejection {len(self.heard)}", **more}
        return self.hears("rejected", request_id, number, at, **fields)

    def hears(self, kind: str, request_id: str, number: int | None, at: float, **more: Any) -> Self:
        """Hear an event. `to` is one listener, REPLY or BOTH; `id` its message id, `correlation` its correlation id."""
        to, message_id = more.pop("to", BOTH), more.pop("id", f"{number}.{kind}")
        correlation = more.pop("correlation", request_id)
        asked = next((message for message in self.published if message.request_id == request_id), None)
        reply_to = str(asked.reply_to) if asked else "q?"
        body = {
            "type": kind,
            "conversation_id": "c",
            "ticket_number": number,
            "request_id": request_id,
            "holder": None,
            "at": at,
            **more,
        }
        listeners = {BOTH: [reply_to, PUBLIC], REPLY: [reply_to]}.get(to, [to])
        for listener in listeners:
            if listener not in self.gone:
                self.heard.append(
                    Heard(
                        listener=listener,
                        message_id=message_id,
                        correlation=correlation,
                        heard_at=float(len(self.heard)),
                        body=body,
                    )
                )
        return self

    # --- judging ---------------------------------------------------------------------------------------------------------

    def leaves(self, listener: str) -> Self:
        self.gone.add(listener)
        return self

    def history(self) -> History:
        return History(self.published, self.heard, frozenset(self.gone), self.direct_use)

    def verdict(self) -> Verdict:
        return judge(self.history())

    def faults(self) -> list[str]:
        """Give the faults without their proofs, each with its kind."""
        return [str(fault).partition("\n")[0] for fault in self.verdict().faults]


def two_turns() -> Story:
    """One holds and releases, and then the other."""
    return (
        Story()
        .asks("p1", "a")
        .asks("p1", "b")
        .granted("a", 1, 10)
        .queued("b", 2, 11)
        .released("a", 1, 12)
        .granted("b", 2, 12)
        .released("b", 2, 14)
    )
