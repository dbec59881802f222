"""One debug line for each step of a call: requested, queued, granted, renewed, released, lost."""

import logging

from lockstore.client.call_state import Call
from lockstore.protocol.messages import GrantedMessage, Outbound, QueuedMessage, RenewedMessage

__all__ = ["log_answer", "log_step"]

logger = logging.getLogger("lockstore.client")


def log_step(step: str, call: Call, detail: str) -> None:
    """Log a step, `granted: the lock of 'user-42', ticket 7, after 0.3 s (request 9f2c...)`, if anybody wants to see it."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    conversation_id, request_id = call.params.conversation_id, call.request_id
    extra = {"code": f"lock_client.{step}", "conversation_id": conversation_id, "request_id": request_id}
    logger.debug("%s: the lock of %r%s (request %s)", step, conversation_id, detail, request_id, extra=extra)


def log_answer(message: Outbound, call: Call) -> None:
    """Log what a daemon has answered, if that is a step of the call."""
    match message:
        case QueuedMessage(ticket_number=number, position=position):
            log_step("queued", call, f", ticket {number}, {position} ahead")
        case GrantedMessage(ticket_number=number, waited=waited):
            log_step("granted", call, f", ticket {number}, after {waited:.1f} s")
        case RenewedMessage(ticket_number=number):
            log_step("renewed", call, f", ticket {number}")
        case _:
            pass
