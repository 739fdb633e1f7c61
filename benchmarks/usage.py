"""What processes take of the machine: CPU time and memory of a gunicorn master and its workers; and the machine itself."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Cpu(NamedTuple):
    """CPU seconds of the server that answers (the floor, or the gateway) and of each node behind it, in the order of their ids."""

    front: float
    nodes: tuple[float, ...] = ()

    def since(self, before: Cpu) -> Cpu:
        """The CPU seconds between ``before`` and this."""
        return Cpu(self.front - before.front, tuple(now - then for now, then in zip(self.nodes, before.nodes, strict=True)))

    @property
    def by_work(self) -> list[int]:
        """The nodes' places, the busiest first. Where one gateway asks one node, as here, that is the one that coordinates."""
        return sorted(range(len(self.nodes)), key=lambda place: -self.nodes[place])


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured; nothing that identifies the machine. ``load`` is the run queue's length before anything was started."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    sqlite: str
    load: float


def this_machine() -> Machine:
    """The machine that this runs on."""
    memory = _PAGE_BYTES * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    load = round(os.getloadavg()[0], 1)
    return Machine(_processor(), cores, memory, platform.system(), platform.python_version(), sqlite3.sqlite_version, load)


def cpu_seconds(master: int | None) -> float:
    """User and system time of a gunicorn master and its workers, to the nanosecond; 0 where it does not run."""
    return 0.0 if master is None else sum(time.clock_gettime(_cpu_clock(pid)) for pid in (master, *_children(master)))


def megabytes(master: int) -> float:
    """Resident memory of a gunicorn master's workers, MB. The master itself serves nothing and is left out."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) for pid in _children(master)) * _PAGE_BYTES / 1e6


def _processor() -> str:
    """What the processor calls itself, or its architecture where it does not say."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def _cpu_clock(pid: int) -> int:
    """The clock of another process's CPU time, as clock_getcpuclockid(3) makes it on Linux; /proc counts in hundredths of a second only."""
    return ~pid << 3 | 2
