"""A store of a user's own whose storage fails now and then, and which cannot read one conversation at all."""

from pathlib import Path

from lockstore import LockStore, TicketLock
from lockstore.errors import ConversationError


class MoodyStore(LockStore):
    """Keeps lines in memory, and fails while the file `trouble` exists."""

    def __init__(self, trouble: str) -> None:
        self._trouble = Path(trouble)
        self._locks: dict[str, TicketLock] = {}

    def get_lock(self, conversation_id: str) -> TicketLock | None:
        if self._trouble.exists():
            raise RuntimeError("the storage is away")
        if conversation_id == "damaged":
            raise ConversationError("its row is damaged")
        return self._locks.get(conversation_id)

    def save_lock(self, lock: TicketLock) -> None:
        self._locks[lock.conversation_id] = lock

    def delete_lock(self, conversation_id: str) -> None:
        self._locks.pop(conversation_id, None)
