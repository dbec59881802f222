"""The bot's action server: an action takes 0.1 s, and the server notes when it was handled, and for whom."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from harness.ports import LOOPBACK, free_port

ACTION_S = 0.1


@dataclass
class Handled:
    """One action that was run."""

    conversation: str
    text: str
    server: str
    began: float
    ended: float = float("inf")


class ActionServer:
    """Runs actions for several Rasa servers; each has a path of its own."""

    def __init__(self) -> None:
        self.handled: list[Handled] = []
        self._port = free_port()
        self._runner: web.AppRunner | None = None

    def url(self, server: str) -> str:
        """Return the `action_endpoint` of a server."""
        return f"http://{LOOPBACK}:{self._port}/{server}/webhook"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{server}/webhook", self._run)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def busy(self, server: str, after: int) -> None:
        """Wait until a server is in an action, not counting the first `after` actions of all servers."""
        while not any(each.server == server and each.ended == float("inf") for each in self.handled[after:]):
            await asyncio.sleep(0.005)

    async def _run(self, request: web.Request) -> web.Response:
        call: dict[str, Any] = await request.json()
        text = call["tracker"]["latest_message"]["text"]
        handled = Handled(call["sender_id"], text, request.match_info["server"], time.monotonic())
        self.handled.append(handled)
        try:
            await asyncio.sleep(ACTION_S)
        finally:
            handled.ended = time.monotonic()
        return web.json_response({"events": [], "responses": [{"text": f"done: {text}"}]})
