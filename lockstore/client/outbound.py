"""What the client sends, as bytes with their address. Pure; the models are those of `lockstore.protocol.messages`."""

from dataclasses import dataclass

from pydantic import ValidationError

from lockstore.errors import RefusedError
from lockstore.protocol.messages import ReleaseMessage, RenewMessage, RequestMessage
from lockstore.protocol.naming import partition_of
from lockstore.util.validation import broken_rule

__all__ = ["LockParams", "OutboundMessage", "Routes", "is_release", "release", "renewal", "request", "split"]

_RELEASE_TAG = "release"


class Routes:
    """Which partition serves a conversation, as far as this client knows."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def of(self, conversation_id: str) -> int:
        """Give the partition of a conversation."""
        return partition_of(conversation_id, self.partitions)


@dataclass(frozen=True, slots=True)
class LockParams:
    """What a caller asks for. None: whatever the daemon's default is."""

    conversation_id: str
    wait: float | None = None
    lifetime: float | None = None
    holder: str | None = None

    def check(self) -> None:
        """Raise RefusedError, as the daemon would, for what no daemon takes."""
        try:
            self.message("0", self.wait)
        except ValidationError as error:
            raise RefusedError("invalid", broken_rule(error)) from None

    def message(self, request_id: str, wait: float | None) -> RequestMessage:
        """Write it as the protocol's message."""
        return RequestMessage(
            type="request",
            conversation_id=self.conversation_id,
            request_id=request_id,
            lifetime=self.lifetime,
            wait=wait,
            holder=self.holder,
        )


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """A message ready to be sent. `name` is its message id and its correlation id: `<request id>[/<tag>]`."""

    body: bytes
    conversation_id: str
    name: str
    partition: int | None = None  # None: wherever the conversation is served when it is sent


def split(name: str) -> tuple[str, str]:
    """Give the request id and the tag that a letter's name was made of; a request itself has the tag ""."""
    request_id, _, tag = name.partition("/")
    return request_id, tag


def is_release(tag: str) -> bool:
    """Tell whether an answer with this tag answers a release."""
    return tag == _RELEASE_TAG


def request(wanted: LockParams, request_id: str, wait: float | None, partition: int | None) -> OutboundMessage:
    """Ask for a ticket."""
    body = wanted.message(request_id, wait).model_dump_json(exclude_none=True).encode()
    return OutboundMessage(body, wanted.conversation_id, request_id, partition)


def renewal(conversation_id: str, request_id: str, number: int, tag: str, partition: int | None) -> OutboundMessage:
    """Ask for the lease to begin anew. The tag tells the answers to several of these apart."""
    message = RenewMessage(type="renew", conversation_id=conversation_id, ticket_number=number, request_id=request_id)
    body = message.model_dump_json(exclude_none=True).encode()
    return OutboundMessage(body, conversation_id, f"{request_id}/{tag}", partition)


def release(conversation_id: str, request_id: str, number: int | None, partition: int | None) -> OutboundMessage:
    """Give a ticket back: granted, waiting, or (number None) not known whether there is one."""
    message = ReleaseMessage(
        type="release", conversation_id=conversation_id, ticket_number=number, request_id=request_id
    )
    body = message.model_dump_json(exclude_none=True).encode()
    return OutboundMessage(body, conversation_id, f"{request_id}/{_RELEASE_TAG}", partition)
