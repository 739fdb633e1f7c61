"""How much one caller may ask: requests per second of a principal and of an address, and bad credentials per minute of an address.

An address that sends too many bad credentials is locked out: until the minute is over it gets the same answer whatever it sends, a right
token too, so that the answer tells nothing. A caller with a client certificate is never locked out: the handshake has proved the key, and
nothing was guessed. The address is the connection's own; no header can change it. IPv6 counts by /64, which is one subscriber.

Windows are fixed (package ``limits``) and kept in memory: each gateway counts for itself.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from functools import lru_cache

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from gateway.config import Settings
from model.errors import RateLimited

CLEANING_SECONDS = 1.0

logger = logging.getLogger(__name__)


class _Counts(MemoryStorage):
    """Counts of windows, cleaned up by whoever counts; all requests are counted by one thread.

    The package's own storage starts a thread for that a hundred times a second, and a request waits for each to begin.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cleaned_at = 0.0

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count ``amount``; what the window of ``key``, which lasts for ``expiry`` seconds, has come to."""
        now = time.time()
        if now - self._cleaned_at >= CLEANING_SECONDS:
            self._cleaned_at = now
            for old in [each for each, end in self.expirations.items() if end <= now]:
                del self.expirations[old], self.storage[old]
        if self.expirations.get(key, 0.0) <= now:
            self.expirations[key], self.storage[key] = now + expiry, 0
        self.storage[key] += amount
        return self.storage[key]

    def get(self, key: str) -> int:
        """What the window of ``key`` has come to."""
        return self.storage[key] if self.expirations.get(key, 0.0) > time.time() else 0


class Limits:
    """The counts of one gateway. Methods raise RateLimited, with the seconds after which a retry can help."""

    def __init__(self, settings: Settings) -> None:
        self._of_source = RateLimitItemPerSecond(settings.source_requests_per_second)
        self._of_principal = RateLimitItemPerSecond(settings.principal_requests_per_second)
        self._of_guesses = RateLimitItemPerMinute(settings.bad_credentials_per_minute)
        self._counts = _Counts()
        self._windows = FixedWindowRateLimiter(self._counts)

    def admit_source(self, address: str) -> None:
        """Count one request from ``address``."""
        self._count(self._of_source, "source", network(address))

    def admit_principal(self, principal: str) -> None:
        """Count one request of ``principal``."""
        self._count(self._of_principal, "principal", principal)

    def check_lock(self, address: str) -> None:
        """Refuse an address that is locked out."""
        key = ("guesses", network(address))
        if not self._windows.test(self._of_guesses, *key):
            left = self._windows.get_window_stats(self._of_guesses, *key).reset_time - time.time()
            raise RateLimited("Too many bad credentials came from this address", retry_after_seconds=max(1, round(left)))

    def count_guess(self, address: str) -> None:
        """Count one request from ``address`` with bad credentials or none."""
        key = ("guesses", network(address))
        self._windows.hit(self._of_guesses, *key)
        if not self._windows.test(self._of_guesses, *key):
            logger.warning("%s is locked out for up to a minute: too many bad credentials", key[1])

    def _count(self, limit: RateLimitItem, kind: str, who: str) -> None:
        if self._counts.incr(_key(limit, kind, who), limit.get_expiry()) > limit.amount:  # ``hit``, but for the key, which it makes anew
            raise RateLimited(retry_after_seconds=1)


@lru_cache(maxsize=4096)
def _key(limit: RateLimitItem, kind: str, who: str) -> str:
    """What the window of ``who`` is counted under."""
    return limit.key_for(kind, who)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 one; a text that is neither stands for itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
