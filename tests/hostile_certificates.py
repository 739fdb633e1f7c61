"""Certificates that an honest authority would not give: expired, for another purpose, with two identities, or of a stranger."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from cli.certificates import Authority

SERVES, CALLS = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
HOUR = datetime.timedelta(hours=1)


def stranger(folder: Path, trust_domain: str) -> Path:
    """Another authority for the same trust domain; its folder."""
    Authority(folder).create(trust_domain)
    return folder


def mint(
    authority: Path,
    folder: Path,
    *uris: str,
    purposes: tuple[x509.ObjectIdentifier, ...] = (SERVES, CALLS),
    ends_in: datetime.timedelta = HOUR,
) -> tuple[Path, Path]:
    """A certificate for this machine with these URI SANs, signed by the authority in a folder, and its key; ``ends_in`` may be past."""
    signer = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    signing = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), password=None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    names += [x509.UniformResourceIdentifier(uri) for uri in uris]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(signer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 24 * HOUR)
        .not_valid_after(now + ends_in)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(signing, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files
