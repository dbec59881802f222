"""TLS files in the configuration: consistency checks, loading, and errors. For Redis and RabbitMQ."""

from collections.abc import Iterator
from pathlib import Path
from ssl import SSLCertVerificationError, SSLContext, SSLError, create_default_context
from typing import NamedTuple, Protocol

from lockstore.errors import ConfigError

__all__ = ["CertificateFault", "TlsFiles", "causes", "certificate_fault", "check_tls_files", "tls_context"]

# Results of OpenSSL's X509_verify_cert.
_OTHER_NAME = {62, 64}  # host name, IP address
_OTHER_TIME = {9, 10}  # not yet valid, expired

_REFUSALS = {
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
}


class CertificateFault(NamedTuple):
    """A permanent problem with a TLS certificate."""

    option: str
    """The option to check first."""
    what: str
    remedy: str


class TlsFiles(Protocol):
    """The three options, which have the same names in both sections."""

    @property
    def ssl_ca_certs(self) -> Path | None:
        """File of trusted CA certificates."""

    @property
    def ssl_certfile(self) -> Path | None:
        """Client certificate."""

    @property
    def ssl_keyfile(self) -> Path | None:
        """Client key; None: it is in the certificate's file."""


def check_tls_files(files: TlsFiles, *, tls: bool, switch: str) -> None:
    """Reject files that would be silently ignored. `switch`: the option that turns TLS on. Raises ValueError."""
    if files.ssl_keyfile is not None and files.ssl_certfile is None:
        raise ValueError("ssl_keyfile: a key without ssl_certfile")
    given = [name for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if getattr(files, name) is not None]
    if given and not tls:
        raise ValueError(f"{given[0]}: given, but the connection is not encrypted; set {switch}")


def tls_context(files: TlsFiles, section: str) -> SSLContext:
    """Load the files. Raises ConfigError if that fails."""
    try:
        context = create_default_context(cafile=files.ssl_ca_certs)
        if files.ssl_certfile is not None:
            context.load_cert_chain(files.ssl_certfile, files.ssl_keyfile)
    except (SSLError, OSError) as error:
        raise ConfigError(f"{section}.ssl_ca_certs, ssl_certfile, ssl_keyfile: cannot be loaded: {error}") from None
    return context


def certificate_fault(error: BaseException | None) -> CertificateFault | None:
    """Return the problem with a certificate, the server's or ours, that caused this error; None if there is none."""
    for cause in causes(error):
        if isinstance(cause, SSLCertVerificationError):
            return _of_the_server(cause)
        if isinstance(cause, SSLError) and "_ALERT_" in (cause.reason or ""):
            return _of_the_client(cause.reason.rpartition("_ALERT_")[2])
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an error and its causes. aiormq's chains contain cycles."""
    given: list[BaseException] = []
    while error is not None and not any(error is before for before in given):
        yield error
        given.append(error)
        error = error.__cause__ or error.__context__


def _of_the_server(error: SSLCertVerificationError) -> CertificateFault:
    reason = error.verify_message.rstrip(".")
    if error.verify_code in _OTHER_NAME:
        return CertificateFault(
            "host",
            f"the server's certificate is issued for another name: {reason}",
            "connect by a name in the certificate, or have this name added to it",
        )
    if error.verify_code in _OTHER_TIME:
        return CertificateFault(
            "ssl_ca_certs",
            f"the server's certificate is expired or not yet valid: {reason}",
            "renew it, or correct this machine's clock",
        )
    return CertificateFault(
        "ssl_ca_certs",
        f"the server's certificate is not trusted: {reason}",
        "set it to the file of the CA that signed the certificate",
    )


def _of_the_client(alert: str) -> CertificateFault | None:
    """Interpret the TLS alert of a server that closed the connection; TLS 1.2 has none for a missing certificate."""
    if alert == "CERTIFICATE_REQUIRED":
        return CertificateFault(
            "ssl_certfile",
            "the server requires a client certificate",
            "set it to the certificate's file, and ssl_keyfile to the key's",
        )
    if alert == "HANDSHAKE_FAILURE":
        return CertificateFault(
            "ssl_certfile",
            "the server aborted the TLS handshake",
            "it may require a client certificate: set this option and ssl_keyfile; "
            "or the two sides have no TLS version or cipher in common",
        )
    if alert in _REFUSALS:
        reason = alert.lower().replace("_", " ").replace(" ca", " CA")
        return CertificateFault(
            "ssl_certfile",
            f"the server rejects the client certificate: {reason}",
            "set it to a valid certificate signed by a CA that the server trusts",
        )
    return None
