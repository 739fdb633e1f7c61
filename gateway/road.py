"""The road to one node: the flights to it, and what is known of a flight that was lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from gateway.flights import Flights, Landing, Loss
from gateway.nodes import NoAnswer, NotReceived, Wire
from model.errors import BY_CODE
from model.operation import (
    Create,
    Delete,
    Deleted,
    Failed,
    Found,
    History,
    List,
    Names,
    NodeStatus,
    Operation,
    Read,
    Result,
    Status,
    Update,
    Versions,
    Written,
)

logger = logging.getLogger(__name__)

HEDGE_SECONDS = 0.2
"""After how long who is not patient asks another node as well."""
OVERDUE_SECONDS = 0.5
"""After how long without an answer to a write others are asked first."""
SHUN_SECONDS = 5.0
"""How long after a failure no answer is expected at once."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Result])


class Road:
    """The road to ``node``. Reads and writes fly apart."""

    def __init__(self, node: str, wire: Wire, flights: int) -> None:
        self.id = node
        self._reads = Flights(self._send, flights, HEDGE_SECONDS)
        self._writes = Flights(self._send, flights, OVERDUE_SECONDS)
        self._wire = wire
        self._failing = False
        self._failed = -SHUN_SECONDS

    def ask(self, operations: Sequence[Operation], *, patient: bool) -> Landing:
        """The results of ``operations``, or why there are none. A lost read takes no write with it: they never ride together.

        What writes is waited for in any case; what reads only by who is ``patient``.
        """
        if any(map(writes, operations)):
            return self._writes.ask(operations, patient=True)
        return self._reads.ask(operations, patient=patient)

    @property
    def overdue(self) -> bool:
        """Whether it should have answered by now."""
        return self._reads.overdue or self._writes.overdue

    @property
    def is_well(self) -> bool:
        """Whether an answer can be expected of it at once."""
        return not self.overdue and time.monotonic() - self._failed > SHUN_SECONDS

    def _send(self, operations: list[Operation]) -> Landing:
        """Carry out one flight."""
        try:
            answer = self._wire.exchange(_ENCODER.encode(operations), repeatable=not any(map(writes, operations)))
            results = _DECODER.decode(answer)
            if len(results) != len(operations) or not all(map(_fits, operations, results)):
                raise NoAnswer("results that do not fit the operations")
        except NotReceived as error:
            return self._lost(Loss.NOT_RECEIVED, str(error))
        except NoAnswer as error:
            return self._lost(Loss.NO_ANSWER, str(error))
        except (ValueError, RecursionError) as error:
            return self._lost(Loss.NO_ANSWER, type(error).__name__)
        self._failing = False
        return results

    def _lost(self, loss: Loss, reason: str) -> Loss:
        """``loss``, logged if it is the first in a row."""
        if not self._failing:
            logger.warning("%s fails, %s: %s", self.id, loss.value, reason)
        self._failing, self._failed = True, time.monotonic()
        return loss


def writes(operation: Operation) -> bool:
    """Whether ``operation`` may change anything."""
    return isinstance(operation, Create | Update | Delete)


def _fits(operation: Operation, result: Result) -> bool:
    """Whether ``result`` can be an answer to ``operation`` at all."""
    match operation, result:
        case _, Failed(code=code):
            return code in BY_CODE
        case Create(secrets=secrets), Written(versions=versions):
            return len(versions) == len(secrets)
        case Update(), Written(versions=versions):
            return len(versions) == 1
        case Read(reveal=reveal), Found(value=value):
            return (value is not None) == reveal
        case (Delete(), Deleted()) | (History(), Versions()) | (List(), Names()) | (Status(), NodeStatus()):
            return True
        case _:
            return False
