"""Rasa 3.6's `redis` lock store, as far as others see it: the bytes that it writes and reads, and a process at work."""

import json
import time
from typing import Any

import redis


def rasas_value(conversation_id: str, *tickets: tuple[int, float]) -> str:
    """Write a lock as Rasa 3.6's TicketLock.dumps does, character for character."""
    written = [json.dumps({"number": number, "expires": expires}) for number, expires in tickets]
    return json.dumps({"conversation_id": conversation_id, "tickets": written})


def as_rasa_reads(value: bytes) -> list[tuple[int, float]]:
    """Read a lock as Rasa 3.6 does: two fields of each ticket, whatever else there is."""
    data = json.loads(value)
    tickets = [json.loads(ticket) for ticket in data["tickets"]]
    return [(ticket["number"], ticket["expires"]) for ticket in tickets]


class RasaProcess:
    """A replica that works on the store by itself. As Rasa does, it reads, changes and writes, and looks at nobody else."""

    def __init__(self, client: "redis.Redis | redis.RedisCluster", key_prefix: str = "") -> None:
        self._client = client
        self._start = f"{key_prefix}:lock:" if key_prefix else "lock:"

    def tickets(self, conversation_id: str) -> list[tuple[int, float]]:
        """Read the tickets of a conversation."""
        value: Any = self._client.get(self._start + conversation_id)
        return as_rasa_reads(value) if value else []

    def put(self, conversation_id: str, *tickets: tuple[int, float]) -> None:
        """Write a line as it is."""
        self._client.set(self._start + conversation_id, rasas_value(conversation_id, *tickets))

    def finish(self, conversation_id: str, number: int) -> None:
        """Give a ticket back, and delete the lock if nobody waits."""
        now = time.time()
        left = [ticket for ticket in self.tickets(conversation_id) if ticket[0] != number and ticket[1] > now]
        self.put(conversation_id, *left)
        if not left:
            self._client.delete(self._start + conversation_id)
