"""Sends messages to two Rasa servers as a channel would, and judges what became of them."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import aiohttp

from tests.rasa.real.actions import Handled
from tests.rasa.real.servers import RasaServer

CLEARLY_LATER_S = 0.1  # messages that were sent closer together, or to different servers, have no order
_PAUSE_S = 0.2
_ATTEMPTS = 400


@dataclass
class Sent:
    """A message, and how it went."""

    conversation: str
    text: str
    first_server: int  # odd or even
    at: float = 0.0
    empty: int = 0  # answers 200 `[]`: no lock
    failed: int = 0  # the server was away
    stuck: bool = False  # never answered


@dataclass(frozen=True)
class Verdict:
    """What became of the messages of a round."""

    messages: int
    seconds: float
    overlaps: int
    out_of_order: int
    lost: int
    empty: int
    stuck: int
    failed: int

    @property
    def is_well(self) -> bool:
        """Whether the conversations were handled one message at a time, and completely."""
        return not (self.overlaps or self.lost or self.empty or self.stuck)


async def send(messages: Sequence[Sent], servers: Sequence[RasaServer], every_s: float, limit_s: float) -> None:
    """Send messages, those of a conversation to the servers in turn, one each `every_s`, and wait for the answers.

    After `limit_s` the sender of a message gives up.
    """
    limit = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=limit_s)
    async with aiohttp.ClientSession(connector=limit, timeout=timeout) as session, asyncio.TaskGroup() as all_at_once:
        for message in messages:
            all_at_once.create_task(_deliver(session, message, servers))
            await asyncio.sleep(every_s)


async def _deliver(session: aiohttp.ClientSession, message: Sent, servers: Sequence[RasaServer]) -> None:
    """Send one message, and again to the other server where the first one is gone."""
    message.at = time.monotonic()
    for attempt in range(_ATTEMPTS):
        server = servers[(message.first_server + attempt) % len(servers)]
        body = {"sender": message.conversation, "message": message.text}
        try:
            async with session.post(f"{server.url}/webhooks/rest/webhook", json=body) as response:
                answers = await response.json()
                if response.status == 200 and answers:
                    return
                message.empty += response.status == 200
                message.failed += response.status != 200
                if response.status == 200:
                    return  # what a channel does with an empty answer: nothing
        except TimeoutError:
            message.stuck = True
            return
        except (aiohttp.ClientError, ConnectionError):
            message.failed += 1
        await asyncio.sleep(_PAUSE_S)


async def kept(server: RasaServer, conversation: str) -> list[str]:
    """Return a conversation's messages as the tracker store has them."""
    url = f"{server.url}/conversations/{conversation}/tracker"
    async with aiohttp.ClientSession() as session, session.get(url, params={"include_events": "ALL"}) as response:
        events = (await response.json())["events"]
    return [str(event["text"]) for event in events if event["event"] == "user" and event.get("text")]


async def judge(messages: Sequence[Sent], handled: Iterable[Handled], server: RasaServer, seconds: float) -> Verdict:
    """Return what became of messages."""
    conversations = sorted({message.conversation for message in messages})
    texts = {conversation: await kept(server, conversation) for conversation in conversations}
    actions = [each for each in handled if each.conversation in conversations]
    return Verdict(
        messages=len(messages),
        seconds=seconds,
        overlaps=sum(_overlap(a, b) for a, b in combinations(actions, 2)),
        out_of_order=_out_of_order(messages, actions),
        lost=sum(message.text not in texts[message.conversation] for message in messages),
        empty=sum(message.empty for message in messages),
        stuck=sum(message.stuck for message in messages),
        failed=sum(message.failed for message in messages),
    )


def _overlap(a: Handled, b: Handled) -> bool:
    return a.conversation == b.conversation and a.began < b.ended and b.began < a.ended


def _out_of_order(messages: Iterable[Sent], actions: Iterable[Handled]) -> int:
    """Count pairs that one server was sent, and that were handled the other way round.

    What had to be sent again has lost its place. Between two servers there is no order: a busy one reads late what it was sent.
    """
    began: dict[tuple[str, str], float] = {}
    for action in actions:
        began.setdefault((action.conversation, action.text), action.began)
    placed = [each for each in messages if not each.failed and (each.conversation, each.text) in began]
    return sum(
        first.conversation == second.conversation
        and (first.first_server - second.first_server) % 2 == 0
        and second.at - first.at > CLEARLY_LATER_S
        and began[first.conversation, first.text] > began[second.conversation, second.text]
        for first, second in combinations(placed, 2)
    )
