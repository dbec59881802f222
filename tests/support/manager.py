"""The other end of NOTIFY_SOCKET: a service manager that writes down what it is told."""

import asyncio
import socket
from collections.abc import Callable
from typing import Self

PATIENCE_S = 20.0


class Manager:
    """Listens on a unix datagram socket: a path, or an abstract name after `@`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[str] = []
        """Every line, in order."""

    async def __aenter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        self.said += self._socket.recv(65536).decode().splitlines()

    def count(self, line: str) -> int:
        return self.said.count(line)

    async def until(self, holds: Callable[[list[str]], bool]) -> None:
        """Wait until what was said is such that it holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self.said):
                await asyncio.sleep(0.02)

    async def hears(self, start: str) -> str:
        """Wait for a line that begins so, and give the newest."""
        await self.until(lambda said: any(line.startswith(start) for line in said))
        return next(line for line in reversed(self.said) if line.startswith(start))
