"""What one request leaves in the audit log: a line before anything is done on its account, and one that says what came of it."""

from __future__ import annotations

from gateway.audit import AuditLog


class Trail:
    """What one request leaves in the log. ``principal``, ``credential`` and ``namespace`` are set as they become known."""

    __slots__ = ("_action", "_log", "_request_id", "_source", "_uses", "begun", "credential", "namespace", "principal")

    def __init__(self, log: AuditLog, request_id: str, source: str, action: str) -> None:
        self._log = log
        self._request_id = request_id
        self._source = source
        self._action = action
        self._uses: dict[str, list[str]] = {}
        self.begun = False
        self.principal: str | None = None
        self.credential: str | None = None
        self.namespace: str | None = None

    def wants(self, capability: str, name: str) -> None:
        """Note that the request is for ``capability`` on ``name``, which is a valid name, or the prefix of names."""
        self._uses.setdefault(capability, []).append(name)

    def begin(self) -> None:
        """Record the request, before anything is done. Raises AuditUnavailable: then nothing may be done."""
        self._log.write({"event": "request", **self._what()})
        self.begun = True

    def end(self, status: int, code: str | None) -> None:
        """Record the answer. Raises AuditUnavailable if there is no other line of this request."""
        if self.begun:
            self._log.note({"event": "answer", "request": self._request_id, "status": status, "code": code})
        else:
            self._log.write({"event": "refusal", **self._what(), "status": status, "code": code})

    def _what(self) -> dict[str, object]:
        return {
            "request": self._request_id,
            "source": self._source,
            "principal": self.principal,
            "credential": self.credential,
            "namespace": self.namespace,
            "action": self._action,
            "uses": {capability: list(dict.fromkeys(names)) for capability, names in self._uses.items()},
        }
