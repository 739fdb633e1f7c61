"""Versions in time: validity intervals that never overlap, and the one text form of a time.

A time is an integer, microseconds since the Unix epoch, UTC, without leap seconds. The N-th version of a secret is valid from its own
``valid_from`` up to, not including, that of the next one. The gateway's clock proposes a time; ``next_valid_from`` clamps it, so that
times within a secret strictly increase even where gateway clocks disagree. Nothing here reads a clock.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from model.errors import InvalidRequest
from model.operation import Version

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

MIN_TIME = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""0001-01-01T00:00:00.000000Z, the earliest time that can be written."""
MAX_TIME = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""9999-12-31T23:59:59.999999Z, the latest."""

_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def next_valid_from(now: int, previous: int | None) -> int:
    """When a version written at ``now`` becomes valid: at once, but at least 1 microsecond after the ``previous`` one did."""
    return now if previous is None else max(now, previous + 1)


def format_time(us: int) -> str:
    """RFC 3339 in UTC, always with six digits of fraction and ``Z``: 27 characters, which sort as the times do.

    Raises ValueError outside MIN_TIME to MAX_TIME.
    """
    if not MIN_TIME <= us <= MAX_TIME:
        raise ValueError("the time is outside the years 1 to 9999")
    second, fraction = divmod(us, 1_000_000)
    return f"{_second(second)}.{fraction:06}Z"


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    """The text of a whole second since the epoch."""
    return (_EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat(timespec="seconds")


def parse_time(text: str) -> int:
    """The time that an RFC 3339 ``text`` names, in microseconds; further digits of its fraction are cut off.

    Any offset is taken, and ``t`` and ``z`` as well as ``T`` and ``Z`` (RFC 3339, 5.6); a blank instead of ``T`` is not, nor more than
    nine digits of fraction, nor a leap second (:60), which this time scale does not have.
    Raises InvalidRequest, which does not repeat the text.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise InvalidRequest("A time must be RFC 3339, such as 2026-01-31T12:00:00.000000Z; write the + of an offset as %2B in a URL")
    date, time, fraction, sign, hours, minutes = match.groups()
    try:
        local = datetime.fromisoformat(f"{date}T{time}+00:00")
    except ValueError:
        raise InvalidRequest("A time must name a date and a time of day that exist; leap seconds are not supported") from None
    us = (local - _EPOCH) // _MICROSECOND + int((fraction or "0").ljust(6, "0")[:6])
    if sign is not None:
        if int(hours) > 23 or int(minutes) > 59:
            raise InvalidRequest("A time's offset from UTC must be at most 23:59")
        offset = (int(hours) * 60 + int(minutes)) * 60_000_000
        us += offset if sign == "-" else -offset
    if not MIN_TIME <= us <= MAX_TIME:
        raise InvalidRequest("A time must lie in the years 1 to 9999 UTC")
    return us


def intervals(valid_froms: Sequence[tuple[int, int]]) -> tuple[Version, ...]:
    """Pairs of (version, valid_from), oldest first, as versions whose ``valid_to`` is the next one's ``valid_from``."""
    ends = [valid_from for _, valid_from in valid_froms[1:]]
    return tuple(Version(version, start, end) for (version, start), end in zip(valid_froms, [*ends, None], strict=False))


def valid_at(versions: Sequence[Version], at: int) -> Version | None:
    """Which of ``versions`` (oldest first) was valid at time ``at``; None before the first one.

    A time after the latest ``valid_from``, the future too, finds the latest version.
    """
    position = bisect_right(versions, at, key=lambda version: version.valid_from)
    return versions[position - 1] if position else None
