"""``kofn certificates fetch`` against a small Workload API on a socket of its own, which rotates, withholds, lies and goes away."""

from __future__ import annotations

import os
import signal
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from real_cluster import eventually

from cli.certificates import Authority
from cli.failure import Exit
from cli.main import kofn
from model.identity import Role

pytest.importorskip("spiffe", reason="the extra kofn[spiffe] is not installed")

import grpc
from spiffe._proto import workload_pb2, workload_pb2_grpc

ROOT = Path(__file__).parent.parent
NODE = "spiffe://kofn.test/node/node-1"
DER = serialization.Encoding.DER


class WorkloadApi(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """An agent: whoever asks gets what is ``offered`` now, and each later offer. Requests without the security header get nothing."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix://{socket}"
        self._changed = threading.Condition()
        self._offers: list[Any] = []
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()
        with self._changed:
            self._server = None
            self._changed.notify_all()

    def offer(self, *svids: Any) -> None:
        with self._changed:
            self._offers.append(workload_pb2.X509SVIDResponse(svids=svids))
            self._changed.notify_all()

    def FetchX509SVID(self, request: Any, context: Any) -> Iterator[Any]:
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no security header")
        number = max(len(self._offers) - 1, 0)
        while context.is_active() and self._server is not None:
            with self._changed:
                if len(self._offers) <= number:
                    self._changed.wait(1.0)
                    continue
            yield self._offers[number]
            number += 1


class Issuer:
    """The SPIFFE server behind the agent: authorities, and SVIDs of theirs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = Authority(folder)
        self.authority.create("kofn.test")

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.authority.certificate_file.read_bytes())

    def svid(self, name: str = "node-1", *, role: Role = Role.NODE, key_of: str | None = None, trusted: tuple[Issuer, ...] = ()) -> Any:
        """A new SVID with the bundle of this authority and those ``trusted`` besides; ``key_of``: with the key of another."""
        folder = self._folder / name
        self.authority.issue(role, name, folder, ("node.test",))
        if key_of is not None:
            self.authority.issue(role, key_of, self._folder / key_of, ())
        key = serialization.load_pem_private_key((self._folder / (key_of or name) / "key.pem").read_bytes(), None)
        return workload_pb2.X509SVID(
            spiffe_id=f"spiffe://kofn.test/{role.value}/{name}",
            x509_svid=x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).public_bytes(DER),
            x509_svid_key=key.private_bytes(DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            bundle=b"".join(issuer.certificate.public_bytes(DER) for issuer in (self, *trusted)),
        )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[WorkloadApi]:
    api = WorkloadApi(tmp_path / "agent.sock")
    api.start()
    yield api
    api.stop()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "issuer")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def fetch_once(into: Path, address: str, wanted: str = NODE) -> Result:
    return CliRunner().invoke(
        kofn, ["certificates", "fetch", wanted, "--once", "--into", str(into)], env={"SPIFFE_ENDPOINT_SOCKET": address}
    )


@contextmanager
def fetching(into: Path, api: WorkloadApi) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own; it must end well when it is told to."""
    command = [sys.executable, "-m", "cli.main", "certificates", "fetch", NODE, "--into", str(into), "--socket", api.address]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


def written(into: Path) -> bytes | None:
    """The certificate that is there, as in an SVID, with its key and an authority of its own; None while there is none."""
    if not (into / "cert.pem").exists():
        return None
    try:
        ssl.create_default_context(cafile=into / "ca.pem").load_cert_chain(into / "cert.pem", into / "key.pem")
    except ssl.SSLError:
        return None
    return x509.load_pem_x509_certificate((into / "cert.pem").read_bytes()).public_bytes(DER)


def test_certificate_key_and_authorities_are_written_for_their_owner_alone(api: WorkloadApi, issuer: Issuer, into: Path) -> None:
    svid = issuer.svid()
    api.offer(svid)
    result = fetch_once(into, api.address)
    assert result.exit_code == Exit.OK, result.output
    assert result.output.startswith(f"wrote {NODE}, valid until ")
    assert written(into) == svid.x509_svid
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in into.iterdir()} == dict.fromkeys(
        ("ca.pem", "cert.pem", "key.pem"), 0o600
    )


def test_of_several_svids_the_one_that_was_asked_for_is_taken(api: WorkloadApi, issuer: Issuer, into: Path) -> None:
    wanted = issuer.svid()
    api.offer(issuer.svid("node-2"), wanted, issuer.svid("team", role=Role.CLIENT))
    assert fetch_once(into, api.address).exit_code == Exit.OK
    assert written(into) == wanted.x509_svid


def test_all_authorities_of_the_trust_domain_are_written(api: WorkloadApi, issuer: Issuer, into: Path, tmp_path: Path) -> None:
    next_issuer = Issuer(tmp_path / "next")
    api.offer(issuer.svid(trusted=(next_issuer,)))
    assert fetch_once(into, api.address).exit_code == Exit.OK
    assert {*x509.load_pem_x509_certificates((into / "ca.pem").read_bytes())} == {issuer.certificate, next_issuer.certificate}


@pytest.mark.parametrize("name", ["node-2", "node-1"])
def test_an_svid_of_another_name_or_role_is_refused_and_named(api: WorkloadApi, issuer: Issuer, into: Path, name: str) -> None:
    api.offer(issuer.svid(name, role=Role.NODE if name == "node-2" else Role.GATEWAY))
    result = fetch_once(into, api.address)
    assert result.exit_code == Exit.DENIED
    assert f"/{name}" in result.stderr.splitlines()[1]
    assert not into.exists()


def test_an_svid_of_another_trust_domain_is_refused(api: WorkloadApi, issuer: Issuer, into: Path) -> None:
    api.offer(issuer.svid())
    assert fetch_once(into, api.address, "spiffe://kofn.other/node/node-1").exit_code == Exit.DENIED


def test_an_svid_with_a_key_that_is_not_its_own_is_refused(api: WorkloadApi, issuer: Issuer, into: Path) -> None:
    api.offer(issuer.svid(key_of="node-2"))
    assert fetch_once(into, api.address).exit_code == Exit.FAILED
    assert not into.exists()


def test_what_is_no_svid_is_refused(api: WorkloadApi, into: Path) -> None:
    api.offer(workload_pb2.X509SVID(spiffe_id=NODE, x509_svid=b"x", x509_svid_key=b"y", bundle=b"z"))
    assert fetch_once(into, api.address).exit_code == Exit.FAILED
    assert not into.exists()


@pytest.mark.parametrize("wanted", ["node-1", "spiffe://kofn.test/admin/a", "spiffe://kofn.test/node/a/b"])
def test_what_is_no_id_of_this_cluster_is_a_usage_error(into: Path, tmp_path: Path, wanted: str) -> None:
    assert fetch_once(into, f"unix://{tmp_path}/none", wanted).exit_code == Exit.USAGE


@pytest.mark.parametrize("address", ["unix:///nowhere/agent.sock", "tcp://127.0.0.1:1", "nonsense"])
def test_an_address_that_leads_to_no_socket_is_a_usage_error(into: Path, address: str) -> None:
    result = fetch_once(into, address)
    assert result.exit_code == Exit.USAGE
    assert "--socket unix:///PATH" in result.stderr


def test_without_the_extra_the_command_says_what_to_install(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cli.svid", raising=False)
    monkeypatch.delattr("cli.svid", raising=False)
    monkeypatch.setitem(sys.modules, "spiffe", None)
    result = fetch_once(into, "unix:///nowhere")
    assert result.exit_code == Exit.USAGE
    assert "pip install 'kofn[spiffe]'" in result.stderr


def test_a_rotation_is_written_as_it_comes_and_one_that_is_of_no_use_changes_nothing(api: WorkloadApi, issuer: Issuer, into: Path) -> None:
    first, second = issuer.svid(), issuer.svid()
    api.offer(first)
    with fetching(into, api) as process:
        eventually(lambda: written(into) == first.x509_svid, "the first is written")
        api.offer(second)
        eventually(lambda: written(into) == second.x509_svid, "the second is written")
        api.offer(issuer.svid("node-2"))
        assert process.stderr is not None
        assert "offers no SVID" in process.stderr.readline()
        assert written(into) == second.x509_svid
        third = issuer.svid()
        api.offer(third)
        eventually(lambda: written(into) == third.x509_svid, "the third is written")


def test_an_agent_that_restarts_is_found_again(api: WorkloadApi, issuer: Issuer, into: Path) -> None:
    api.offer(issuer.svid())
    with fetching(into, api):
        eventually(lambda: written(into) is not None, "the first is written")
        api.stop()
        after = issuer.svid()
        api.offer(after)
        api.start()
        eventually(lambda: written(into) == after.x509_svid, "the next is written")
