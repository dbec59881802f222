"""What the private servers have in common: as a context manager, each is started, and closed however that ends."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["StartedContext"]


class StartedContext(ABC):
    """Something that runs as long as its context lasts."""

    @abstractmethod
    async def start(self) -> None:
        """Start it, and wait until it is ready."""

    @abstractmethod
    async def close(self) -> None:
        """End it and remove what it made; may be called again."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
