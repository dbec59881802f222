"""Take and release a lock without lockstore's client: nothing but AMQP and JSON. docs/protocol.md has the whole format.

Run: python examples/raw_request.py user-42
"""

import argparse
import asyncio
import json
import uuid
import zlib
from typing import Any

import aio_pika

WAIT_S = 10
LIFETIME_S = 30
ANSWER_GRACE_S = 5  # the daemon's clock decides when the wait is over, and its word takes a moment to arrive


async def hold(url: str, namespace: str, partitions: int, conversation_id: str) -> None:
    """Ask for a ticket, wait for the turn, work, give the lease back."""
    routing_key = str(zlib.crc32(conversation_id.encode()) % partitions)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        replies = await channel.declare_queue(exclusive=True)
        requests = await channel.get_exchange(f"{namespace}.requests")  # fails if no daemon has declared it

        async def say(**body: Any) -> None:
            message = aio_pika.Message(
                json.dumps(body).encode(),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                reply_to=replies.name,
            )
            await requests.publish(message, routing_key=routing_key)  # returns when the broker has it
            print("->", json.dumps(body))

        # Listening starts before asking, so that no answer can be missed.
        async with replies.iterator(no_ack=True, timeout=WAIT_S + ANSWER_GRACE_S) as answers:
            await say(
                type="request",
                conversation_id=conversation_id,
                request_id=uuid.uuid4().hex,
                lifetime=LIFETIME_S,
                wait=WAIT_S,
                holder="raw_request.py",
            )
            number: int | None = None
            async for message in answers:
                print("<-", message.body.decode())
                answer = json.loads(message.body)
                match answer["type"]:
                    case "queued":
                        continue
                    case "granted" if number is not None:
                        continue  # after a crash of a daemon, an answer may come twice
                    case "granted":
                        number = answer["ticket_number"]  # the fencing token: pass it on to whatever you write to
                        print(f"it is our turn, ticket {number}; the work goes here")
                        await say(type="release", conversation_id=conversation_id, ticket_number=number)
                    case "released":
                        return
                    case other:
                        raise SystemExit(f"no lock: {other}, {answer.get('reason') or answer.get('phase')}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="Take and release the lock of one conversation, over plain AMQP.")
    parser.add_argument("conversation_id")
    parser.add_argument("--url", default="amqp://guest:guest@localhost/")
    parser.add_argument("--namespace", default="lockstore")
    parser.add_argument("--partitions", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(hold(given.url, given.namespace, given.partitions, given.conversation_id))


if __name__ == "__main__":
    main()
