"""The runs that seeds stand for: which cluster, which load, which faults."""

from __future__ import annotations

import random
from dataclasses import dataclass

from simulation_parts import Faults


@dataclass(frozen=True)
class Shape:
    """One run: its cluster and its load.

    ``mix``: how often each of ``KINDS`` is asked, or in place of it ``story``: what is asked in turn. So many of the writes are ``keyed``,
    so many of the updates ``conditional``; so much of what was answered is asked ``again``, much later.
    """

    share_count: int
    threshold: int
    clients: int
    operations: int
    secrets: int
    faults: Faults
    lease_ms: int
    mix: tuple[int, ...] = ()
    write_raised: int = 0
    story: tuple[str, ...] = ()
    keyed: float = 0.6
    conditional: float = 0.2
    again: float = 0.0


KINDS = ("create", "group", "update", "delete", "read", "at", "history")
MIXES = ((20, 10, 25, 12, 22, 6, 8), (15, 0, 45, 5, 20, 5, 10), (30, 0, 20, 25, 12, 2, 2))
CLUSTERS = ((3, 2), (3, 2), (3, 3), (4, 2), (4, 3), (5, 2), (5, 3), (5, 3), (5, 4))
FAULTS = (
    Faults(upkeep=0.005, impatient=0.005),
    Faults(double=0.1, upkeep=0.01, impatient=0.03),
    Faults(lose=0.05, double=0.05, late=0.05, upkeep=0.01, impatient=0.02, time_up=0.003),
    Faults(lose=0.15, late=0.1, upkeep=0.02, impatient=0.05, time_up=0.01),
    Faults(crash=0.02, upkeep=0.01, impatient=0.02, time_up=0.003),
    Faults(lose=0.05, double=0.03, late=0.15, crash=0.03, impatient=0.05, time_up=0.01, upkeep=0.03),
    Faults(torn=0.4, late=0.05, impatient=0.05, time_up=0.003, upkeep=0.005),
    Faults(torn=0.6, lose=0.02, late=0.1, crash=0.01, impatient=0.1, time_up=0.01, upkeep=0.01),
    Faults(torn=0.4, late=0.2, impatient=0.05, time_up=0.003, upkeep=0.025),
    Faults(late=0.3, crash=0.05, impatient=0.1, time_up=0.02, upkeep=0.05),
)


def shape_of(seed: int) -> Shape:
    """The run that a seed stands for: half are eventful, a quarter robbed, one in sixteen parted, one held; the rest are of all kinds."""
    if seed % 2:
        return eventful(seed)
    if seed % 4 == 0:
        return robbed(seed)
    if seed % 8 == 2:
        return parted(seed) if seed % 16 == 2 else held(seed)
    return various(seed)


def various(seed: int) -> Shape:
    """Any cluster, any load, any of the faults that a cluster meets with its disks whole."""
    chance = random.Random(seed)
    share_count, threshold = chance.choice(CLUSTERS)
    clients = chance.randrange(2, 5)
    operations, secrets, faults = chance.randrange(clients, 9), chance.randrange(1, 3), chance.choice(FAULTS)
    lease_ms = 10_000 if faults.harmless else chance.choice((20, 200, 2000))
    return Shape(share_count, threshold, clients, operations, secrets, faults, lease_ms, chance.choice(MIXES))


def eventful(seed: int) -> Shape:
    """Much happens to one secret: most writes reach a few nodes only, and repairs come late."""
    chance = random.Random(seed)
    share_count, threshold = chance.choice(((3, 2), (3, 2), (4, 2), (5, 3)))
    faults = Faults(torn=0.35, late=0.1, crash=chance.choice((0, 0.01)), impatient=0.05, time_up=0.005, upkeep=0.03)
    return Shape(share_count, threshold, 3, 9, 1, faults, chance.choice((20, 200)), chance.choice(MIXES[1:]))


def robbed(seed: int) -> Shape:
    """Disks are lost, or refuse to write for a while, and clocks jump, while much happens to one secret or two."""
    chance = random.Random(seed)
    share_count, threshold = chance.choice(((3, 2), (3, 2), (4, 2), (4, 3), (5, 3)))
    torn, crash = chance.choice((0, 0.3)), chance.choice((0, 0.01))
    faults = Faults(
        torn=torn,
        late=0.1,
        crash=crash,
        impatient=0.05,
        time_up=0.005,
        upkeep=0.02,
        rob=0.01,
        full=0.005,
        jump=0.02,
        slow=0.1,
        rob_writer=0.03,
    )
    secrets, raised = chance.randrange(1, 3), threshold + 1 if chance.random() < 0.5 else 0
    return Shape(share_count, threshold, 3, 9, secrets, faults, chance.choice((20, 200)), chance.choice(MIXES), raised)


def parted(seed: int) -> Shape:
    """Nodes are cut off once what they wrote was accepted; the others write above it and delete it unmarked; later it is asked again."""
    chance = random.Random(seed)
    share_count, threshold = chance.choice(((3, 2), (3, 2), (4, 3), (5, 3)))
    faults = Faults(cut=0.002, cut_writer=0.2, late=0.02, impatient=0.1, time_up=0.005, upkeep=0.001)
    story = ("create", *("update",) * chance.randrange(2, 4), "delete")
    return Shape(share_count, threshold, chance.choice((1, 1, 2)), 12, 1, faults, 20, story=story, keyed=1, conditional=0.1, again=0.7)


def held(seed: int) -> Shape:
    """Writes are under way so long that a node which accepted one loses its disk and has recovered before the next accepts it."""
    chance = random.Random(seed)
    share_count, threshold = chance.choice(((3, 2), (3, 2), (4, 2), (4, 3), (5, 3)))
    faults = Faults(held=0.5, rob_writer=0.15, lose=0.05, impatient=0.05, time_up=0.001, upkeep=0.002)
    return Shape(share_count, threshold, 1, 6, 1, faults, 20, MIXES[1])
