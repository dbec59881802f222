"""The client: `async with LockClient(url) as locks:`, then `async with locks.lock(conversation_id) as ticket:`.

    client          the public interface            held_ticket    the ticket inside the body of a lock
    acquire         a call until it is granted      hold           a call while it holds the lease
    call_state      the state of a call              decisions      what an answer means for it
    registry        finds the call of an answer      release_queue  releases that are still to be sent
    reconnect       keeps a connection open          connection     one connection; translates aiormq's errors
    lease           when a lease ends                event_stream   the public events
    entering_task   an entry that is refused        body_task      which task runs the body
    steps_log       a debug line for each step
    blocking        the client for threads          background     its event loop, in a thread of its own

Architecture invariant: the client never reads a wall clock, and knows nothing of lock stores.
"""

from lockstore.client.client import LockClient
from lockstore.client.held_ticket import HeldTicket

__all__ = ["HeldTicket", "LockClient"]
