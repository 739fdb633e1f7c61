"""A development certificate authority: one P-256 key in a file, certificates that carry exactly one SPIFFE ID.

Shapes follow the SPIFFE X.509-SVID standard: the authority's certificate names its trust domain as its only URI, a leaf names its
holder; leaves sign TLS handshakes and nothing else. Fit for one machine and for tests: a real cluster's keys belong to an authority
whose own key does not lie beside them.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cli import files
from cli.failure import Exit, Failure
from model.identity import Identity, Role

_CA_LIFE = datetime.timedelta(days=3650)
_LIFE = datetime.timedelta(days=397)
_RENEWAL = datetime.timedelta(days=30)
_CLOCK_SLACK = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Authority:
    """``ca.pem`` and ``ca.key`` in ``directory``."""

    directory: Path

    @property
    def certificate_file(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def key_file(self) -> Path:
        return self.directory / "ca.key"

    def create(self, trust_domain: str) -> None:
        """A new authority for ``trust_domain``. Raises Failure where one exists: its certificates would all become worthless."""
        if self.certificate_file.exists() or self.key_file.exists():
            raise Failure(f"{self.directory} holds an authority already", "choose another directory", Exit.CONFLICT)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kofn development CA for {trust_domain}"[:64])])
        certificate = (
            _builder(name, name, key.public_key(), _CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        files.write(self.key_file, _private_pem(key))
        files.write(self.certificate_file, certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, role: Role, identifier: str, directory: Path, hosts: tuple[str, ...]) -> Identity:
        """A fresh key and certificate for ``role`` and ``identifier``: ``key.pem``, ``cert.pem`` in ``directory``, replacing older ones.

        ``hosts`` are the DNS names and IP addresses it serves. A client's certificate serves none and cannot be a server's.
        """
        ca, ca_key = self._load()
        identity = Identity(_trust_domain(ca), role, identifier)
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role is not Role.CLIENT:
            names += [_host(host) for host in hosts]
            purposes.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{role.value} {identifier}"[:64])])
        certificate = (
            _builder(subject, ca.subject, key.public_key(), _LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(directory / "key.pem", _private_pem(key))
        files.write(directory / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM))
        return identity

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = serialization.load_pem_private_key(self.key_file.read_bytes(), password=None)
        except (OSError, ValueError):
            raise Failure(f"{self.directory} holds no usable authority", "run: kofn certificates init", Exit.USAGE) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise Failure(f"ca.key and ca.pem in {self.directory} do not belong together", "restore the pair, or begin anew", Exit.USAGE)
        return certificate, key


def needs_renewal(certificate_file: Path) -> bool:
    """Whether the certificate is absent or ends within 30 days."""
    if not certificate_file.exists():
        return True
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC) + _RENEWAL


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: datetime.timedelta) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _trust_domain(ca: x509.Certificate) -> str:
    names = ca.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0].removeprefix("spiffe://")
