"""Stand-ins for the nodes that a gateway talks to, and the certificates of a throw-away cluster.

``FakeVault`` implements the interface of ``gateway.failover.Nodes`` over a dictionary; ``FakeNode`` serves one over HTTPS as a node does.
"""

from __future__ import annotations

import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.config import Settings
from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    List,
    Names,
    NewValue,
    NodeStatus,
    Operation,
    Read,
    Result,
    SecretId,
    Status,
    Update,
    Versions,
    Written,
)
from model.version import intervals, valid_at

DOMAIN = "kofn.test"
SECRET = "A" * 41 + "_-"
TOKEN = f"kofn_tester01_{SECRET}"
TOKEN_OF_TWO = f"kofn_tester02_{SECRET}"


class FakeVault:
    """Every secret of every namespace in a dictionary, and what was asked of it: ``batches``, the operations of each call."""

    def __init__(self) -> None:
        self.batches: list[tuple[Operation, ...]] = []
        self.failures: list[Failed] = []
        self.status = NodeStatus("node-1", 5, 3, 3)
        self._lock = threading.Lock()
        self._secrets: dict[SecretId, list[tuple[int, int, NewValue]]] = {}
        self._retries: dict[bytes, tuple[bytes, Result]] = {}

    def perform(self, operations: Sequence[Operation]) -> list[Result]:
        """One result for each operation; the next of ``failures`` instead of each, while there are any."""
        with self._lock:
            self.batches.append(tuple(operations))
            return [self.failures.pop(0) if self.failures else self._perform(operation) for operation in operations]

    def _perform(self, operation: Operation) -> Result:
        match operation:
            case Create() | Update() | Delete():
                return self._once(operation)
            case Read(secret=secret, version=version, at=at, reveal=reveal):
                if secret not in self._secrets:
                    return Failed("secret_not_found", names=(secret.name,))
                rows = self._secrets[secret]
                versions = intervals([(number, valid_from) for number, valid_from, _ in rows])
                found = versions[-1] if at is None else valid_at(versions, at)
                if version is not None:
                    found = next((each for each in versions if each.version == version), None)
                if found is None:
                    return Failed("version_not_found", names=(secret.name,))
                new = rows[found.version - 1][2]
                return Found(found, new.value if reveal else None, new.encoding)
            case History(secret=secret):
                if secret not in self._secrets:
                    return Failed("secret_not_found", names=(secret.name,))
                return Versions(intervals([(number, valid_from) for number, valid_from, _ in self._secrets[secret]]))
            case List(namespace=namespace, prefix=prefix, after=after, limit=limit):
                names = sorted(s.name for s in self._secrets if s.namespace == namespace and s.name.startswith(prefix) and s.name > after)
                return Names(tuple(names[:limit]), len(names) > limit)
            case Status():
                return self.status

    def _once(self, operation: Create | Update | Delete) -> Result:
        retry = operation.retry
        if retry is not None and retry.key in self._retries:
            request, first = self._retries[retry.key]
            return first if request == retry.request else Failed("idempotency_key_reused")
        result = self._write(operation)
        if retry is not None and not isinstance(result, Failed):
            self._retries[retry.key] = (retry.request, result)
        return result

    def _write(self, operation: Create | Update | Delete) -> Result:
        match operation:
            case Create(secrets=secrets, now=now):
                taken = tuple(item.secret.name for item in secrets if item.secret in self._secrets)
                if taken:
                    return Failed("secret_exists", names=taken)
                for item in secrets:
                    self._secrets[item.secret] = [(1, now, item)]
                return Written(tuple(intervals([(1, now)])[0] for _ in secrets))
            case Update(secret=new, now=now, expected_version=expected):
                rows = self._secrets.get(new.secret)
                if rows is None:
                    return Failed("secret_not_found", names=(new.secret.name,))
                if expected is not None and rows[-1][0] != expected:
                    return Failed("version_mismatch", names=(new.secret.name,))
                rows.append((rows[-1][0] + 1, max(now, rows[-1][1] + 1), new))
                return Written((intervals([rows[-1][:2]])[0],))
            case Delete(secret=secret):
                if self._secrets.pop(secret, None) is None:
                    return Failed("secret_not_found", names=(secret.name,))
                return Deleted()


class Authority:
    """A throw-away certificate authority with its files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    def issue(self, file: str, *uris: str) -> tuple[Path, Path]:
        """The files of a new certificate for localhost with these URI SANs, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        names += [x509.UniformResourceIdentifier(uri) for uri in uris]
        certificate = (
            self._builder(x509.Name([]), key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate_file, key_file = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return certificate_file, key_file


class FakeNode:
    """An HTTPS server on a free port of this machine that answers as a node does; ``behave`` may take over a request.

    ``behave`` gets the handler with the body read, and returns True if it dealt with the request itself.
    """

    def __init__(self, authority: Authority, *uris: str, vault: FakeVault) -> None:
        self.vault = vault
        self.requests = 0
        self.behave: Callable[[http.server.BaseHTTPRequestHandler], bool] = lambda handler: False
        node = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                node.requests += 1
                if node.behave(self):
                    return
                results = vault.perform(msgspec.msgpack.decode(body, type=list[Operation]))
                answer(self, 200, msgspec.msgpack.encode(results))

            def log_message(self, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(f"server-{time.monotonic_ns()}", *uris))
        context.load_verify_locations(authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; whoever connects from now on is refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> bool:
    """Send an answer from a ``behave``."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True


EVERYTHING = ("create", "read", "update", "delete", "history", "list", "status")


def rule(kind: str, principal: str, namespaces: Sequence[str], paths: Sequence[str], capabilities: Sequence[str]) -> str:
    """One rule of an access file; ``kind`` is allow or deny."""
    listed = {"namespaces": namespaces, "paths": paths, "capabilities": capabilities}
    lines = "".join(f"{key} = {list(values)!r}\n" for key, values in listed.items())
    return f"[[principals.{principal}.{kind}]]\n{lines}"


def token_entry(identifier: str, principal: str, secret: str = SECRET) -> str:
    """One token of an access file."""
    return f'[tokens.{identifier}]\ndigest = "{hashlib.sha256(secret.encode()).hexdigest()}"\nprincipal = "{principal}"\n'


def write_access(path: Path, *more: str) -> None:
    """An access file in which TOKEN may do everything in the namespace default, TOKEN_OF_TWO in team-a and team-b, the client ci in ci."""
    path.write_text(
        rule("allow", "tester", ["default"], ["**"], EVERYTHING)
        + rule("allow", "of-two", ["team-a", "team-b"], ["**"], EVERYTHING)
        + rule("allow", "ci", ["ci"], ["**"], EVERYTHING)
        + token_entry("tester01", "tester")
        + token_entry("tester02", "of-two")
        + f'[clients."spiffe://{DOMAIN}/client/ci"]\nprincipal = "ci"\n'
        + "".join(more)
    )


def make_settings(folder: Path, **changes: object) -> Settings:
    """Settings of a gateway in ``folder`` with an access file; its certificate's files are not made. Its limits are out of the way."""
    write_access(folder / "access.toml")
    settings = Settings(
        id="gateway-1",
        trust_domain=DOMAIN,
        bind="127.0.0.1:0",
        certificate=folder / "gateway.pem",
        key=folder / "gateway.key",
        ca=folder / "ca.pem",
        access=folder / "access.toml",
        audit=folder / "audit.jsonl",
        threshold=3,
        nodes={f"node-{i}": f"https://127.0.0.1:{i}" for i in range(1, 6)},
        principal_requests_per_second=1_000_000,
        source_requests_per_second=1_000_000,
        bad_credentials_per_minute=1_000_000,
    )
    return msgspec.structs.replace(settings, **changes)
