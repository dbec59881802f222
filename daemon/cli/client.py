"""A client for commands, connecting as configured."""

from urllib.parse import quote

from daemon.config.settings import BrokerSettings
from lockstore.client import LockClient
from lockstore.util.tls import tls_context

__all__ = ["create_client"]

_IN_QUERY = {"ssl_ca_certs": "cafile", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}  # aiormq's names


def create_client(broker: BrokerSettings) -> LockClient:
    """Create a client for the daemons of these settings. Raises ConfigError if a certificate cannot be loaded."""
    if broker.speaks_tls:
        tls_context(broker, "broker")  # the client's error would not name the file
    url = broker.url.get_secret_value()  # the settings allow no query in it
    files = {name: getattr(broker, option) for option, name in _IN_QUERY.items()}
    options = [f"{name}={quote(str(file))}" for name, file in files.items() if file is not None]
    return LockClient(
        "?".join(filter(None, [url, "&".join(options)])),
        namespace=broker.namespace,
        partitions=broker.partitions,
        connect_timeout=broker.connect_timeout,
    )
