"""Why a change to a decision module survives its unit tests: by module and by the change's name, from docs/evidence.survivors.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "docs" / "evidence.survivors.toml"
REASONS: dict[str, dict[str, str]] = tomllib.loads(SOURCE.read_text(encoding="utf-8")) if SOURCE.exists() else {}


def explained(module: str, change: str) -> bool:
    """Whether there is a reason, and one that leaves nothing open."""
    reason = REASONS.get(module, {}).get(change, "").strip().lower()
    return reason != "" and not reason.startswith("open")
