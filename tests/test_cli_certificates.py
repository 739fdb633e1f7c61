"""The development authority: what its certificates say, and that TLS as the servers use it accepts them."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import resource
import shutil
import ssl
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from cli.certificates import Authority, needs_renewal, write_pair
from cli.failure import Exit, Failure
from cli.main import kofn
from gateway.tls import Context
from model.identity import Role, only_identity
from node.config import Settings
from node.tls import MutualContext

ROOT = Path(__file__).parent.parent


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


def test_a_fresh_certificate_needs_no_renewal(tmp_path: Path) -> None:
    folder = issued(tmp_path)
    assert not needs_renewal(folder)
    lasts = load(folder / "cert.pem").not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert lasts < datetime.timedelta(days=398)


def test_an_absent_certificate_and_one_beside_another_key_need_renewal(tmp_path: Path) -> None:
    assert needs_renewal(tmp_path / "absent")
    folder, other = issued(tmp_path), issued(tmp_path, "node-2")
    (folder / "key.pem").write_bytes((other / "key.pem").read_bytes())
    assert needs_renewal(folder)
    (folder / "key.pem").unlink()
    assert needs_renewal(folder)


def issued(directory: Path, identifier: str = "node-1", role: Role = Role.NODE) -> Path:
    """The folder of a certificate by the authority in ``directory``, which is created when absent."""
    authority = Authority(directory)
    if not authority.key_file.exists():
        authority.create("kofn.local")
    authority.issue(role, identifier, directory / identifier, ("node.example", "10.0.0.7"))
    return directory / identifier


@pytest.mark.parametrize("role", [Role.NODE, Role.GATEWAY, Role.CLIENT])
def test_a_renewed_certificate_says_the_same_of_a_new_key(tmp_path: Path, role: Role) -> None:
    folder = issued(tmp_path, "x-1", role)
    before = load(folder / "cert.pem")
    result = run("renew", str(folder), "--dir", str(tmp_path))
    assert (result.exit_code, result.output) == (Exit.OK, f"renewed spiffe://kofn.local/{role.value}/x-1 in {folder}\n")
    after = load(folder / "cert.pem")
    for extension in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage, x509.KeyUsage, x509.BasicConstraints):
        assert after.extensions.get_extension_for_class(extension) == before.extensions.get_extension_for_class(extension)
    assert after.subject == before.subject
    assert after.public_key() != before.public_key()
    assert after.serial_number != before.serial_number
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(folder / "cert.pem", folder / "key.pem")
    assert {path.name for path in folder.iterdir()} == {"cert.pem", "key.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_without_a_folder_all_certificates_below_the_authority_are_renewed(tmp_path: Path) -> None:
    folders = [issued(tmp_path), issued(tmp_path, "node-2"), issued(tmp_path, "team/app", Role.CLIENT)]
    before = [load(folder / "cert.pem").serial_number for folder in folders]
    assert run("renew", "--dir", str(tmp_path)).exit_code == Exit.OK
    assert not set(before) & {load(folder / "cert.pem").serial_number for folder in folders}


def test_a_pair_that_was_left_half_renewed_is_renewed(tmp_path: Path) -> None:
    folder, other = issued(tmp_path), issued(tmp_path, "node-2")
    (folder / "key.pem").write_bytes((other / "key.pem").read_bytes())
    assert run("renew", str(folder), "--dir", str(tmp_path)).exit_code == Exit.OK
    assert not needs_renewal(folder)


def test_an_authority_renews_what_its_predecessor_issued(tmp_path: Path) -> None:
    folder = issued(tmp_path / "old")
    successor = Authority(tmp_path / "new")
    successor.create("kofn.local")
    alone = successor.certificate_file.read_bytes()
    assert run("renew", str(folder), "--dir", str(tmp_path / "new")).exit_code == Exit.USAGE
    successor.certificate_file.write_bytes(alone + (tmp_path / "old" / "ca.pem").read_bytes())
    assert run("renew", str(folder), "--dir", str(tmp_path / "new")).exit_code == Exit.OK
    load(folder / "cert.pem").verify_directly_issued_by(x509.load_pem_x509_certificate(alone))


def foreign(directory: Path) -> Path:
    return issued(directory / "elsewhere")


def of_another_trust_domain(directory: Path) -> Path:
    Authority(directory / "elsewhere").create("example.org")
    return issued(directory / "elsewhere")


def of_an_authority(directory: Path) -> Path:
    folder = issued(directory)
    (folder / "cert.pem").write_bytes((directory / "ca.pem").read_bytes())
    return folder


def garbage(directory: Path) -> Path:
    folder = issued(directory)
    (folder / "cert.pem").write_text("no certificate")
    return folder


def absent(directory: Path) -> Path:
    return directory / "absent"


@pytest.mark.parametrize(
    ("make", "exit_code", "words"),
    [
        (foreign, Exit.USAGE, "issued by another authority"),
        (of_another_trust_domain, Exit.USAGE, "another trust domain"),
        (of_an_authority, Exit.USAGE, "an authority's certificate"),
        (garbage, Exit.USAGE, "is no certificate"),
        (absent, Exit.NOT_FOUND, "there is no certificate"),
    ],
)
def test_what_cannot_be_renewed_is_named_and_nothing_is_renewed(
    tmp_path: Path, make: Callable[[Path], Path], exit_code: Exit, words: str
) -> None:
    good = issued(tmp_path, "node-9")
    before = load(good / "cert.pem")
    result = run("renew", str(good), str(make(tmp_path)), "--dir", str(tmp_path))
    assert result.exit_code == exit_code
    assert words in result.stderr
    assert load(good / "cert.pem") == before


def test_renewing_where_the_authoritys_key_is_not_names_the_next_step(tmp_path: Path) -> None:
    folder = issued(tmp_path)
    (tmp_path / "ca.key").unlink()
    result = run("renew", str(folder), "--dir", str(tmp_path))
    assert result.exit_code == Exit.USAGE
    assert "holds no usable authority" in result.stderr


def test_renewing_where_nothing_was_issued_says_so(tmp_path: Path) -> None:
    Authority(tmp_path).create("kofn.local")
    assert run("renew", "--dir", str(tmp_path)).exit_code == Exit.NOT_FOUND


def test_a_pair_whose_certificate_cannot_be_written_keeps_its_key(tmp_path: Path) -> None:
    folder = issued(tmp_path)
    before = (folder / "key.pem").read_bytes()
    (folder / "cert.pem").unlink()
    (folder / "cert.pem").mkdir()
    with pytest.raises(Failure):
        write_pair(folder, b"key", b"certificate")
    assert (folder / "key.pem").read_bytes() == before


@pytest.mark.parametrize("end", ["gateway", "node"])
def test_servers_keep_what_they_have_until_a_renewed_pair_is_whole(tmp_path: Path, end: str) -> None:
    folder, other = issued(tmp_path), issued(tmp_path, "node-2")
    context = following(end, folder, tmp_path / "ca.pem")
    before = context.get()
    (folder / "key.pem").write_bytes((other / "key.pem").read_bytes())
    assert context.get() is before
    assert context.get() is before
    (folder / "cert.pem").write_bytes((other / "cert.pem").read_bytes())
    assert context.get() is not before


@pytest.mark.parametrize("end", ["gateway", "node"])
def test_no_reader_ever_fails_while_a_pair_is_renewed_over_and_over(tmp_path: Path, end: str) -> None:
    folder = issued(tmp_path)
    context = following(end, folder, tmp_path / "ca.pem")
    renewing = threading.Thread(target=lambda: [Authority(tmp_path).renew([folder]) for _ in range(200)])
    renewing.start()
    while renewing.is_alive():
        context.get()
    renewing.join()
    assert shown(context.get()) == load(folder / "cert.pem")


@pytest.mark.parametrize("end", ["gateway", "node"])
def test_servers_that_had_no_file_descriptor_left_for_new_files_read_them_later(tmp_path: Path, end: str) -> None:
    folder = issued(tmp_path)
    context = following(end, folder, tmp_path / "ca.pem")
    before = context.get()
    Authority(tmp_path).renew([folder])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert context.get() is before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert shown(context.get()) == load(folder / "cert.pem")


def shown(server_side: ssl.SSLContext) -> x509.Certificate:
    """The certificate that a server with this context shows."""
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname, client_side.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server)
    for end in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    certificate = client.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
def test_the_commands_in_the_documentation_work_one_after_the_other(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "certificates.md").read_text("utf-8")
    blocks = [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)]
    assert len(blocks) >= 5
    script = f'kofn() {{ "{sys.executable}" -m cli.main "$@"; }}\n{"".join(blocks)}'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    new = load(tmp_path / "next" / "ca.pem")
    for folder in ("authority/node-1", "authority/gateway-1", "deploy"):
        load(tmp_path / folder / "cert.pem").verify_directly_issued_by(new)


def following(end: str, folder: Path, ca: Path) -> Context | MutualContext:
    """What the servers of ``gateway`` or ``node`` get their TLS contexts from."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if end == "gateway":
        return Context(ssl.Purpose.CLIENT_AUTH, certificate=certificate, key=key, ca=ca)
    settings = Settings(
        id="node-1",
        trust_domain="kofn.local",
        bind="127.0.0.1:0",
        database=folder / "store.db",
        certificate=certificate,
        key=key,
        ca=ca,
        threshold=2,
        nodes={},
    )
    return MutualContext(settings, ssl.Purpose.CLIENT_AUTH)
