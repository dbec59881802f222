"""Certificates for private Redis servers that speak TLS alone."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import trustme

from harness.ports import LOOPBACK


@dataclass(frozen=True)
class RedisTls:
    """Files of one authority and of one certificate, which servers and clients show."""

    folder: Path

    @classmethod
    def made_in(cls, folder: Path, *names: str, not_after: datetime | None = None) -> "RedisTls":
        """Write the files into a folder; the certificate is made out to these names, or to 127.0.0.1."""
        authority = trustme.CA()
        shown = authority.issue_cert(*(names or [LOOPBACK]), not_after=not_after)
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

    @property
    def section(self) -> dict[str, str | bool]:
        """Options of `lock_store` that trust the authority, and show no certificate."""
        return {"use_ssl": True, "ssl_ca_certs": str(self.folder / "ca.pem")}

    @property
    def shown(self) -> dict[str, str]:
        """Further options, for the certificate."""
        return {"ssl_certfile": str(self.folder / "cert.pem"), "ssl_keyfile": str(self.folder / "key.pem")}
