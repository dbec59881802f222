"""Private RabbitMQ, Redis (one server, a cluster, or watched by Sentinels) and daemon processes; not shipped.

They are for tests, demonstration and benchmarks.

Every server has its own ports and its own temporary folder, listens on the loopback address only, touches no service of the
machine, and dies with the Python process that started it. None is bound to an event loop: a server started in one loop may be
used and stopped in another, so that a whole test session can share it. `harness.history` judges what was published and heard.

Architecture invariant: nothing here imports `lockstore` or `daemon`. The harness sees the daemon as its users do: as a process
with a configuration file, a log and an exit code.
"""

from harness.daemon_process import DEBUG, DaemonProcess
from harness.environment import Workplace, workplace
from harness.process import ProcessFailedError
from harness.rabbitmq import RabbitMQ
from harness.rabbitmq_cluster import RabbitMQCluster
from harness.redis_cluster import RedisCluster
from harness.redis_sentinels import RedisSentinel, RedisSentinels, Watch
from harness.redis_server import RedisServer
from harness.server import Server, cpu_s_of

__all__ = [
    "DEBUG",
    "DaemonProcess",
    "ProcessFailedError",
    "RabbitMQ",
    "RabbitMQCluster",
    "RedisCluster",
    "RedisSentinel",
    "RedisSentinels",
    "RedisServer",
    "Server",
    "Watch",
    "Workplace",
    "cpu_s_of",
    "workplace",
]
