"""While a server is silent, others are asked whether it has been replaced; the asking ends with the waiting."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from lockstore.stores.redis.connection import round_trip
from lockstore.stores.redis.connection.round_trip import RoundTrip


class Deaf:
    """A deployment that loses a cancellation while it asks, as a library underneath can."""

    def __init__(self, *, gone: bool) -> None:
        self.gone = gone
        self.asked = asyncio.Event()
        self.doubts = 0

    async def is_gone(self, place: Any, connection: Any) -> bool:
        self.asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return self.gone
        return False

    def doubt(self, place: Any) -> None:
        self.doubts += 1


@pytest.mark.parametrize("what", ["gone", "there"])
async def test_nobody_is_asked_any_more_after_the_answer_came(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "_SILENCE_S", 0)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    deployment: Any = Deaf(gone=what == "gone")
    nothing: Any = None
    dialing: Any = SimpleNamespace(options=SimpleNamespace(socket_timeout=1))
    trip = RoundTrip(dialing, deployment)
    before = asyncio.all_tasks()
    async with trip._unless_replaced(nothing, nothing):
        await deployment.asked.wait()
    async with asyncio.timeout(60):
        await asyncio.gather(*(asyncio.all_tasks() - before))
    assert deployment.doubts == 0
    assert complaints == []
