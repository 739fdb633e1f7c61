"""A development certificate authority: one P-256 key in a file, certificates that carry exactly one SPIFFE ID.

Shapes follow the SPIFFE X.509-SVID standard: the authority's certificate names its trust domain as its only URI, a leaf names its
holder; leaves sign TLS handshakes and nothing else. Fit for one machine and for tests: a real cluster's keys belong to an authority
whose own key does not lie beside them.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cli import files
from cli.failure import Exit, Failure
from model.identity import Identity, IdentityError, Role, only_identity

_CA_LIFE = datetime.timedelta(days=3650)
_LIFE = datetime.timedelta(days=397)
_RENEWAL = datetime.timedelta(days=30)
_CLOCK_SLACK = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Authority:
    """``ca.pem`` and ``ca.key`` in ``directory``. ``ca.pem`` begins with the key's own certificate; predecessors may follow it."""

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
        identity = Identity(_trust_domain(self._load()[0][0]), role, identifier)
        hosts = () if role is Role.CLIENT else hosts
        self._sign(identity, x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri), *map(_host, hosts)]), directory)
        return identity

    def renew(self, directories: Sequence[Path]) -> list[Identity]:
        """A fresh key and certificate in each of ``directories``, for whom the one that is there names, under all the same names.

        Raises Failure, before anything is written, where there is none, or one that is no leaf of this authority or its predecessors.
        """
        leaves = [self._own_leaf(directory / "cert.pem") for directory in directories]
        for directory, (identity, names) in zip(directories, leaves, strict=True):
            self._sign(identity, names, directory)
        return [identity for identity, _ in leaves]

    def _sign(self, identity: Identity, names: x509.SubjectAlternativeName, directory: Path) -> None:
        (ca, *_), ca_key = self._load()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{identity.role.value} {identity.id}"[:64])])
        serves = [] if identity.role is Role.CLIENT else [ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = (
            _builder(subject, ca.subject, key.public_key(), _LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([*serves, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(names, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_pair(directory, _private_pem(key), certificate.public_bytes(serialization.Encoding.PEM))

    def _own_leaf(self, path: Path) -> tuple[Identity, x509.SubjectAlternativeName]:
        """Whom the certificate in ``path`` names, with all its names. Raises Failure unless it is a leaf issued here."""
        authorities, _ = self._load()
        try:
            leaf = x509.load_pem_x509_certificate(path.read_bytes())
            if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise Failure(f"{path} is an authority's certificate", "only those of gateways, nodes and clients are renewed", Exit.USAGE)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            identity = only_identity(names.get_values_for_type(x509.UniformResourceIdentifier), _trust_domain(authorities[0]))
        except OSError:
            raise Failure(f"there is no certificate in {path.parent}", "run: kofn certificates issue", Exit.NOT_FOUND) from None
        except IdentityError as error:
            raise Failure(f"{path} is of no use in this cluster: {error}", "run: kofn certificates issue", Exit.USAGE) from None
        except (ValueError, x509.ExtensionNotFound):
            raise Failure(f"{path} is no certificate of a gateway, node or client", "run: kofn certificates issue", Exit.USAGE) from None
        if not any(_has_signed(ca, leaf) for ca in authorities):
            raise Failure(f"{path} was issued by another authority than that in {self.directory}", "renew it there", Exit.USAGE)
        return identity, names

    def _load(self) -> tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey]:
        """The certificates in ``ca.pem``, the key's own first. Raises Failure unless they and the key can be used."""
        try:
            certificates = x509.load_pem_x509_certificates(self.certificate_file.read_bytes())
            key = serialization.load_pem_private_key(self.key_file.read_bytes(), password=None)
        except (OSError, ValueError):
            raise Failure(f"{self.directory} holds no usable authority", "run: kofn certificates init", Exit.USAGE) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificates[0].public_key():
            raise Failure(f"ca.key and ca.pem in {self.directory} do not belong together", "restore the pair, or begin anew", Exit.USAGE)
        return certificates, key


def write_pair(directory: Path, key: bytes, certificate: bytes) -> None:
    """``key.pem`` and ``cert.pem`` in ``directory``, both written before either takes its place: the key, then the certificate.

    Two files cannot be replaced as one. Who reads them in between finds a key that is not the certificate's, which TLS refuses to load:
    servers keep what they have until the pair is whole.
    """
    with files.replacing(directory / "cert.pem") as certificate_file:
        certificate_file.write(certificate)
        certificate_file.flush()
        with files.replacing(directory / "key.pem") as key_file:
            key_file.write(key)


def needs_renewal(directory: Path) -> bool:
    """Whether the certificate in ``directory`` is absent, ends within 30 days, or stands beside a key that is not its own."""
    try:
        certificate = x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes())
        key = serialization.load_pem_private_key((directory / "key.pem").read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        return True
    return certificate.public_key() != key.public_key() or certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC) + _RENEWAL


def _has_signed(authority: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


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
