"""The route that processes a .env file: expand every reference, create every encryption, all or nothing.

Every capability that the file needs is checked before any node is asked: read for each reference, whether or not its value is to be
revealed, and create for each encryption. Everything that can be refused is refused before anything is created, and the creations are one
group: one operation that the nodes carry out wholly or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from flask import Flask, Response, g, request

from gateway import answer, parse
from gateway.access import Access
from gateway.config import Settings
from gateway.failover import Nodes
from gateway.secrets_api import now
from model import dotenv
from model.errors import InvalidRequest, MissingValue
from model.operation import Create, NewValue, Read


class _EnvBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    content: str
    values: dict[str, str] = {}
    expand: bool = True
    format: Literal["file", "variables"] = "file"

    def __repr__(self) -> str:
        return "_EnvBody()"


class EnvApi:
    """The route, over the nodes."""

    def __init__(self, settings: Settings, access: Access, nodes: Nodes) -> None:
        self._value_bytes = settings.value_bytes
        self._access = access
        self._nodes = nodes

    def add_to(self, app: Flask) -> None:
        """Give ``app`` this route."""
        app.add_url_rule("/api/v1/env", view_func=self.process, methods=["POST"])

    def process(self) -> Response:
        """200 with the processed file, or with its variables only."""
        caller = self._access.caller(request, g.trail)
        parse.query(request)
        parse.no_if_match(request)
        body = parse.body(request, _EnvBody)
        file = dotenv.parse(body.content)
        plaintexts = self._plaintexts(file, body.values)
        wanted = list(dict.fromkeys((reference.name, reference.version) for reference in file.references))
        secrets = caller.may_all([*(("read", name) for name, _ in wanted), *(("create", name) for name in plaintexts)])
        new = tuple(NewValue(secret, value) for secret, value in zip(secrets[len(wanted) :], plaintexts.values(), strict=True))
        retry = parse.retry(request, "env", caller.scope, new)
        reads = [Read(secret, version, reveal=body.expand) for secret, (_, version) in zip(secrets, wanted, strict=False)]
        values = self._read(reads)
        content = dotenv.render(file, values, body.expand) if body.format == "file" else None
        variables = dotenv.variables(file, values, body.expand, {})
        if new:
            answer.checked(self._nodes.perform([Create(new, now(), retry)])[0])
        if content is None:
            return answer.json({"variables": variables})
        expanded = dict.fromkeys(reference.name for reference in file.references) if body.expand else ()
        return answer.json(
            {"content": content, "variables": variables, "created": [item.secret.name for item in new], "expanded": list(expanded)}
        )

    def _plaintexts(self, file: dotenv.EnvFile, values: Mapping[str, str]) -> dict[str, bytes]:
        """What the file's ``enc`` create, by name. Raises MissingValue, InvalidRequest or TooLarge."""
        inline = {encryption.name: encryption.inline_value for encryption in file.encryptions}
        if any(inline.get(name, "") is not None for name in values):
            raise InvalidRequest("Each of `values` must belong to an enc(NAME) of the file that carries no value itself")
        plaintexts = {name: values.get(name) if text is None else text for name, text in inline.items()}
        missing = tuple(name for name, text in plaintexts.items() if text is None)
        if missing:
            raise MissingValue("Give the value of each of these names in `values`, or inline as enc(NAME, value)", names=missing)
        return {name: parse.value(text, "utf-8", self._value_bytes) for name, text in plaintexts.items() if text is not None}

    def _read(self, reads: Sequence[Read]) -> dict[tuple[str, int | None], bytes]:
        """The value of every reference, read as one batch; without ``reveal`` their existence is checked and nothing comes back."""
        if not reads:
            return {}
        found = answer.all_found((read.secret.name for read in reads), self._nodes.perform(reads))
        return {(read.secret.name, read.version): each.value for read, each in zip(reads, found, strict=True) if each.value is not None}
