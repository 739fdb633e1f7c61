"""Explores the cases of ``exploration_cases`` and prints what each came to.

    python tests/explore.py                     every case
    python tests/explore.py updates rejoin      these
    python tests/explore.py --most 1000000      no more than so many states of each; what is cut off so is called not complete

Exits with 1 at the first breach, with the way to it.
"""

from __future__ import annotations

import argparse
import sys

from exploration import Breach, Figures, explore
from exploration_cases import CASES


def main() -> int:
    parser = argparse.ArgumentParser(description="explore small cases of the machines exhaustively")
    parser.add_argument("names", nargs="*", metavar="CASE")
    parser.add_argument("--most", type=int, help="stop a case after so many states")
    asked = parser.parse_args()
    unknown = set(asked.names) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    print(_row("case", "states", "steps", "depth", "seconds", ""))
    try:
        for case in CASES:
            if not asked.names or case.name in asked.names:
                print(_told(explore(case, most=asked.most, progress=_progress)), flush=True)
    except Breach as breach:
        print(breach)
        return 1
    return 0


def _progress(figures: Figures) -> None:
    if sys.stderr.isatty():
        print(_told(figures), end="\r", file=sys.stderr, flush=True)


def _told(figures: Figures) -> str:
    complete = "explored completely" if figures.complete else "not complete"
    return _row(figures.case, f"{figures.states:,}", f"{figures.steps:,}", figures.depth, f"{figures.seconds:.1f}", complete)


def _row(case: str, *rest: object) -> str:
    states, steps, depth, seconds, end = rest
    return f"{case:16}{states!s:>12}{steps!s:>13}{depth!s:>7}{seconds!s:>9}  {end}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
