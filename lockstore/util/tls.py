"""TLS files in the configuration: what goes together, and whether they can be used. For Redis and RabbitMQ alike."""

from collections.abc import Iterator
from pathlib import Path
from ssl import SSLCertVerificationError, SSLContext, SSLError, create_default_context
from typing import NamedTuple, Protocol

from lockstore.errors import ConfigError

__all__ = ["CertificateFault", "TlsFiles", "causes", "certificate_fault", "check_tls_files", "tls_context"]

# What OpenSSL's X509_verify_cert answers.
_OTHER_NAME = {62, 64}  # of a host, of an address
_OTHER_TIME = {9, 10}  # not yet, no longer

_REFUSALS = {
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
}


class CertificateFault(NamedTuple):
    """What keeps a TLS connection from being made, and stays until somebody mends it."""

    option: str
    """Where to look first."""
    what: str
    remedy: str


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


def certificate_fault(error: BaseException | None) -> CertificateFault | None:
    """Find out what is wrong with a certificate, the server's or ours, if that is behind an error."""
    for cause in causes(error):
        if isinstance(cause, SSLCertVerificationError):
            return _of_the_server(cause)
        if isinstance(cause, SSLError) and "_ALERT_" in (cause.reason or ""):
            return _of_the_client(cause.reason.rpartition("_ALERT_")[2])
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, what it was raised from, and so on. aiormq's lead back to where they began."""
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
            f"the server's certificate is made out to another name: {reason}",
            "connect by a name that stands in the certificate, or have this one put into it",
        )
    if error.verify_code in _OTHER_TIME:
        return CertificateFault(
            "ssl_ca_certs",
            f"the server's certificate is not valid at this time: {reason}",
            "have it renewed, or set this machine's clock",
        )
    return CertificateFault(
        "ssl_ca_certs", f"the server's certificate is not trusted: {reason}", "name the file of the CA that signed it"
    )


def _of_the_client(alert: str) -> CertificateFault | None:
    """Read what a server says when it ends the connection; TLS 1.2 has no word for a certificate that is missing."""
    if alert == "CERTIFICATE_REQUIRED":
        return CertificateFault(
            "ssl_certfile",
            "the server demands a client certificate",
            "name its file, and that of its key in ssl_keyfile",
        )
    if alert == "HANDSHAKE_FAILURE":
        return CertificateFault(
            "ssl_certfile",
            "the server broke off the TLS handshake",
            "it may demand a client certificate: name its file, and that of its key in ssl_keyfile; "
            "or the two have no version of TLS and no cipher in common",
        )
    if alert in _REFUSALS:
        reason = alert.lower().replace("_", " ").replace(" ca", " CA")
        return CertificateFault(
            "ssl_certfile",
            f"the server does not take the client certificate: {reason}",
            "name one that is valid, and signed by a CA that the server trusts",
        )
    return None
