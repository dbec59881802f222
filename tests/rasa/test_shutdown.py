"""Sanic's way of stopping: its registered tasks are cancelled twice, and its loop runs until they have ended."""

import asyncio
import types
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest

from lockstore.rasa import shared as sharing
from lockstore.rasa.shared import in_use

LIMIT_S = 60.0


class Resource:
    """What is shared; it notes what happens to it."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def open(self) -> None:
        self._log.append("open")

    async def close(self) -> None:
        self._log.append("close")


class FakeSanic:
    """Sanic's registered tasks, and its two cancellations."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def add_task(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self.tasks[name] = self.loop.create_task(work, name=name)

    async def cancel(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.sleep(0.01)

    async def ended(self) -> None:
        if self.tasks:
            await asyncio.wait(self.tasks.values())
            assert [task.exception() for task in self.tasks.values()] == [None] * len(self.tasks)


@pytest.fixture
async def sanic(monkeypatch: pytest.MonkeyPatch) -> FakeSanic:
    """Run a Sanic server in this loop."""
    app = FakeSanic()
    module = types.ModuleType("sanic")
    module.Sanic = types.SimpleNamespace(get_app=lambda: app)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "sanic", module)
    return app


class User:
    """One call, which lasts until it is told to end."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.inside, self.end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with in_use("key", lambda: Resource(self._log)):
            self.inside.set()
            await self.end.wait()
            self._log.append("handled")


async def test_a_message_that_is_being_handled_is_finished_before_everything_is_closed(sanic: FakeSanic) -> None:
    log: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        user = User(log)
        await user.inside.wait()
        await sanic.cancel()  # at the signal
        late = User(log)  # its connection was open before the signal
        await late.inside.wait()
        await sanic.cancel()  # when the connections have ended
        user.end.set()
        late.end.set()
        await sanic.ended()
    assert log == ["open", "handled", "handled", "close"]


async def test_a_message_that_comes_in_the_moment_in_which_the_last_one_ends_is_finished_too(sanic: FakeSanic) -> None:
    log: list[str] = []
    resource = partial(Resource, log)
    async with asyncio.timeout(LIMIT_S):
        async with in_use("key", resource):
            await sanic.cancel()
        async with in_use("key", resource):
            await sanic.cancel()
            log.append("handled")
        await sanic.ended()
    assert log == ["open", "handled", "close"]


async def test_what_is_used_after_the_end_is_opened_and_closed_again(sanic: FakeSanic) -> None:
    log: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        for _ in range(2):
            user = User(log)
            user.end.set()
            await user.task
            await sanic.cancel()
            await sanic.ended()
    assert log == ["open", "handled", "close"] * 2


async def test_a_call_that_does_not_end_is_closed_after_the_second_cancellation_and_not_before(
    sanic: FakeSanic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "DRAIN_LIMIT_S", 0.0)
    log: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        user = User(log)
        await user.inside.wait()
        await sanic.cancel()
        assert log == ["open"]
        await sanic.cancel()
        await sanic.ended()
        assert log == ["open", "close"]
        user.end.set()
        await user.task


async def test_an_opening_that_fails_is_tried_again_by_the_next_call() -> None:
    log: list[str] = []

    class Unlucky(Resource):
        async def open(self) -> None:
            await super().open()
            if log.count("open") == 1:
                raise OSError("not yet")

    async with asyncio.timeout(LIMIT_S):
        for _ in range(3):
            try:
                async with in_use("another key", lambda: Unlucky(log)):
                    log.append("used")
            except OSError:
                log.append("failed")
    assert log == ["open", "close", "failed", "open", "used", "used"]
