"""A gateway for tests of the command line: the public API over TLS, kept in a dictionary, with faults to order.

It speaks as specs/openapi.yaml says; it is no oracle. ``faults`` are used up one per request: ("status", CODE) answers with that
error without doing anything, ("lose", "before" or "after") drops the connection before or after the request took effect.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cli.certificates import Authority
from model import dotenv, errors
from model.identity import Role
from model.version import format_time, parse_time

TOKEN = "kofn_abcdefgh_" + "s" * 43
START = 1_790_000_000_000_000


@dataclass
class FakeGateway:
    directory: Path
    secrets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    outcomes: dict[str, tuple[int, Any, dict[str, str]]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    retry_after: str = "0"
    status: dict[str, bool] = field(default_factory=lambda: {"reads": True, "writes": True, "degraded": False})
    several_namespaces: bool = False
    clock: int = START

    def __enter__(self) -> FakeGateway:
        authority = Authority(self.directory)
        authority.create("kofn.test")
        authority.issue(Role.GATEWAY, "gateway-1", self.directory / "gateway", ("localhost", "127.0.0.1"))
        (self.directory / "token").write_text(TOKEN + "\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.directory / "gateway" / "cert.pem", self.directory / "gateway" / "key.pem")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gateway": self}))
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.server_port}"

    def settings(self) -> dict[str, str | None]:
        """The environment that makes the command line talk to this gateway, and to nothing else."""
        return {
            "KOFN_URL": self.url,
            "KOFN_TOKEN": TOKEN,
            "KOFN_TOKEN_FILE": None,
            "KOFN_CA_FILE": str(self.directory / "ca.pem"),
            "KOFN_CONFIG": None,
            "KOFN_NAMESPACE": None,
            "XDG_CONFIG_HOME": str(self.directory / "nothing"),
            "KOFN_DATA": str(self.directory / "nothing"),
        }

    def answer(self, method: str, target: str, headers: dict[str, str], body: Any) -> tuple[int, Any, dict[str, str]]:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise errors.Unauthenticated
        if self.several_namespaces and "kofn-namespace" not in headers:
            raise errors.InvalidRequest("These credentials have several namespaces; choose one with the header Kofn-Namespace")
        key = headers.get("idempotency-key")
        if key is not None and key in self.outcomes:
            return self.outcomes[key]
        url = urlsplit(target)
        parts = url.path.removeprefix("/api/v1/").split("/", 1)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        outcome = self.route(method, parts[0], unquote(parts[1]) if len(parts) > 1 else None, query, headers, body)
        if key is not None:
            self.outcomes[key] = outcome
        return outcome

    def route(self, method: str, kind: str, name: str | None, query: dict[str, str], headers: dict[str, str], body: Any) -> Any:
        match method, kind, name:
            case "GET", "status", None:
                return 200, self.status, {}
            case "GET", "secrets", None:
                names = sorted(each for each in self.secrets if each.startswith(query.get("prefix", "")) and each > query.get("after", ""))
                page = names[: int(query.get("limit", "100"))]
                return 200, {"names": page, "next": page[-1] if len(names) > len(page) else None}, {}
            case "POST", "secrets", None:
                if body["name"] in self.secrets:
                    raise errors.SecretExists
                self.secrets[body["name"]] = []
                return 201, self.add(body["name"], body), {}
            case "POST", "env", None:
                return 200, self.env(body), {}
            case _, "secrets" | "history", str() if name not in self.secrets:
                raise errors.SecretNotFound
            case "GET", "history", str():
                return 200, {"versions": [_bare(each) for each in self.secrets[name]]}, {}
            case "GET", "secrets", str():
                return 200, self.find(name, query), {}
            case "PUT", "secrets", str():
                wanted = headers.get("if-match")
                if wanted is not None and wanted != f'"{len(self.secrets[name])}"':
                    raise errors.VersionMismatch
                return 200, self.add(name, body), {}
            case "DELETE", "secrets", str():
                del self.secrets[name]
                return 204, None, {}
        raise errors.NotFound

    def add(self, name: str, body: dict[str, str]) -> dict[str, Any]:
        self.clock += 1_000_000
        versions, now = self.secrets[name], format_time(self.clock)
        if versions:
            versions[-1]["valid_to"] = now
        versions.append(
            {
                "name": name,
                "version": len(versions) + 1,
                "valid_from": now,
                "valid_to": None,
                "value": body["value"],
                "encoding": body.get("encoding", "utf-8"),
            }
        )
        return _bare(versions[-1])

    def find(self, name: str, query: dict[str, str]) -> dict[str, Any]:
        found = self.secrets[name]
        if "version" in query:
            found = [each for each in found if each["version"] == int(query["version"])]
        if "at" in query:
            at = parse_time(query["at"])
            found = [each for each in found if parse_time(each["valid_from"]) <= at]
        if not found:
            raise errors.VersionNotFound
        return found[-1]

    def env(self, body: dict[str, Any]) -> dict[str, Any]:
        file = dotenv.parse(body["content"])
        expand = body.get("expand", True)
        missing = [each.name for each in file.references if each.name not in self.secrets]
        if missing:
            raise errors.SecretNotFound("", names=tuple(missing))
        values: dict[tuple[str, int | None], str] = {}
        for each in file.references:
            versions = self.secrets[each.name]
            if each.version is not None and each.version > len(versions):
                raise errors.VersionNotFound("", names=(each.name,))
            values[each.name, each.version] = versions[(each.version or 0) - 1]["value"]
        taken = [each.name for each in file.encryptions if each.name in self.secrets]
        if taken:
            raise errors.SecretExists("", names=tuple(taken))
        for each in file.encryptions:
            plaintext = each.inline_value if each.inline_value is not None else body.get("values", {}).get(each.name)
            if plaintext is None:
                raise errors.MissingValue("", names=(each.name,))
            self.secrets[each.name] = []
            self.add(each.name, {"value": plaintext})
        answer: dict[str, Any] = {"variables": dotenv.variables(file, values, expand, {})}
        if body.get("format") != "variables":
            created = [each.name for each in file.encryptions]
            answer |= {"content": dotenv.render(file, values, expand), "created": created, "expanded": sorted({name for name, _ in values})}
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: FakeGateway

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length)) if length else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.gateway.requests.append((self.command, self.path, headers, body))
        kind, what = self.gateway.faults.pop(0) if self.gateway.faults else ("none", "")
        if (kind, what) == ("lose", "before"):
            self.close_connection = True
            return
        if kind == "redirect":
            self._send(307, None, {"Location": what})
            return
        if kind == "garbage":
            self._send(200, "no object", {})
            return
        try:
            if kind == "status":
                raise errors.BY_CODE[what]
            status, answer, extra = self.gateway.answer(self.command, self.path, headers, body)
        except errors.KofnError as error:
            self._problem(error)
            return
        if (kind, what) == ("lose", "after"):
            self.close_connection = True
            return
        self._send(status, answer, extra)

    def _problem(self, error: errors.KofnError) -> None:
        body = {"type": "about:blank", "title": error.title, "status": error.status, "code": error.code, "detail": error.detail}
        optional = {"phase": error.phase, "outcome": error.outcome, "names": list(error.names) or None}
        extra = {"Retry-After": self.gateway.retry_after} if error.retry_after_seconds is not None else {}
        self._send(error.status, body | {name: value for name, value in optional.items() if value is not None}, extra)

    def _send(self, status: int, answer: Any, extra: dict[str, str]) -> None:
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the base class looks for these names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        assert not re.search("s{43}", format % args), "a token in a request line"


def _bare(version: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in version.items() if name not in {"value", "encoding"}}
