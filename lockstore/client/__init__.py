"""The client: `async with LockClient(url) as locks:`, then `async with locks.lock(conversation_id) as ticket:`.

    lock_client   what callers see
    waiting       a call until its turn        holding   a call while its lease lasts        feed   the public events
    desk          answers find their calls     outbox    releases that must still go         link   a connection, again and again
    epoch         one connection; aiormq's errors become ours
    call, lease, letters, outcomes   what an answer means, when a lease ends, what is written: no I/O, no clock

Architecture invariant: the client never asks a wall clock, and knows nothing of the lock store.
"""

from lockstore.client.client import LockClient
from lockstore.client.held_ticket import HeldTicket

__all__ = ["HeldTicket", "LockClient"]
