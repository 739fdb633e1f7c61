"""The development authority: what its certificates say, and that TLS as the servers use it accepts them."""

from __future__ import annotations

import datetime
import ssl
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from cli.certificates import Authority, needs_renewal
from cli.failure import Exit, Failure
from cli.main import kofn
from model.identity import Role, only_identity


def run(*args: str) -> Result:
    return CliRunner().invoke(kofn, ["certificates", *args])


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_init_makes_an_authority_whose_key_only_the_owner_can_read(tmp_path: Path) -> None:
    assert run("init", "--dir", str(tmp_path / "ca")).exit_code == Exit.OK
    assert stat.S_IMODE((tmp_path / "ca" / "ca.key").stat().st_mode) == 0o600
    ca = load(tmp_path / "ca" / "ca.pem")
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    assert names(ca).get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://kofn.local"]


def test_init_never_replaces_an_authority(tmp_path: Path) -> None:
    run("init", "--dir", str(tmp_path))
    before = (tmp_path / "ca.key").read_bytes()
    assert run("init", "--dir", str(tmp_path)).exit_code == Exit.CONFLICT
    assert (tmp_path / "ca.key").read_bytes() == before


@pytest.mark.parametrize("role", ["gateway", "node"])
def test_a_servers_certificate_names_it_once_and_serves_and_calls(tmp_path: Path, role: str) -> None:
    run("init", "--dir", str(tmp_path), "--trust-domain", "example.org")
    assert run("issue", role, "x-1", "--dir", str(tmp_path)).output == f"issued spiffe://example.org/{role}/x-1 in {tmp_path / 'x-1'}\n"
    certificate = load(tmp_path / "x-1" / "cert.pem")
    uris = names(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    assert only_identity(uris, "example.org").role.value == role
    assert names(certificate).get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names(certificate).get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    assert stat.S_IMODE((tmp_path / "x-1" / "key.pem").stat().st_mode) == 0o600


def test_a_clients_certificate_cannot_be_a_servers(tmp_path: Path) -> None:
    run("init", "--dir", str(tmp_path))
    assert run("issue", "client", "team/app", "--dir", str(tmp_path), "--out", str(tmp_path / "out")).exit_code == Exit.OK
    certificate = load(tmp_path / "out" / "cert.pem")
    assert names(certificate).get_values_for_type(x509.DNSName) == []
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_strict_verification_accepts_the_chain(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.create("kofn.local")
    authority.issue(Role.NODE, "node-1", tmp_path / "node-1", ("localhost", "127.0.0.1"))
    pair = (tmp_path / "node-1" / "cert.pem", tmp_path / "node-1" / "key.pem")
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server_side.verify_mode = ssl.CERT_REQUIRED
    for context in (server_side, client_side):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(authority.certificate_file)
        context.load_cert_chain(*pair)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"
    peer = server.getpeercert()
    assert peer is not None
    assert ("URI", "spiffe://kofn.local/node/node-1") in peer["subjectAltName"]


@pytest.mark.parametrize("identifier", ["", "..", "a b", "two/segments", "ü"])
def test_an_id_that_makes_no_spiffe_id_is_refused(tmp_path: Path, identifier: str) -> None:
    run("init", "--dir", str(tmp_path))
    assert run("issue", "node", identifier, "--dir", str(tmp_path)).exit_code == Exit.USAGE


def test_issuing_without_an_authority_names_the_next_step(tmp_path: Path) -> None:
    result = run("issue", "node", "node-1", "--dir", str(tmp_path))
    assert result.exit_code == Exit.USAGE
    assert "kofn certificates init" in result.stderr


def test_a_key_of_another_authority_is_noticed(tmp_path: Path) -> None:
    Authority(tmp_path / "one").create("kofn.local")
    Authority(tmp_path / "two").create("kofn.local")
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())
    with pytest.raises(Failure, match="do not belong together"):
        Authority(tmp_path / "one").issue(Role.NODE, "node-1", tmp_path / "out", ())


def test_a_fresh_certificate_needs_no_renewal_and_an_absent_one_does(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.create("kofn.local")
    authority.issue(Role.NODE, "node-1", tmp_path, ("localhost",))
    assert not needs_renewal(tmp_path / "cert.pem")
    assert needs_renewal(tmp_path / "absent.pem")
    lasts = load(tmp_path / "cert.pem").not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert lasts < datetime.timedelta(days=398)
