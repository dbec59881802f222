"""The conversation id of a sender: the sender id itself, or a hash of one that the protocol refuses."""

from hashlib import sha256

from lockstore.client.outbound import LockParams
from lockstore.errors import RefusedError

__all__ = ["conversation_id_of"]


def conversation_id_of(sender_id: object) -> str:
    """Return the conversation id under which daemon and operators see a sender.

    Rasa accepts sender ids of any length and with any character. The protocol refuses some of them (docs/protocol.md), and
    `sha256:` with the hash takes their place, the same one in every process.
    """
    text = str(sender_id)
    return text if _is_taken(text) else f"sha256:{sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def _is_taken(conversation_id: str) -> bool:
    try:
        LockParams(conversation_id).check()
    except RefusedError:
        return False
    return True
