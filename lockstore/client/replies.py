"""Parsing of messages on the client's queues. Anyone may publish there, so everything is validated. Pure."""

import math
from dataclasses import dataclass

from aiormq.abc import DeliveredMessage

from lockstore.client.outbound import split
from lockstore.protocol.limits import BODY_MAX_BYTES, NUMBER_MAX
from lockstore.protocol.messages import Outbound
from lockstore.protocol.reading import InvalidMessageError, read_outbound

__all__ = ["InvalidReplyError", "Reply", "read_message", "read_reply", "shorten"]

_CLOCK_MOST_S = 1e11  # the year 5138
_PARTITIONS_MOST = 65_535
_TEXT_MOST = 500  # longest quotation of another program's text in our messages, in characters


class InvalidReplyError(ValueError):
    """Not a valid message of a daemon; to be ignored. Its text is short and printable."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A message, with the request id and the tag of the message that it answers."""

    message: Outbound
    request_id: str
    tag: str


def read_message(delivered: DeliveredMessage) -> Outbound:
    """Parse a message of a daemon. Raises InvalidReplyError."""
    if len(delivered.body) > BODY_MAX_BYTES:
        raise InvalidReplyError(f"its body has {len(delivered.body)} bytes")
    try:
        message = read_outbound(delivered.body)
    except InvalidMessageError as error:
        raise InvalidReplyError(str(error)) from None
    stated = delivered.header.properties.message_type
    if stated is not None and stated != message.type:
        raise InvalidReplyError("its AMQP type is not the type in its body")
    _check_numbers(message)
    return message


def read_reply(delivered: DeliveredMessage) -> Reply:
    """Parse an answer. Raises InvalidReplyError, also if correlation id and body name different requests."""
    message = read_message(delivered)
    correlation = delivered.header.properties.correlation_id
    request_id, tag = split(correlation if isinstance(correlation, str) else message.request_id or "")
    if message.request_id != request_id:
        raise InvalidReplyError("its correlation id and its body name different requests")
    return Reply(message, request_id, tag)


def shorten(text: str) -> str:
    """Shorten and escape another program's text for one of our messages."""
    cut = text if len(text) <= _TEXT_MOST else f"{text[:_TEXT_MOST]}..."
    return (
        cut
        if cut.isprintable()
        else "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut)
    )


def _check_numbers(message: Outbound) -> None:
    for name, value in vars(message).items():
        match name, value:
            case _, bool() | str() | None:
                continue
            case "at" | "expires_at" | "wait_until", float(moment):
                is_sound = 0 <= moment <= _CLOCK_MOST_S
            case _, float(seconds):  # NaN compares as False
                is_sound = math.fabs(seconds) <= _CLOCK_MOST_S
            case "partitions", int(partitions):
                is_sound = 1 <= partitions <= _PARTITIONS_MOST
            case "ticket_number", int(number) if message.type != "rejected":
                is_sound = 0 <= number <= NUMBER_MAX
            case _, int(number):
                is_sound = abs(number) <= NUMBER_MAX
            case _:
                is_sound = False
        if not is_sound:
            raise InvalidReplyError(f"{name} is out of bounds")
