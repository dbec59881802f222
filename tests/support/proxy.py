"""A TCP proxy between a client and a server that a test can cut, or have drop connections without a word."""

import asyncio
import socket
import struct
from typing import Self


class Direction:
    """One of a proxy's two directions. `caught` is set as soon as there is something that is held back."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.caught = asyncio.Event()

    def hold(self) -> None:
        self.caught.clear()
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def pass_on(self) -> None:
        if not self._open.is_set():
            self.caught.set()
        await self._open.wait()


class Proxy:
    """Forwards one TCP port.

    `cut` breaks what is connected (RST), `close` ends it in order (FIN), `forget` drops it silently: both ends keep an open
    connection on which nothing travels. `block` lets nothing new through until `unblock`. `answers` and `requests` can be held
    back, each by itself.
    """

    def __init__(self, host: str, port: int, own_host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._own_host = own_host
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._blocked = False
        self.connections = 0
        self.answers, self.requests = Direction(), Direction()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._own_host, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        self.answers.release()
        self.requests.release()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def place(self) -> str:
        """Give its address as URLs have it."""
        return f"[{self._own_host}]:{self.port}" if ":" in self._own_host else f"{self._own_host}:{self.port}"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def cut(self) -> None:
        for writer in self._writers | self._forgotten:
            _reset(writer)
        self._writers.clear()
        self._forgotten.clear()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def forget(self) -> None:
        self._forgotten |= self._writers
        self._writers.clear()

    def block(self) -> None:
        self._blocked = True
        self.cut()

    def unblock(self) -> None:
        self._blocked = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        if self._blocked:
            writer.transport.abort()
            return
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(
            self._pump(reader, far_writer, self.requests), self._pump(far_reader, writer, self.answers)
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: "Direction") -> None:
        try:
            while data := await reader.read(65536):
                await direction.pass_on()
                if writer not in self._forgotten:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Have the other end see a reset, not an end."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
