"""Histories: what concurrent clients asked and were told, and when, on one clock.

A write whose answer was lost, or said that its outcome is unknown, stays without an answer. An answer that promises that nothing happened,
or that a read could not be answered, says nothing of the secret and is left out of what is judged.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from linearizability import Call

from model.operation import Failed, History, Operation, Read, Result, SecretId
from model.secret import Write, named

NOTHING = frozenset({"voting_failed", "write_conflict", "unavailable", "rate_limited", "audit_unavailable"})
"""Failures that promise that nothing happened."""
UNKNOWN = frozenset({"writing_failed", "internal_error"})
"""Failures that promise nothing. A gateway or node that dies may answer with an error of its server."""


class Recorder:
    """A history, written by any number of threads. ``told`` counts the answers by kind of operation and answer."""

    def __init__(self) -> None:
        self.calls: dict[SecretId, list[Call]] = {}
        self.told: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def perform(self, ask: Callable[[Operation], Result | None], operation: Write | Read | History) -> Result | None:
        """The answer of ``ask``, with its time of asking and of answering on record; None where it was lost."""
        invoked = time.monotonic_ns()
        result = ask(operation)
        returned = time.monotonic_ns()
        code = result.code if isinstance(result, Failed) else type(result).__name__.lower() if result is not None else "lost"
        with self._lock:
            self.told[type(operation).__name__.lower(), code] += 1
            if result is None or code in UNKNOWN:
                if isinstance(operation, Write):
                    self._note(operation, Call(operation, invoked))
            elif code not in NOTHING:
                self._note(operation, Call(operation, invoked, returned, result))
        return result

    def count(self, *answers: str) -> int:
        """How many answers were one of these."""
        return sum(number for (_, answer), number in self.told.items() if answer in answers)

    def report(self) -> str:
        """Operations and answers, one line each, as a table."""
        total = f"{self.told.total()} calls on {len(self.calls)} secrets, {sum(map(len, self.calls.values()))} judged"
        return "\n".join([total, *(f"  {kind:8} {answer:24} {number:6}" for (kind, answer), number in sorted(self.told.items()))])

    def _note(self, operation: Write | Read | History, call: Call) -> None:
        assert not isinstance(operation, Write) or len(named(operation)) == 1, "a group ties secrets together: not for this judge"
        self.calls.setdefault(named(operation)[0], []).append(call)
