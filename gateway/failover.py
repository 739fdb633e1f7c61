"""Which node to ask, and when to ask again.

Every node of the cluster holds its part of every secret and can coordinate any request, so any node will do. A process stays with the node
that last worked, so that batches grow; one that fails goes to the end of the line. What only reads is asked of one node after the other,
soon if there is no answer, and many reads are spread over several nodes, which work on them at once; a write goes on to another node only
if the one before certainly did nothing with it, otherwise its outcome is unknown and is said to be.
"""

from __future__ import annotations

import math
import random
import ssl
import time
from collections.abc import Sequence
from typing import Protocol

import gevent
import msgspec

from gateway.config import Settings
from gateway.flights import Loss
from gateway.nodes import NodeWire, Wire
from gateway.road import Road, writes
from gateway.tls import Context
from model.errors import Unavailable, VotingFailed, WritingFailed
from model.identity import Identity, Role
from model.operation import Failed, Operation, Result

SPREAD_READS = 50
"""How many reads of one request make it worth asking a node more."""

_JITTER = random.SystemRandom()


class Nodes(Protocol):
    """The nodes as the routes see them."""

    def perform(self, operations: Sequence[Operation]) -> list[Result]:
        """One result for each of ``operations``, in order. Raises nothing that a node could cause: failures are results."""


class Cluster:
    """The nodes behind ``wires``, asked in the order of a line that failures rearrange."""

    def __init__(self, wires: dict[str, Wire], settings: Settings) -> None:
        quorum = settings.quorum()
        self._nodes = {node: Road(node, wire, settings.flights_per_node) for node, wire in wires.items()}
        self._spare = quorum.share_count - quorum.read
        self._read_seconds = settings.read_timeout_seconds
        self._read_retry_seconds = settings.read_retry_seconds
        self._write_retry_seconds = settings.write_retry_seconds
        self._line = tuple(_JITTER.sample(sorted(wires), len(wires)))

    def perform(self, operations: Sequence[Operation]) -> list[Result]:
        """One result for each of ``operations``, in order.

        A failure that wrote nothing and asks for patience is asked again until its deadline; a read that runs into it is unavailable then.
        """
        begun = time.monotonic()
        results = self._ask(operations)
        while waits := {i: self._wait_seconds(operations[i], result, begun) for i, result in enumerate(results) if _asks_again(result)}:
            again = [i for i, seconds in waits.items() if seconds is not None]
            for i in waits.keys() - set(again):
                results[i] = _given_up(operations[i], results[i])
            if not again:
                break
            gevent.sleep(max(seconds for seconds in waits.values() if seconds is not None))
            for i, result in zip(again, self._ask([operations[i] for i in again]), strict=True):
                results[i] = result
        return results

    def _wait_seconds(self, operation: Operation, result: Result, begun: float) -> float | None:
        """How long to wait before asking again, with jitter so that rivals part; None when the deadline has passed."""
        assert isinstance(result, Failed)
        assert result.retry_ms is not None
        patience = self._write_retry_seconds if writes(operation) else self._read_retry_seconds
        left = begun + patience - time.monotonic()
        if left <= 0:
            return None
        return min(left, _JITTER.uniform(0.5, 1.5) * max(result.retry_ms, 1) / 1000)

    def _ask(self, operations: Sequence[Operation]) -> list[Result]:
        """Ask for all of them, spread over several nodes if they are many and none writes."""
        line = self._order()
        well = [node for node in line if self._nodes[node].is_well] if len(operations) >= 2 * SPREAD_READS else []
        parts = min(len(well), len(operations) // SPREAD_READS)
        if parts < 2 or any(map(writes, operations)):
            return self._ask_in_turn(line, operations)
        size = -(-len(operations) // parts)
        asking = [
            gevent.spawn(
                self._ask_in_turn, (node, *(other for other in line if other != node)), operations[number * size : (number + 1) * size]
            )
            for number, node in enumerate(well[:parts])
        ]
        return [result for each in asking for result in each.get()]

    def _ask_in_turn(self, line: Sequence[str], operations: Sequence[Operation]) -> list[Result]:
        """Ask one node after the other, each for what is still open; patiently once as many were asked as may be away.

        What reads is asked of no other node once one could have answered: whoever asks is told in time that nobody does.
        """
        results: list[Result | None] = [None] * len(operations)
        deadline = math.inf if any(map(writes, operations)) else time.monotonic() + self._read_seconds
        for place, node in enumerate(line):
            still_open = [i for i, result in enumerate(results) if result is None]
            if not still_open or time.monotonic() > deadline:
                break
            landing = self._nodes[node].ask([operations[i] for i in still_open], patient=place >= self._spare)
            if isinstance(landing, Loss):
                self._send_to_the_end(node)
                if landing is Loss.NO_ANSWER:
                    for i in still_open:
                        if writes(operations[i]):
                            results[i] = Failed(WritingFailed.code)
            else:
                for i, result in zip(still_open, landing, strict=True):
                    results[i] = result
        return [_nobody_asked(operation) if result is None else result for operation, result in zip(operations, results, strict=True)]

    def _order(self) -> Sequence[str]:
        """The line, but those that are overdue last."""
        line = self._line
        return sorted(line, key=lambda node: self._nodes[node].overdue) if self._nodes[line[0]].overdue else line

    def _send_to_the_end(self, node: str) -> None:
        self._line = (*(other for other in self._line if other != node), node)


def connect(settings: Settings) -> Cluster:
    """The cluster that ``settings`` describe. Opens no connection yet."""
    context = Context(ssl.Purpose.SERVER_AUTH, certificate=settings.certificate, key=settings.key, ca=settings.ca)
    wires: dict[str, Wire] = {
        node: NodeWire(
            url,
            Identity(settings.trust_domain, Role.NODE, node),
            context,
            read_seconds=settings.read_timeout_seconds,
            answer_seconds=settings.answer_timeout_seconds,
            answer_bytes=settings.answer_bytes,
        )
        for node, url in settings.nodes.items()
    }
    return Cluster(wires, settings)


def _asks_again(result: Result) -> bool:
    return isinstance(result, Failed) and result.retry_ms is not None


def _given_up(operation: Operation, result: Result) -> Result:
    """The last word on what was asked again in vain: nothing was written, so a write keeps its own error."""
    assert isinstance(result, Failed)
    return msgspec.structs.replace(result, retry_ms=None) if writes(operation) else Failed(Unavailable.code, names=result.names)


def _nobody_asked(operation: Operation) -> Result:
    """The answer where no node took the operation."""
    return Failed(VotingFailed.code if writes(operation) else Unavailable.code)
