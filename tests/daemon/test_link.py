"""The connection to the broker: however its end is told, it is one of `CONNECTION_ERRORS`."""

import aio_pika
import pytest

from daemon.broker.connection import CONNECTION_ERRORS, open_channel
from harness import RabbitMQ


async def test_a_channel_on_a_connection_that_is_gone_is_told_as_a_lost_broker(rabbitmq: RabbitMQ) -> None:
    connection = await aio_pika.connect(rabbitmq.url)
    assert connection.transport is not None
    await connection.transport.connection.close()
    with pytest.raises(CONNECTION_ERRORS):
        await open_channel(connection, publisher_confirms=False)
