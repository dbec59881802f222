"""The reference: a plain aio-pika worker that answers each message with one confirmed reply and then acknowledges it.

`python -m benchmarks.echo URL QUEUE PREFETCH`
"""

import sys

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage


async def work(url: str, queue_name: str, prefetch: int) -> None:
    """Echo until the process is ended."""
    connection = await aio_pika.connect(url)
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(prefetch_count=prefetch)
    queue = await channel.get_queue(queue_name, ensure=False)

    async def answer(message: AbstractIncomingMessage) -> None:
        reply = aio_pika.Message(
            message.body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=message.correlation_id,
            message_id=message.message_id,
        )
        await channel.default_exchange.publish(reply, routing_key=message.reply_to or "")
        await message.ack()

    await queue.consume(answer)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await connection.closed()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
