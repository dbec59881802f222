"""The connection to the broker: however its end is told, it is one of `LOST`."""

import aio_pika
import pytest

from daemon.broker.connection import LOST, opened
from harness import RabbitMQ


async def test_a_channel_on_a_connection_that_is_gone_is_told_as_a_lost_broker(rabbitmq: RabbitMQ) -> None:
    connection = await aio_pika.connect(rabbitmq.url)
    assert connection.transport is not None
    await connection.transport.connection.close()
    with pytest.raises(LOST):
        await opened(connection, publisher_confirms=False)
