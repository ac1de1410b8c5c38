"""The gateway's certificate, looked at before it goes anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509

_BLOCKS = "put there, as PEM, the certificate, then its intermediates, then its private key"


@dataclass(frozen=True)
class Certificate:
    """A certificate, its intermediates and its private key, as HAProxy reads them from one file."""

    pem: str = field(repr=False)
    names: tuple[str, ...]
    """The DNS names and IP addresses that it is for."""
    expires: datetime

    def covers(self, name: str) -> bool:
        """Whether it is for a DNS name or an IP address, by RFC 9525: `*` stands for the first label."""
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


def load_certificate(pem: str, path: str, now: datetime) -> Certificate:
    """The certificate in a text; `path` names it in an error.

    Raises ConfigError when there is no certificate or key, they do not belong together, or it has expired.
    """
    # late: 0.1 s, for what few commands look at
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = pem.encode()
    try:
        found = x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        raise ConfigError(f"{path}: holds no certificate that can be read; {_BLOCKS}") from None
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise ConfigError(
            f"{path}: its private key has a passphrase, which nobody enters on a host; remove it (openssl pkey)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path}: holds no private key that can be read; {_BLOCKS}") from None
    if key.public_key() != found.public_key():
        raise ConfigError(f"{path}: its private key is not that of its first certificate; {_BLOCKS}")
    if found.not_valid_after_utc <= now:
        raise ConfigError(f"{path}: has expired on {found.not_valid_after_utc:%Y-%m-%d}; put a new one there")
    return Certificate(f"{pem.strip()}\n", _names(found), found.not_valid_after_utc)


def _names(found: x509.Certificate) -> tuple[str, ...]:
    """Of the subject alternative names alone: clients no longer look at the common name (RFC 9525)."""
    from cryptography import x509

    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *map(str, addresses))
