"""Certificates for private Redis servers that speak TLS alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from harness.ports import LOOPBACK


@dataclass(frozen=True)
class RedisTls:
    """Files of one authority and of one certificate for 127.0.0.1, which servers and clients show."""

    folder: Path

    @classmethod
    def made_in(cls, folder: Path) -> "RedisTls":
        """Write the files into a folder."""
        authority = trustme.CA()
        shown = authority.issue_cert(LOOPBACK)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        shown.private_key_pem.write_to_path(folder / "key.pem")
        shown.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        return cls(folder)

    @property
    def server_options(self) -> dict[str, str]:
        """Lines of redis.conf or sentinel.conf: TLS alone, towards replicas and Sentinels too."""
        return {
            "port": "0",
            "tls-port": "{port}",
            "tls-ca-cert-file": str(self.folder / "ca.pem"),
            "tls-cert-file": str(self.folder / "cert.pem"),
            "tls-key-file": str(self.folder / "key.pem"),
            "tls-replication": "yes",
        }

    @property
    def client_options(self) -> dict[str, Any]:
        """Arguments of redis-py's clients."""
        return {
            "ssl": True,
            "ssl_ca_certs": str(self.folder / "ca.pem"),
            "ssl_certfile": str(self.folder / "cert.pem"),
            "ssl_keyfile": str(self.folder / "key.pem"),
        }
