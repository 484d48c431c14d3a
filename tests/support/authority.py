"""Certificate authorities for the tests: they issue certificates that are good, or wrong in exactly one way."""

import ssl
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOCALHOST = ("localhost", "127.0.0.1")
DAY = timedelta(days=1)
SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)

Key = ec.EllipticCurvePrivateKey


@dataclass
class Authority:
    """It is trusted by whoever has its `certificate`."""

    folder: Path
    name: str = "the authority of the tests"
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def certificate(self) -> Path:
        """For `cafile=`."""
        path = self.folder / f"{self.name}.pem"
        own = _builder(self.name, self.name, self._key, issuer_key=self._key)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), True).add_extension(SIGNS, True)
        path.write_bytes(_pem(own.sign(self._key, hashes.SHA256())))
        return path

    def issue(
        self,
        name: str,
        *,
        hosts: tuple[str, ...] = (),
        uris: tuple[str, ...] = (),
        days: int = 1,
        self_signed: bool = False,
    ) -> Path:
        """A certificate and its key in one file: for a common name, for hosts and URIs, until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        others = [*map(x509.UniformResourceIdentifier, uris), *map(_host, hosts)]
        issuer, issuer_key = (name, key) if self_signed else (self.name, self._key)
        builder = _builder(name, issuer, key, issuer_key=issuer_key, days=days)
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), False)
        path = self.folder / f"{self.name}, {name}, {days}, {self_signed}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(_pem(builder.sign(issuer_key, hashes.SHA256())) + private)
        return path

    # What the two sides of a connection use

    def server(self, certificate: Path, *, clients: bool = False, **options: Any) -> ssl.SSLContext:
        """A server's context; with `clients` it requires a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if clients:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return _set(context, **options)

    def client(self, certificate: Path | None = None, **options: Any) -> ssl.SSLContext:
        """A client's context that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return _set(context, **options)


def _set(context: ssl.SSLContext, version: ssl.TLSVersion | None = None, seclevel: int | None = None) -> ssl.SSLContext:
    """`version` is the only one that is spoken; the old ones need `seclevel` 0."""
    if seclevel is not None:
        context.set_ciphers(f"DEFAULT:@SECLEVEL={seclevel}")
    if version is not None:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = version
    return context


def _host(name: str) -> x509.GeneralName:
    return x509.IPAddress(IPv4Address(name)) if name[0].isdigit() else x509.DNSName(name)


def _builder(name: str, issuer: str, key: Key, *, issuer_key: Key, days: int = 1) -> x509.CertificateBuilder:
    """With the extensions without which newer Pythons trust nobody."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
