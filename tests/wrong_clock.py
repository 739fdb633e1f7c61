"""Runs a module in a process whose wall clock is wrong: ``python wrong_clock.py SECONDS MODULE [ARGUMENT]...``.

Only what Python code asks of the wall clock is shifted, by SECONDS; sleeping, timeouts and the validity of certificates are not. (The tool
``faketime`` is not used because Python's sleep fails under it.)
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable


def shifted(clock: Callable[[], float], offset: float) -> Callable[[], float]:
    """``clock``, ``offset`` ahead."""
    return lambda: clock() + offset


def shifted_ns(clock: Callable[[], int], offset: int) -> Callable[[], int]:
    """``clock``, ``offset`` nanoseconds ahead."""
    return lambda: clock() + offset


if __name__ == "__main__":
    seconds, module = int(sys.argv[1]), sys.argv[2]
    time.time = shifted(time.time, seconds)
    time.time_ns = shifted_ns(time.time_ns, seconds * 1_000_000_000)
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
