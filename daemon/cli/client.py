"""A client of the daemon's that connects as the configuration says."""

from urllib.parse import quote, urlsplit, urlunsplit

from daemon.config.settings import BrokerSettings
from lockstore.client import LockClient
from lockstore.util.tls import tls_context

__all__ = ["create_client"]

_IN_QUERY = {"ssl_ca_certs": "cafile", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}  # aiormq's names


def create_client(broker: BrokerSettings) -> LockClient:
    """Make a client for the daemons of these settings. Raises ConfigError for certificates that cannot be loaded."""
    if broker.speaks_tls:
        tls_context(broker, "broker")  # the client would not say which file it is
    url = urlsplit(broker.url.get_secret_value())
    files = {name: getattr(broker, option) for option, name in _IN_QUERY.items()}
    options = [f"{name}={quote(str(file))}" for name, file in files.items() if file is not None]
    query = "&".join(filter(None, [url.query, *options]))
    return LockClient(urlunsplit(url._replace(query=query)), namespace=broker.namespace, partitions=broker.partitions)
