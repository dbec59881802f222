"""The messages that the client sends, encoded. Pure; `lockstore.protocol.models` has what a daemon accepts."""

import json
from dataclasses import dataclass
from typing import Any

from lockstore.errors import RefusedError
from lockstore.protocol.limits import request_fault
from lockstore.protocol.naming import partition_of

__all__ = ["LockParams", "OutboundMessage", "Routes", "is_release", "release", "renewal", "request", "split"]

_RELEASE_TAG = "release"


class Routes:
    """The partition of each conversation, as far as this client knows."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def of(self, conversation_id: str) -> int:
        """Return the partition of a conversation."""
        return partition_of(conversation_id, self.partitions)


@dataclass(frozen=True, slots=True)
class LockParams:
    """The parameters of a call. None: the daemon's default."""

    conversation_id: str
    wait: float | None = None
    lifetime: float | None = None
    holder: str | None = None

    def check(self) -> None:
        """Raise RefusedError for parameters that every daemon rejects."""
        fault = request_fault(self.conversation_id, self.lifetime, self.wait, self.holder)
        if fault is not None:
            raise RefusedError("invalid", fault)


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """An encoded message. `name` is its message id and its correlation id: `<request id>[/<tag>]`."""

    body: bytes
    conversation_id: str
    name: str
    partition: int | None = None  # None: determined when the message is sent


def split(name: str) -> tuple[str, str]:
    """Split a message's name into the request id and the tag; a request has the tag ""."""
    request_id, _, tag = name.partition("/")
    return request_id, tag


def is_release(tag: str) -> bool:
    """Return whether an answer with this tag belongs to a release."""
    return tag == _RELEASE_TAG


def request(params: LockParams, request_id: str, wait: float | None, partition: int | None) -> OutboundMessage:
    """Request a ticket."""
    body = _encode(
        conversation_id=params.conversation_id,
        type="request",
        request_id=request_id,
        lifetime=None if params.lifetime is None else float(params.lifetime),
        wait=None if wait is None else float(wait),
        holder=params.holder,
    )
    return OutboundMessage(body, params.conversation_id, request_id, partition)


def renewal(conversation_id: str, request_id: str, number: int, tag: str, partition: int | None) -> OutboundMessage:
    """Restart the lease. The tag distinguishes the answers to several renewals."""
    body = _encode(conversation_id=conversation_id, type="renew", ticket_number=number, request_id=request_id)
    return OutboundMessage(body, conversation_id, f"{request_id}/{tag}", partition)


def release(conversation_id: str, request_id: str, number: int | None, partition: int | None) -> OutboundMessage:
    """Release a ticket: granted, waiting, or (number None) not known to exist."""
    body = _encode(conversation_id=conversation_id, type="release", ticket_number=number, request_id=request_id)
    return OutboundMessage(body, conversation_id, f"{request_id}/{_RELEASE_TAG}", partition)


def _encode(**fields: Any) -> bytes:
    given = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode()
