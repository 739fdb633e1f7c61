"""One error tree for the whole product.

Every failure a caller can see is a class here: its stable ``code``, the HTTP status it is rendered with, and, where it
matters, the ``phase`` in which it happened and whether the ``outcome`` is definite. ``specs/openapi.yaml`` lists the same
codes; a test walks both. ``detail`` says what to do next and never holds a value, a key, a share, a token or unknown input.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Phase = Literal["voting", "writing"]
Outcome = Literal["not_applied", "unknown"]


class KofnError(Exception):
    """The root. ``names`` lists the secrets at fault, sorted; ``retry_after_seconds`` is set where a retry can help."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong inside the vault"
    phase: ClassVar[Phase | None] = None
    outcome: ClassVar[Outcome | None] = None
    retry_after_seconds: int | None = None

    def __init__(self, detail: str = "", *, names: tuple[str, ...] = (), retry_after_seconds: int | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.names = tuple(sorted(set(names)))
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds


class InvalidRequest(KofnError):
    code, status, title = "invalid_request", 400, "The request is malformed"


class Unauthenticated(KofnError):
    code, status, title = "unauthenticated", 401, "Valid credentials are required"


class Forbidden(KofnError):
    code, status, title = "forbidden", 403, "These credentials do not allow this"


class SecretNotFound(KofnError):
    code, status, title = "secret_not_found", 404, "No such secret"


class VersionNotFound(KofnError):
    code, status, title = "version_not_found", 404, "No such version of this secret"


class NotFound(KofnError):
    code, status, title = "not_found", 404, "No such resource"


class MethodNotAllowed(KofnError):
    code, status, title = "method_not_allowed", 405, "This resource does not support this method"


class SecretExists(KofnError):
    code, status, title = "secret_exists", 409, "A secret of this name exists already"


class WriteConflict(KofnError):
    code, status, title = "write_conflict", 409, "Another write held the secret"
    phase: ClassVar[Phase | None] = "voting"
    outcome: ClassVar[Outcome | None] = "not_applied"
    retry_after_seconds = 1


class LengthRequired(KofnError):
    code, status, title = "length_required", 411, "A Content-Length header is required"


class VersionMismatch(KofnError):
    code, status, title = "version_mismatch", 412, "The secret is not at the expected version"


class TooLarge(KofnError):
    code, status, title = "too_large", 413, "The request is too large"


class UriTooLong(KofnError):
    code, status, title = "uri_too_long", 414, "The request target is too long"


class UnsupportedMediaType(KofnError):
    code, status, title = "unsupported_media_type", 415, "The body must be application/json"


class IdempotencyKeyReused(KofnError):
    code, status, title = "idempotency_key_reused", 422, "This idempotency key belongs to another request"


class InvalidEnv(KofnError):
    code, status, title = "invalid_env", 422, "The .env file cannot be processed"


class MissingValue(KofnError):
    code, status, title = "missing_value", 422, "A value to encrypt is missing"


class ValueNotRenderable(KofnError):
    code, status, title = "value_not_renderable", 422, "A value cannot be written into a .env file"


class RateLimited(KofnError):
    code, status, title = "rate_limited", 429, "Too many requests"
    retry_after_seconds = 1


class HeadersTooLarge(KofnError):
    code, status, title = "headers_too_large", 431, "The request headers are too large"


class VotingFailed(KofnError):
    code, status, title = "voting_failed", 503, "The vault could not agree to write; nothing was written"
    phase: ClassVar[Phase | None] = "voting"
    outcome: ClassVar[Outcome | None] = "not_applied"
    retry_after_seconds = 1


class WritingFailed(KofnError):
    code, status, title = "writing_failed", 503, "The write could not be confirmed; it may yet take effect"
    phase: ClassVar[Phase | None] = "writing"
    outcome: ClassVar[Outcome | None] = "unknown"
    retry_after_seconds = 1


class Unavailable(KofnError):
    code, status, title = "unavailable", 503, "The vault cannot read this now"
    retry_after_seconds = 1


class AuditUnavailable(KofnError):
    code, status, title = "audit_unavailable", 503, "The request could not be recorded; nothing was done"
    outcome: ClassVar[Outcome | None] = "not_applied"
    retry_after_seconds = 1


def _tree(root: type[KofnError]) -> list[type[KofnError]]:
    return [root, *(below for child in root.__subclasses__() for below in _tree(child))]


BY_CODE: dict[str, type[KofnError]] = {kind.code: kind for kind in _tree(KofnError)}
"""Every error class by its stable code, the root included."""
