"""TLS files in the configuration: what goes together, and whether they can be used. For Redis and RabbitMQ alike."""

from pathlib import Path
from ssl import SSLCertVerificationError, SSLContext, SSLError, create_default_context
from typing import Protocol

from lockstore.errors import ConfigError

__all__ = ["TlsFiles", "check_tls_files", "distrust", "tls_context"]


class TlsFiles(Protocol):
    """The three options, under the names that both sections have."""

    @property
    def ssl_ca_certs(self) -> Path | None:
        """File of trusted CAs."""

    @property
    def ssl_certfile(self) -> Path | None:
        """Client certificate."""

    @property
    def ssl_keyfile(self) -> Path | None:
        """Client key; None: it stands in the certificate's file."""


def check_tls_files(files: TlsFiles, *, tls: bool, switch: str) -> None:
    """Refuse, with ValueError, files that would be passed over in silence. `switch`: what turns TLS on."""
    if files.ssl_keyfile is not None and files.ssl_certfile is None:
        raise ValueError("ssl_keyfile: a key without ssl_certfile")
    given = [name for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if getattr(files, name) is not None]
    if given and not tls:
        raise ValueError(f"{given[0]}: given, but the connection is not encrypted; that takes {switch}")


def tls_context(files: TlsFiles, section: str) -> SSLContext:
    """Load the files. Raises ConfigError where they cannot be."""
    try:
        context = create_default_context(cafile=files.ssl_ca_certs)
        if files.ssl_certfile is not None:
            context.load_cert_chain(files.ssl_certfile, files.ssl_keyfile)
    except (SSLError, OSError) as error:
        raise ConfigError(f"{section}.ssl_ca_certs, ssl_certfile, ssl_keyfile: cannot be loaded: {error}") from None
    return context


def distrust(error: BaseException | None) -> str | None:
    """Say why a server's certificate was not trusted, if that is what is behind an error; None: it is something else."""
    while error is not None:
        if isinstance(error, SSLCertVerificationError):
            return str(error.verify_message)
        error = error.__cause__ or error.__context__
    return None
