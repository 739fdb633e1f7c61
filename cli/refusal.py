"""What came back instead of an answer, and what to do about it: an error of the vault's, or nothing at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.failure import EXIT_OF, Exit, Failure

CHECK = "check the URL, the CA file and that the gateway runs"
_NEXT_STEP = {
    Exit.FAILED: "check that KOFN_URL names a kofn gateway, then its log",
    Exit.NOT_FOUND: "run: kofn list, to see what there is",
    Exit.CONFLICT: "nothing was written; look at the current state, then decide",
    Exit.DENIED: "check the token: KOFN_TOKEN, or the token file; it may have been revoked",
    Exit.UNAVAILABLE: "try again once more nodes are up; kofn status tells",
    Exit.REFUSED: "correct the input",
    Exit.UNREACHABLE: f"nothing was sent; {CHECK}",
}
START_LOCAL = "nothing was sent; run: kofn local start, which starts whatever of the local cluster does not run"

_NEXT_STEP_OF = {
    "forbidden": "the token is good, but was not granted this: its principal's grants are in the gateway's access file",
    "secret_exists": "nothing was written; choose another name, or give it a new version with: kofn update NAME",
    "version_not_found": "run: kofn history NAME, to see its versions",
    "rate_limited": "try again a little later",
    "audit_unavailable": "check the gateway's audit log and its disk",
}
"""For codes that need another next step than the rest with the same exit code."""


class Problem(Failure):
    """An answer that is an error: its stable ``code``, the ``names`` at fault, and after how many seconds to retry, if at all."""

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: float | None) -> None:
        self.status = status
        self.code = str(body.get("code", "internal_error"))
        self.names = [str(name) for name in body.get("names") or []]
        self.retry_after = retry_after
        self.not_applied = 300 <= status < 500 or self.code == "unavailable" or body.get("outcome") == "not_applied"
        title = str(body.get("title") or f"the answer has status {status}")
        detail = str(body.get("detail") or "").replace("the header Kofn-Namespace", "KOFN_NAMESPACE (the header Kofn-Namespace)")
        exit_code = EXIT_OF.get(self.code, Exit.FAILED)
        what = f"{title}: {', '.join(self.names)}" if self.names else title
        next_step = _NEXT_STEP_OF.get(self.code) or _NEXT_STEP.get(exit_code, "see kofn --help")
        super().__init__(what, detail if detail and detail != title else next_step, exit_code)


class Lost(Failure):
    """No answer. ``sent`` tells whether the vault may have received the request."""

    def __init__(self, what: str, *, sent: bool, next_step: str | None = None) -> None:
        self.sent = sent
        usual = "the vault gave no answer; try again" if sent else _NEXT_STEP[Exit.UNREACHABLE]
        super().__init__(what, next_step or usual, Exit.UNREACHABLE)
